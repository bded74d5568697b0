package worksync

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"

	"github.com/gantry-ci/gantry/internal/printable"
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
	total   int64    // bytes of the container's files that travel
	retell  []string // what the container is to tell of again, as it could not be carried here
	again   []string // paths that the container could not take
	// unsettled: something is to be told again that can be carried at once.
	unsettled bool
	notes     []tree.Note
	unsaid    int   // notes that were one too many
	lost      error // a file that the runner waits for stays in the container
	report    Report

	// What the answers bring. While a batch is under way, all of it belongs to the goroutine that takes them.
	found    []tree.Change // the container's changes,
	names    names         // what they take,
	heard    *upto         // and where they end
	mu       sync.Mutex    // for answered: it is made while answers are taken
	answered []answer      // what became of the jobs of out,
	results  []done        // and of those that could not simply be done
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
	counted int64  // its bytes among those of the round's total
	version string // of which that was said
}

// answer is what is known of a job that is under way.
type answer byte

const (
	unasked answer = iota // or the answer is among the results
	asked
	well
)

// asks notes that there is to be an answer about a job of out: one.
func (r *round) asks(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered[j.id] = asked
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
	r.found, r.heard, r.names = nil, nil, names{}
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
	for _, n := range notes {
		r.add(n)
	}
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
	r.answered = make([]answer, len(r.out)) // before the first of them is sent
	return nil
}

// maxNotes is how many notes a round keeps; of the others only their number.
const maxNotes = 1000

func (r *round) note(path, what string) { r.add(tree.Note{Path: path, What: what}) }

// add keeps a note. What it says may be the container's words.
func (r *round) add(n tree.Note) {
	if len(r.notes) >= maxNotes {
		r.unsaid++
		return
	}
	n.Path, n.What = printable.Text(n.Path), printable.Text(n.What)
	r.notes = append(r.notes, n)
}

// plan says what of the container's changes is fetched, and in which order.
func (r *round) plan() error {
	if r.planned {
		return nil
	}
	r.planned = true
	r.report.Watched = r.heard.Watched && r.tree.Watched()
	for _, n := range r.heard.Notes {
		if r.add(n); n.Unread {
			r.misses(n.Path, n.What)
		}
	}
	for _, files := range []bool{false, true} { // last: what is in their way is gone then
		for _, c := range r.found {
			if (c.Kind == tree.File) != files || !r.tree.Takes(c.Path) {
				continue
			}
			if why := cmp.Or(r.opts.Config.refuses(c), r.opts.Config.tooMuch(c, &r.total)); why != "" {
				r.note(c.Path, why)
				continue
			}
			r.in = append(r.in, job{Change: c, id: fetching | uint64(len(r.in)), counted: c.Size})
		}
	}
	r.found, r.names = nil, names{}
	var again, retell []string
	if r.wins == tree.Container {
		again, retell = yield(r.out, r.in)
	} else {
		retell, again = yield(r.in, r.out)
	}
	r.unsettled = len(retell)+len(again) > 0
	r.retell, r.again = append(r.retell, retell...), append(r.again, again...)
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
			return errors.New("the agent cannot tell what has changed: " + printable.Text(end.Error))
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
		r.names.add(c)
		if payload = rest; bound > 0 && r.names.count > bound {
			return final(fmt.Errorf("%w: the container has more than %d", ErrTooMany, bound))
		}
		if bound > 0 && r.names.size > maxNamesSize {
			return final(fmt.Errorf("%w: the container's have names of more than %s", ErrTooMany, sizeOf(maxNamesSize)))
		}
		r.found = append(r.found, c)
	}
	return nil
}

// names counts what the container's changes take. A folder that is not told of counts too: it has to be made.
type names struct {
	count, size int
	folders     map[string]bool
}

func (n *names) add(c tree.Change) {
	if n.folders == nil {
		n.folders = map[string]bool{}
	}
	n.count++
	n.size += len(c.Path) + len(c.Target)
	above(path.Dir(c.Path), func(p string) bool {
		known := n.folders[p]
		if !known {
			n.folders[p] = true
			n.count++
		}
		return known
	})
	if c.Kind == tree.Folder {
		n.folders[c.Path] = true
	}
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
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case d.id >= uint64(len(r.answered)) || r.answered[d.id] != asked:
		return final(errUnasked)
	case d.code == doneFull:
		return final(fmt.Errorf("%w: %s", ErrContainerFull, printable.Text(d.text)))
	case d.code == doneWell && d.offset == 0:
		r.answered[d.id] = well
	default:
		r.answered[d.id] = unasked
		d.text = printable.Text(d.text)
		r.results = append(r.results, d)
	}
	return nil
}
