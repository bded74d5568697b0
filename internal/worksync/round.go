package worksync

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// tries is how often a file is carried that changes meanwhile.
const tries = 3

// round is one Sync, over as many connections as it takes. What has been done on one is not done again on the next.
type round struct {
	*Session
	wins tree.Side

	looked  bool  // the host's changes are known:
	out     []job // to be sent
	outUpto uint64
	planned bool // it is known which of the container's changes are fetched:
	in      []job
	retell  []string // what the container is to tell of again, as it could not be written here
	again   []string // paths that the container could not take
	// unsettled: something is to be told again that can be carried at once.
	unsettled bool
	notes     []tree.Note
	report    Report

	// What the answers bring. While a batch is under way, all of it belongs to the goroutine that takes them.
	found    []tree.Change // the container's changes,
	heard    *upto         // and where they end
	mu       sync.Mutex    // for well: it is made while answers are taken
	well     []bool        // which jobs of out could be done,
	results  []done        // and what else became of them
	arriving *arrival
	kept     *arrival // a large file whose connection has broken

	progress atomic.Int64 // counts what is done
}

// job is one change that is carried.
type job struct {
	tree.Change
	id      uint64 // its place in out or in
	done    bool
	asked   bool // how much of it the other side has
	waiting bool // it was sent, and not answered
	tries   uint8
	from    int64  // the first byte that has to be sent
	version string // of which that was said
}

// try is one connection's share of the round.
func (r *round) try(ctx context.Context) error {
	l, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, l.close)()
	for i := range r.out {
		r.out[i].asked, r.out[i].waiting = false, false // another connection, another answer
	}
	if err := r.ask(ctx, l); err != nil {
		return err
	}
	if err := r.plan(); err != nil {
		return final(err)
	}
	first, then := r.push, r.pull
	if r.wins == tree.Container {
		first, then = then, first
	}
	if err := first(ctx, l); err != nil {
		return err
	}
	if err := then(ctx, l); err != nil {
		return err
	}
	return r.tell(ctx, l)
}

// tell has the container tell again of what could not be written here.
func (r *round) tell(ctx context.Context, l *link) error {
	if len(r.retell) == 0 {
		return nil
	}
	return r.batch(ctx, l, func() error {
		for _, p := range r.retell {
			if err := l.send(msgAgain, []byte(p)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ask finds the container's changes, and meanwhile the host's. Before a step the host's need not wait for the others.
func (r *round) ask(ctx context.Context, l *link) error {
	if r.looked && r.heard != nil {
		return nil
	}
	r.found, r.heard = nil, nil
	err := r.batch(ctx, l, func() error {
		err := l.send(msgChanges, binary.AppendUvarint(nil, r.token.Since))
		if err == nil {
			err = l.flush()
		}
		if err == nil {
			err = r.look(ctx)
		}
		if err != nil || r.wins != tree.Host || len(r.unasked()) > 0 {
			return err
		}
		return r.send(ctx, l, pending(r.out))
	})
	return r.settle(true, err)
}

// look finds the host's changes.
func (r *round) look(ctx context.Context) error {
	if r.looked {
		return nil
	}
	notes, err := r.tree.Refresh(ctx)
	if err != nil {
		return final(err)
	}
	r.notes = append(r.notes, notes...)
	total := int64(0)
	r.out, r.looked = make([]job, 0, r.tree.Logged()), true
	r.outUpto = r.tree.Each(0, func(c tree.Change) {
		if why := r.opts.Config.tooMuch(c, &total); why != "" {
			r.note(c.Path, why)
			return
		}
		r.out = append(r.out, job{Change: c, id: uint64(len(r.out))})
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.well = make([]bool, len(r.out)) // before the first of them is sent
	return nil
}

func (r *round) note(path, what string) { r.notes = append(r.notes, tree.Note{Path: path, What: what}) }

// plan says what of the container's changes is fetched, and in which order.
func (r *round) plan() error {
	if r.planned {
		return nil
	}
	r.planned = true
	r.report.Watched = r.heard.Watched && r.tree.Watched()
	r.notes = append(r.notes, r.heard.Notes...)
	total := int64(0)
	for _, files := range []bool{false, true} { // last: what is in their way is gone then
		for _, c := range r.found {
			if (c.Kind == tree.File) != files || !r.tree.Takes(c.Path) {
				continue
			}
			if why := cmp.Or(r.opts.Config.refuses(c), r.opts.Config.tooMuch(c, &total)); why != "" {
				r.note(c.Path, why)
				continue
			}
			r.in = append(r.in, job{Change: c, id: fetching | uint64(len(r.in))})
		}
	}
	r.found = nil
	if r.wins == tree.Container {
		r.again, r.retell = yield(r.out, r.in)
	} else {
		r.retell, r.again = yield(r.in, r.out)
	}
	r.unsettled = len(r.retell)+len(r.again) > 0
	if len(r.in) == 0 {
		return nil
	}
	return r.journal.intend(r.in)
}

// pending are the jobs that are not done.
func pending(jobs []job) []*job {
	var list []*job
	for i := range jobs {
		if !jobs[i].done {
			list = append(list, &jobs[i])
		}
	}
	return list
}

// batch sends messages and takes the answers to all of them, at the same time: either side may have more to say than
// the other one takes before it is heard itself.
func (r *round) batch(ctx context.Context, l *link, write func() error) error {
	read := make(chan error, 1)
	go func() {
		err := r.answers(ctx, l)
		if err != nil {
			l.close()
		}
		read <- err
	}()
	err := write()
	if err == nil {
		err = l.send(msgPing)
	}
	if err == nil {
		err = l.flush()
	}
	if err != nil {
		l.close()
	}
	readErr := <-read
	r.keep()
	return worse(err, readErr)
}

// worse is the error that matters of those of both directions: that of the one often follows from that of the other.
func worse(write, read error) error {
	var f *finalError
	if errors.As(write, &f) || read == nil {
		return write
	}
	return read
}

// answers takes messages until all have been answered.
func (r *round) answers(ctx context.Context, l *link) error {
	var buf []byte
	for {
		kind, payload, err := l.receive(buf)
		if err != nil {
			return fmt.Errorf("reading from the agent: %w", err)
		}
		buf = payload[:cap(payload)]
		if kind == msgPong {
			return nil
		}
		if err := r.answer(kind, payload); err != nil {
			return err
		}
	}
}

func (r *round) answer(kind byte, payload []byte) error {
	switch kind {
	case msgAlive:
		return nil
	case msgEntries:
		return r.hear(payload)
	case msgUpto:
		var end upto
		if err := json.Unmarshal(payload, &end); err != nil {
			return fmt.Errorf("decoding the agent's answer: %w", err)
		}
		if end.Error != "" {
			return errors.New("the agent cannot tell what has changed: " + end.Error)
		}
		r.heard = &end
		r.progress.Add(1)
		return nil
	case msgDone:
		return r.result(payload)
	case msgFile:
		return r.arrives(payload)
	case msgData:
		return r.arrivesMore(payload)
	case msgEnd:
		return r.arrived(payload)
	}
	return fmt.Errorf("the agent sent a message of kind %q", kind)
}

// hear takes changes of the container's.
func (r *round) hear(payload []byte) error {
	bound := r.opts.Config.MaxNames
	for len(payload) > 0 {
		c, rest, err := tree.Parse(payload)
		if err != nil {
			return final(fmt.Errorf("the agent tells of a change: %w", err))
		}
		if payload = rest; bound > 0 && len(r.found) >= bound {
			return final(fmt.Errorf("%w: the container has more than %d", ErrTooMany, bound))
		}
		r.found = append(r.found, c)
	}
	return nil
}

// result takes what became of a request. What a full disk means, it means at once.
func (r *round) result(payload []byte) error {
	d, err := decodeDone(payload)
	if err != nil {
		return err
	}
	r.progress.Add(1)
	if d.id&fetching != 0 {
		return r.notFetched(d)
	}
	if d.code == doneFull {
		return final(fmt.Errorf("%w: %s", ErrContainerFull, d.text))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case d.id >= uint64(len(r.well)):
		return final(errUnasked)
	case d.code == doneWell && d.offset == 0:
		r.well[d.id] = true
	default:
		r.results = append(r.results, d)
	}
	return nil
}
