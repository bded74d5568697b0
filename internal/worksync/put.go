package worksync

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/printable"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Put sends one file of this machine to the folder root of the container, as name below it, and makes the folders on the
// way. A connection that breaks is made again, and goes on where it stopped.
func Put(ctx context.Context, client *agent.Client, file, root, name string) error {
	if err := put(ctx, client, file, root, name); err != nil {
		return fmt.Errorf("sending %s: %w", name, err)
	}
	return nil
}

func put(ctx context.Context, client *agent.Client, file, root, name string) error {
	source, err := tree.Open(filepath.Dir(file), tree.Options{Side: tree.Host})
	if err != nil {
		return err
	}
	defer source.Close()
	var failing time.Time // since when nothing comes of trying
	for delay := retryFirst; ; delay = min(2*delay, retryMax) {
		sent, err := putOnce(ctx, client, source, filepath.Base(file), Hello{Root: root, Rules: nothing()}, name)
		var final *finalError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final), errors.Is(err, agent.ErrRefused), errors.Is(err, agent.ErrForgotten):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if sent > worthKeeping {
			failing, delay = time.Time{}, retryFirst
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) > client.GiveUp {
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// nothing has the other side look at nothing, but take everything.
func nothing() []tree.Rule { return []tree.Rule{{Path: "*", Flow: tree.In}} }

// putOnce is one connection's share. It says how many bytes were sent.
func putOnce(ctx context.Context, client *agent.Client, t *tree.Tree, base string, hello Hello, name string) (int64, error) {
	s, err := t.Source(base)
	if err != nil {
		return 0, final(err)
	}
	defer s.Close()
	l, err := dial(ctx, client, hello)
	if err != nil {
		return 0, err
	}
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()
	req := request{terms: tree.Terms{Force: true}, mtime: s.Mtime, version: s.Version(), change: s.Change}
	req.change.Path, req.change.Entry = name, s.Entry
	d, err := l.asking(msgWhere, req)
	if err != nil {
		return 0, err
	}
	req.offset = min(max(d.offset, 0), s.Size)
	if err := l.send(msgPut, req.encode()); err != nil {
		return 0, err
	}
	end, err := sendFile(ctx, l, s, req.offset)
	if err != nil {
		return s.Size - req.offset, err
	}
	if end.torn {
		return 0, errors.New("the file is being changed")
	}
	if err := l.send(msgEnd, end.encode()); err != nil {
		return s.Size - req.offset, err
	}
	d, err = l.answer()
	return s.Size - req.offset, errors.Join(err, d.error())
}

// asking sends a request and waits for its result.
func (l *link) asking(kind byte, req request) (done, error) {
	if err := l.send(kind, req.encode()); err != nil {
		return done{}, err
	}
	return l.answer()
}

func (l *link) answer() (done, error) {
	if err := l.flush(); err != nil {
		return done{}, err
	}
	kind, payload, err := l.receive(nil)
	if err != nil {
		return done{}, fmt.Errorf("reading from the agent: %w", err)
	}
	if kind != msgDone {
		return done{}, final(errUnasked)
	}
	return decodeDone(payload)
}

// error is what a result says has gone wrong.
func (d done) error() error {
	switch d.code {
	case doneWell:
		return nil
	case doneFull:
		return final(fmt.Errorf("%w: %s", ErrContainerFull, printable.Text(d.text)))
	case doneCorrupt:
		return errors.New(printable.Text(d.text))
	}
	return final(errors.New(printable.Text(d.text)))
}
