package worksync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gantry-ci/gantry/internal/printable"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// fetching marks the numbers of requests for files of in.
const fetching = 1 << 62

// arrival is a file that comes from the container.
type arrival struct {
	request
	job *job
	w   *tree.Writer // nil: nobody wants it any more
}

// pull carries the container's changes to the host.
func (r *round) pull(ctx context.Context, l *link) error {
	for {
		if err := r.makeHere(ctx); err != nil {
			return err
		}
		left := pending(r.in)
		if len(left) == 0 {
			return nil
		}
		if left[0].tries > 0 {
			time.Sleep(calm)
		}
		if err := r.batch(ctx, l, func() error { return r.fetch(l, left) }); err != nil {
			return err
		}
	}
}

// makeHere does what needs nothing of the container's.
func (r *round) makeHere(ctx context.Context) error {
	for _, j := range pending(r.in) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if r.tree.Is(j.Change) {
			j.done = true
			continue
		}
		err := error(nil)
		if j.Kind == tree.File {
			if j.done, err = r.tree.Adjust(j.Change, tree.Terms{Force: true}); !j.done && err == nil {
				continue
			}
		} else {
			err = r.tree.Make(j.Change, tree.Terms{Force: true})
		}
		if err := r.ended(j, err); err != nil {
			return err
		}
	}
	return nil
}

// ended notes that a job of in is over. An error here is one that ends the round.
func (r *round) ended(j *job, err error) error {
	j.done = true
	r.progress.Add(1)
	if err == nil {
		r.report.Received.Names++
		return nil
	}
	if result(0, err).code == doneFull {
		return final(fmt.Errorf("%w: %w", ErrHostFull, err))
	}
	r.retell = append(r.retell, j.Path)
	r.note(j.Path, "could not be written on the runner's machine: "+err.Error())
	return nil
}

// fetch asks for files. Of one that has arrived in part the rest is enough.
func (r *round) fetch(l *link, jobs []*job) error {
	kept := r.kept // the answers may take it away
	for _, j := range jobs {
		req := request{id: j.id, change: tree.Change{Path: j.Path}}
		if kept != nil && kept.job == j {
			req.offset, req.version = kept.w.Written(), kept.version
		}
		if err := l.send(msgGet, req.encode()); err != nil {
			return err
		}
	}
	return nil
}

// notFetched takes that a file could not be sent.
func (r *round) notFetched(d done) error {
	j, err := r.jobOf(d.id)
	if err != nil {
		return err
	}
	j.done = true
	if d.code != doneGone { // one that is gone is told of the next time anyway
		what := "could not be read in the container: " + printable.Text(d.text)
		r.note(j.Path, what)
		r.misses(j.Path, what)
		r.retell = append(r.retell, j.Path)
	}
	return nil
}

// ErrUnread: the container has a file that the runner waits for, and its agent cannot read it.
var ErrUnread = errors.New("what a step has written for the runner cannot be read")

// misses has a step fail of which the runner would not get what it has written for it: it would go on without a word.
func (r *round) misses(p, what string) {
	if r.lost == nil && r.wins == tree.Container && r.opts.Config.waits(p) {
		r.lost = fmt.Errorf("%w: %s %s", ErrUnread, printable.Text(p), printable.Text(what))
	}
}

// jobOf finds a job of in that is under way.
func (r *round) jobOf(id uint64) (*job, error) {
	if i := id &^ fetching; id&fetching != 0 && i < uint64(len(r.in)) && !r.in[i].done {
		return &r.in[i], nil
	}
	return nil, final(errUnasked)
}

// arrives begins to take a file.
func (r *round) arrives(payload []byte) error {
	req, err := decodeRequest(payload)
	if err != nil {
		return final(err)
	}
	j, err := r.jobOf(req.id)
	if err != nil {
		return err
	}
	if req.change.Path != j.Path || req.change.Kind != tree.File || r.arriving != nil {
		return final(errUnasked)
	}
	r.total -= j.counted // what was announced need not be true
	why := cmp.Or(r.opts.Config.refuses(req.change), r.opts.Config.tooMuch(req.change, &r.total))
	if j.counted = 0; why == "" {
		j.counted = req.change.Size
	}
	a := &arrival{request: req, job: j}
	if k := r.kept; k != nil && k.job == j {
		if r.kept = nil; req.offset > 0 && k.version == req.version && k.w.Written() == req.offset {
			a.w = k.w
		} else {
			k.w.Abort()
		}
	}
	r.arriving = a
	switch {
	case why != "": // it has grown
		if a.w != nil {
			a.w.Abort()
			a.w = nil
		}
		r.note(j.Path, why)
		j.done = true
	case a.w != nil:
	case req.offset > 0:
		return final(errUnasked)
	default:
		if a.w, err = r.tree.Create(req.change, req.mtime, tree.Terms{Force: true}); err != nil {
			return r.ended(j, err)
		}
	}
	return nil
}

func (r *round) arrivesMore(data []byte) error {
	a := r.arriving
	if a == nil {
		return final(errUnasked)
	}
	if a.w == nil {
		return nil
	}
	if a.w.Written()+int64(len(data)) > a.change.Size {
		return final(fmt.Errorf("the agent sends more of %s than there is", a.job.Path))
	}
	r.progress.Add(1)
	r.report.Received.Bytes += int64(len(data))
	if _, err := a.w.Write(data); err != nil {
		a.w.Abort()
		a.w = nil
		return r.ended(a.job, err)
	}
	return nil
}

// arrived ends a file. One that has changed all the time is taken as it is, in the end.
func (r *round) arrived(payload []byte) error {
	a := r.arriving
	if a == nil {
		return final(errUnasked)
	}
	if r.arriving = nil; a.w == nil {
		return nil
	}
	end, err := decodeEnding(payload)
	if err != nil {
		return err
	}
	j := a.job
	j.tries++
	if end.torn && j.tries < tries {
		a.w.Abort()
		return nil
	}
	err = a.w.Commit(end.hash)
	if errors.Is(err, tree.ErrCorrupt) {
		if j.tries < tries {
			return nil
		}
		return final(err)
	}
	if end.torn {
		r.note(j.Path, "was changed all the time while it was read")
	}
	return r.ended(j, err)
}

// keep puts a large file aside whose connection has broken.
func (r *round) keep() {
	a := r.arriving
	if r.arriving = nil; a == nil || a.w == nil {
		return
	}
	if a.w.Written() < worthKeeping {
		a.w.Abort()
		return
	}
	r.drop()
	r.kept = a
}

// drop forgets what was kept.
func (r *round) drop() {
	if r.kept != nil {
		r.kept.w.Abort()
		r.kept = nil
	}
}
