package worksync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Sentinels for decisions.
var (
	// ErrLost: the agent could not be reached for as long as the client tries. What was carried until then is there, and
	// the rest is carried the next time.
	ErrLost = errors.New("the agent that keeps the work folder in step cannot be reached")
	// ErrHostFull: the disk of the host is full.
	ErrHostFull = errors.New("the disk of the runner's machine is full")
	// ErrContainerFull: the volume of the container is full.
	ErrContainerFull = errors.New("the volume that the container has its work folder on is full")
	// ErrTooMany: the container has more names than Config.MaxNames.
	ErrTooMany = errors.New("too many files")
)

// Options are what a Session works with.
type Options struct {
	// Work is the work folder on this machine, Root the one of the container, as the container sees it.
	Work, Root string
	// Client reaches the container's agent.
	Client *agent.Client
	Config Config
	// State is a private folder for what must outlive this process; see Open.
	State string
	// Brief says that the session is for one Sync: it is not worth the while to have the kernel tell of changes.
	Brief bool
}

// watch says whether the kernel shall tell this side of changes.
func (o Options) watch() bool { return !o.Config.NoWatch && !o.Brief }

// Session is the host's side of a work folder. Its methods may be called concurrently; one syncs at a time.
type Session struct {
	opts    Options
	tree    *tree.Tree
	journal *journal

	mu    sync.Mutex
	link  *link
	token token
	said  map[tree.Note]bool
}

// token says up to where the container's changes are known.
type token struct {
	Instance string `json:"instance"`
	Since    uint64 `json:"since"`
}

// Report is what a Sync has done.
type Report struct {
	Sent, Received Traffic
	// Notes tell what was left out, and why; each thing once for each Session.
	Notes []tree.Note `json:"notes,omitempty"`
	// Watched says that the kernel of both machines tells of changes. Otherwise each Sync takes as long as listing all
	// files.
	Watched bool `json:"watched"`
	// Moved says, of a Sync that has failed, that it has carried something all the same.
	Moved bool `json:"moved,omitempty"`
}

// Traffic counts what has travelled in one direction: names of any kind, and the bytes of files.
type Traffic struct {
	Names int   `json:"names"`
	Bytes int64 `json:"bytes"`
}

// reserve is how many bytes are left free on the runner's disk, for the runner and whoever else is there.
const reserve = 256 << 20

// Open begins a session, or goes on with the one that left its state in the folder. One process at a time can:
// ErrBusy says that another one does.
func Open(opts Options) (*Session, error) {
	if err := opts.Config.Check(); err != nil {
		return nil, fmt.Errorf("keeping the work folder in step: %w", err)
	}
	j, err := openJournal(opts.State)
	if err != nil {
		return nil, err
	}
	t, err := tree.Open(opts.Work, tree.Options{
		Side: tree.Host, Rules: opts.Config.Rules, Watch: opts.watch(), Reserve: reserve,
	})
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	s := &Session{opts: opts, tree: t, journal: j, said: map[tree.Note]bool{}}
	if s.token, err = j.load(t); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends the session. Another one can go on.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink()
	return errors.Join(s.tree.Close(), s.journal.close())
}

// Audit looks for what the kernel does not tell of, see tree.Tree.Audit.
func (s *Session) Audit(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.tree.Watched() {
		return nil
	}
	return s.tree.Audit(ctx)
}

// Ping keeps the connection to the agent warm, or makes one. Whether it can is of no importance.
func (s *Session) Ping(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, agent.Heartbeat)
	defer stop()
	l, err := s.connect(ctx)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, l.close)() // whoever waits for this to end need not wait for a link that is silent
	if err := (&round{Session: s}).batch(ctx, l, func() error { return nil }); err != nil {
		s.unlink()
	}
}

// Sync carries what has changed on either side to the other one. Where both have changed the same, the version of the
// side that wins counts: the host's before a step, the container's after it. A connection that breaks is made again.
func (s *Session) Sync(ctx context.Context, wins tree.Side) (Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	report, unsettled, err := s.sync(ctx, wins)
	if err == nil && unsettled {
		var more Report
		more, _, err = s.sync(ctx, wins)
		report = report.and(more)
	}
	return report, err
}

// and adds what a further round has done.
func (r Report) and(more Report) Report {
	return Report{
		Sent: r.Sent.and(more.Sent), Received: r.Received.and(more.Received), Watched: r.Watched && more.Watched,
		Notes: append(r.Notes, more.Notes...), Moved: r.Moved || more.Moved,
	}
}

func (t Traffic) and(more Traffic) Traffic {
	return Traffic{Names: t.Names + more.Names, Bytes: t.Bytes + more.Bytes}
}

// sync is one round.
func (s *Session) sync(ctx context.Context, wins tree.Side) (report Report, unsettled bool, err error) {
	r := &round{Session: s, wins: wins}
	defer r.drop()
	defer func() { report.Notes = s.unsaid(r) }()
	var failing time.Time // since when nothing comes of trying
	for delay := retryFirst; ; delay = min(2*delay, retryMax) {
		before, wrote := r.progress.Load(), s.link.written()
		err := r.try(ctx)
		var final *finalError
		switch {
		case err == nil:
			err = s.finish(r)
			return r.report, r.unsettled, err
		case errors.As(err, &final):
			return r.report, false, final.error
		case ctx.Err() != nil:
			return r.report, false, context.Cause(ctx)
		case errors.Is(err, agent.ErrRefused), errors.Is(err, agent.ErrForgotten):
			return r.report, false, err
		}
		flowed := s.link.written()-wrote > underway
		s.unlink()
		r.report.Moved = r.report.Moved || flowed || r.report.Sent.Names > 0 || r.report.Received.Bytes > 0
		if flowed || r.progress.Load() > before {
			failing, delay = time.Time{}, retryFirst
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(failing) > s.opts.Client.GiveUp {
			return r.report, false, fmt.Errorf("%w: %w", ErrLost, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// Times between tries.
const (
	retryFirst = 5 * time.Millisecond
	retryMax   = 500 * time.Millisecond
)

// underway is more than what can have been written to a link whose other end has got nothing of it: what sockets and
// the proxies between hold.
const underway = 16 << 20

// finalError is one that trying again does not help.
type finalError struct{ error }

func final(err error) error { return &finalError{err} }

// Unwrap gives the error itself.
func (e *finalError) Unwrap() error { return e.error }

// finish notes what both sides have in common now.
func (s *Session) finish(r *round) error {
	if !r.report.Watched && s.opts.watch() {
		r.note("", "is listed as a whole around every step, because the kernel of one side does not tell of all changes: "+
			"are fs.inotify.max_user_watches and max_user_instances large enough?")
	}
	s.tree.Forget(r.outUpto)
	for _, p := range r.again {
		s.tree.Again(p)
	}
	s.token.Since = r.heard.Upto
	return errors.Join(s.journal.save(s.tree, s.token), r.lost)
}

// maxSaid is how many notes a session remembers. A container that has more to say is listened to anew.
const maxSaid = 10 * maxNotes

// unsaid are a round's notes that are new to this session, sorted.
func (s *Session) unsaid(r *round) []tree.Note {
	if len(s.said) > maxSaid {
		clear(s.said)
	}
	if r.unsaid > 0 {
		r.notes = append(r.notes, tree.Note{What: fmt.Sprintf("has %d more names of which something was left out", r.unsaid)})
	}
	var fresh []tree.Note
	for _, n := range r.notes {
		if !s.said[n] {
			s.said[n] = true
			fresh = append(fresh, n)
		}
	}
	slices.SortFunc(fresh, func(a, b tree.Note) int { return cmp.Compare(a.Path, b.Path) })
	return fresh
}

// connect gives the open connection, or makes one.
func (s *Session) connect(ctx context.Context) (*link, error) {
	if s.link != nil {
		return s.link, nil
	}
	config := s.opts.Config
	hello := Hello{
		Root: s.opts.Root, Rules: config.Rules, Watch: !config.NoWatch, Anew: s.token.Instance == "", First: config.Awaited,
	}
	l, err := dial(ctx, s.opts.Client, hello)
	if err != nil {
		return nil, err
	}
	if s.token.Instance != "" && s.token.Instance != l.instance {
		l.close()
		return nil, fmt.Errorf("%w: it has been started anew, and knows nothing of the work folder", agent.ErrForgotten)
	}
	s.token.Instance, s.link = l.instance, l
	return l, nil
}

// dial opens a connection to the container's side.
func dial(ctx context.Context, client *agent.Client, hello Hello) (*link, error) {
	conn, in, err := client.Open(ctx, Operation, hello)
	if err != nil {
		return nil, err
	}
	l := newLink(conn, in)
	defer context.AfterFunc(ctx, l.close)()
	var w welcome
	if err := l.expect(msgHello, &w); err != nil {
		l.close()
		return nil, err
	}
	if w.Error != "" {
		l.close()
		return nil, final(fmt.Errorf("the agent cannot open %s: %s", hello.Root, w.Error))
	}
	l.instance = w.Instance
	return l, nil
}

func (s *Session) unlink() {
	if s.link != nil {
		s.link.close()
		s.link = nil
	}
}
