package worksync

import (
	"context"
	"errors"
	"time"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// askFirst is the size from which the other side is asked how much of a file it has.
const askFirst = 1 << 20

// calm is the pause before a file is sent again that has changed while it was sent.
const calm = 10 * time.Millisecond

// push carries the host's changes to the container.
func (r *round) push(ctx context.Context, l *link) error {
	for {
		if asking := r.unasked(); len(asking) > 0 {
			err := r.batch(ctx, l, func() error { return r.wonder(l, asking) })
			if err := r.settle(false, err); err != nil {
				return err
			}
		}
		left := pending(r.out)
		if len(left) == 0 {
			return nil
		}
		if left[0].tries > 0 {
			time.Sleep(calm)
		}
		err := r.batch(ctx, l, func() error { return r.send(ctx, l, left) })
		if err := r.settle(true, err); err != nil {
			return err
		}
	}
}

// unasked are the large files of which nobody knows how much the container has.
func (r *round) unasked() []*job {
	var list []*job
	for i := range r.out {
		j := &r.out[i]
		if !j.done && !j.asked && j.Kind == tree.File && j.Size >= askFirst {
			list = append(list, j)
		}
	}
	return list
}

// wonder asks how much of large files is there.
func (r *round) wonder(l *link, jobs []*job) error {
	for _, j := range jobs {
		j.asked = true
		s, err := r.tree.Source(j.Path)
		if err != nil {
			continue // sending it says why
		}
		j.version = s.Version()
		s.Close()
		r.asks(j)
		if err := l.send(msgWhere, r.request(j).encode()); err != nil {
			return err
		}
	}
	return nil
}

// request is one of a job of out.
func (r *round) request(j *job) request {
	terms := tree.Terms{Force: true}
	if r.wins == tree.Container {
		terms = tree.Terms{Since: r.heard.Upto}
	}
	return request{id: j.id, terms: terms, version: j.version, change: j.Change}
}

// send sends jobs of out.
func (r *round) send(ctx context.Context, l *link, jobs []*job) error {
	for _, j := range jobs {
		j.waiting = true
		if j.Kind != tree.File {
			r.asks(j)
			if err := l.send(msgMake, r.request(j).encode()); err != nil {
				return err
			}
			continue
		}
		if err := r.sendOne(ctx, l, j); err != nil {
			return err
		}
	}
	return nil
}

// sendOne sends a file. One that changes meanwhile is not taken by the other side, which gets no hash of it; in the end
// it is.
func (r *round) sendOne(ctx context.Context, l *link, j *job) error {
	s, err := r.tree.Source(j.Path)
	if err != nil {
		if j.done, j.waiting = true, false; !gone(err) {
			r.again = append(r.again, j.Path)
			r.note(j.Path, "could not be read: "+err.Error())
		}
		return nil
	}
	defer s.Close()
	j.tries++
	if s.Version() != j.version {
		j.from, j.version = 0, s.Version()
	}
	req := r.request(j)
	req.mtime, req.offset, req.change.Entry = s.Mtime, j.from, s.Entry
	r.asks(j)
	if err := l.send(msgPut, req.encode()); err != nil {
		return err
	}
	end, err := sendFile(ctx, l, s, j.from)
	switch {
	case err != nil:
		return err
	case !end.torn:
		r.tree.Sent(s, end.hash)
	case j.tries < tries:
		end = ending{}
	default:
		r.note(j.Path, "was changed all the time while it was sent")
	}
	r.report.Sent.Bytes += s.Size - j.from
	j.from = 0 // of another try
	return l.send(msgEnd, end.encode())
}

func gone(err error) bool { return result(0, err).code == doneGone }

// settle takes the results of a batch that has ended with err: of what was sent, or of asking how much of it is there.
func (r *round) settle(sent bool, err error) error {
	for i, a := range r.answered {
		if a == well && sent {
			r.out[i].done, r.out[i].waiting = true, false
			r.report.Sent.Names++
		}
	}
	clear(r.answered)
	for _, d := range r.results {
		r.became(&r.out[d.id], d)
	}
	r.results = nil
	if err != nil {
		return err
	}
	for i := range r.out {
		if r.out[i].waiting {
			return final(errors.New("the agent does not say what became of " + r.out[i].Path))
		}
	}
	return nil
}

// became takes a result that is not simply a good one.
func (r *round) became(j *job, d done) {
	j.waiting = false
	switch {
	case d.code == doneWell && d.offset == haveIt:
		j.done = true
		r.report.Sent.Names++
	case d.code == doneWell:
		j.from = min(max(d.offset, 0), j.Size)
	case d.code == doneChanged:
		j.done = true // its own version comes to the host
	case d.code == doneCorrupt && j.tries < tries:
	default:
		j.done = true
		r.again = append(r.again, j.Path)
		r.note(j.Path, "could not be written in the container: "+d.text)
	}
}

// errUnasked: the agent sends what nobody has asked for.
var errUnasked = errors.New("the agent sends what nobody has asked for")
