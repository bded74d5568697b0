package worksync

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// Times and bounds of the server.
const (
	aliveEvery   = 2 * time.Second // how often it says that it is still busy
	auditEvery   = time.Minute     // how often it looks for what the kernel does not tell
	auditIdle    = time.Second     // when nobody has asked for so long
	entriesSize  = 64 << 10        // about the size of a message with changes
	maxPartials  = 4               // files of broken connections that are kept
	worthKeeping = 1 << 20         // of a file that is kept
	aliveBytes   = 64 << 20        // bytes that are hashed without a word
)

// Server is the side of the agent: it tells what changes in its folders, gives and takes files. The zero value is ready.
// Each folder has one client at a time; the last one to come counts.
type Server struct {
	mu    sync.Mutex
	sides map[string]*side // by folder
}

// side is what a Server knows of one folder.
type side struct {
	hello    Hello
	tree     *tree.Tree
	instance string
	stop     context.CancelFunc

	mu       sync.Mutex
	client   *link         // the one that is being served
	left     chan struct{} // closed when it has been
	used     time.Time
	giveWay  context.CancelFunc // ends the audit that is under way
	partials []partial
}

// partial is a file whose connection has broken.
type partial struct {
	path, version string
	w             *tree.Writer
}

// Serve speaks with one client until its connection ends. It is an agent.Service.
func (s *Server) Serve(ctx context.Context, conn net.Conn, in *bufio.Reader, body json.RawMessage) {
	l := newLink(conn, in)
	defer l.close()
	defer context.AfterFunc(ctx, l.close)()
	var hello Hello
	err := json.Unmarshal(body, &hello)
	var side *side
	if err == nil {
		side, err = s.side(ctx, hello)
	}
	answer := welcome{}
	if err != nil {
		answer.Error = err.Error()
	} else {
		answer.Instance = side.instance
	}
	if l.sendJSON(msgHello, answer) != nil || l.flush() != nil || err != nil {
		return
	}
	side.serve(ctx, l)
}

// side finds what is known of a folder, or begins to look at it. Other rules mean that all is looked at anew.
func (s *Server) side(ctx context.Context, hello Hello) (*side, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sides[hello.Root]
	if old != nil && !hello.Anew && old.hello.Watch == hello.Watch && slices.Equal(old.hello.Rules, hello.Rules) {
		return old, nil
	}
	for _, rule := range hello.Rules {
		if err := rule.Check(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(hello.Root, 0o755); err != nil {
		return nil, err
	}
	t, err := tree.Open(hello.Root, tree.Options{Side: tree.Container, Rules: hello.Rules, Watch: hello.Watch})
	if err != nil {
		return nil, err
	}
	if old != nil {
		old.stop()
	}
	ctx, stop := context.WithCancel(ctx)
	made := &side{hello: hello, tree: t, instance: rand.Text(), stop: stop}
	if s.sides == nil {
		s.sides = map[string]*side{}
	}
	s.sides[hello.Root] = made
	go made.audit(ctx)
	return made, nil
}

// audit looks at everything now and then, while nobody asks for anything, and closes the tree at the end.
func (s *side) audit(ctx context.Context) {
	defer s.tree.Close()
	for tick := time.NewTicker(auditEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		s.auditOnce(ctx)
	}
}

// auditOnce looks at everything, until somebody asks for something: the tree is not to be had meanwhile.
func (s *side) auditOnce(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.mu.Lock()
	idle := time.Since(s.used) > auditIdle
	s.giveWay = stop
	s.mu.Unlock()
	if idle && s.tree.Watched() {
		_ = s.tree.Audit(ctx) // another time
	}
}

// asked notes that a client wants something. A ping needs nothing of the tree.
func (s *side) asked(kind byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
	if kind != msgPing && kind != msgAlive && s.giveWay != nil {
		s.giveWay()
	}
}

// attach makes a link the one that is served. The one before is closed, and has left when attach returns.
func (s *side) attach(l *link) (leave func()) {
	for {
		s.mu.Lock()
		if s.client == nil {
			left := make(chan struct{})
			s.client, s.left = l, left
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				s.client = nil
				s.mu.Unlock()
				close(left)
			}
		}
		left := s.left
		s.client.close()
		s.mu.Unlock()
		<-left
	}
}

func (s *side) serve(ctx context.Context, l *link) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	leave := s.attach(l)
	defer leave()
	a := &attendant{side: s, link: l}
	defer a.park()
	for {
		if l.idle() && l.flush() != nil {
			return
		}
		kind, payload, err := l.receive(a.buf)
		if err != nil {
			return
		}
		a.buf = payload[:cap(payload)]
		s.asked(kind)
		if err := a.obey(ctx, kind, payload); err != nil {
			return
		}
	}
}

// attendant serves one link.
type attendant struct {
	*side
	link *link
	buf  []byte
	put  struct { // the file that is arriving
		request
		w   *tree.Writer
		err error // why it is not being written
	}
}

func (a *attendant) obey(ctx context.Context, kind byte, payload []byte) error {
	switch kind {
	case msgPing:
		return a.link.send(msgPong)
	case msgAlive:
		return nil
	case msgChanges:
		r := tree.Reader{Data: payload}
		return a.tellChanges(ctx, r.Uvarint())
	case msgData:
		a.more(payload)
		return nil
	case msgEnd:
		return a.end(payload)
	case msgAgain:
		a.tree.Again(string(payload))
		return nil
	}
	req, err := decodeRequest(payload)
	if err != nil {
		return err
	}
	switch kind {
	case msgMake:
		return a.done(result(req.id, a.tree.Make(req.change, req.terms)))
	case msgPut:
		a.begin(req)
		return nil
	case msgWhere:
		return a.done(a.where(req))
	case msgGet:
		return a.give(ctx, req)
	}
	return fmt.Errorf("a message of kind %q", kind)
}

func (a *attendant) done(d done) error { return a.link.send(msgDone, d.encode()) }

// tellChanges looks for changes, saying now and then that it still does, and tells of them.
func (a *attendant) tellChanges(ctx context.Context, since uint64) error {
	notes, err := a.busy(ctx, func(ctx context.Context) ([]tree.Note, error) {
		a.tree.Forget(since)
		return a.tree.Refresh(ctx)
	})
	end := upto{Notes: some(notes, a.hello.First), Watched: a.tree.Watched()}
	if err != nil {
		end.Error = err.Error()
		return a.link.sendJSON(msgUpto, end)
	}
	list, last := a.tree.Changes(since)
	end.Upto = last
	var buf []byte
	for _, c := range list {
		if buf = c.Append(buf); len(buf) >= entriesSize {
			if err := a.link.send(msgEntries, buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if len(buf) > 0 {
		if err := a.link.send(msgEntries, buf); err != nil {
			return err
		}
	}
	return a.link.sendJSON(msgUpto, end)
}

// busy calls look, and tells the client all the time that it has not ended yet.
func (a *attendant) busy(ctx context.Context, look func(context.Context) ([]tree.Note, error)) ([]tree.Note, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		for tick := time.NewTicker(aliveEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if a.link.send(msgAlive) != nil || a.link.flush() != nil {
					stop() // nobody wants to know
				}
			}
		}
	}()
	return look(ctx)
}

// begin makes ready for a file, or goes on with one whose connection has broken.
func (a *attendant) begin(req request) {
	a.park()
	a.put.request, a.put.w, a.put.err = req, nil, nil
	if req.offset > 0 {
		if a.put.w = a.unpark(req.change.Path, req.version); a.put.w == nil || a.put.w.Written() != req.offset {
			a.put.err = tree.ErrCorrupt
		}
		return
	}
	a.put.w, a.put.err = a.tree.Create(req.change, req.mtime, req.terms)
}

func (a *attendant) more(data []byte) {
	if a.put.err == nil && a.put.w != nil {
		_, a.put.err = a.put.w.Write(data)
	}
}

func (a *attendant) end(payload []byte) error {
	e, err := decodeEnding(payload)
	if err != nil {
		return err
	}
	w := a.put.w
	a.put.w = nil
	err = a.put.err
	if err == nil && w == nil {
		err = tree.ErrCorrupt
	}
	if err == nil {
		err = w.Commit(e.hash)
	}
	if w != nil {
		w.Abort()
	}
	return a.done(result(a.put.id, err))
}

// park keeps what has arrived of a large file for a connection to come.
func (a *attendant) park() {
	w := a.put.w
	if a.put.w = nil; w == nil {
		return
	}
	if a.put.err != nil || w.Written() < worthKeeping {
		w.Abort()
		return
	}
	a.side.mu.Lock()
	defer a.side.mu.Unlock()
	a.partials = append(a.partials, partial{a.put.change.Path, a.put.version, w})
	if len(a.partials) > maxPartials {
		a.partials[0].w.Abort()
		a.partials = a.partials[1:]
	}
}

// unpark gives what was kept of a version of a file, or nil. Other versions of it are of no use any more.
func (a *attendant) unpark(path, version string) (w *tree.Writer) {
	a.side.mu.Lock()
	defer a.side.mu.Unlock()
	a.partials = slices.DeleteFunc(a.partials, func(p partial) bool {
		switch {
		case p.path != path:
			return false
		case p.version == version && w == nil:
			w = p.w
		default:
			p.w.Abort()
		}
		return true
	})
	return w
}

// where tells how much of a file need not be sent.
func (a *attendant) where(req request) done {
	have, err := a.tree.Adjust(req.change, req.terms)
	if have || err != nil {
		d := result(req.id, err)
		d.offset = haveIt
		return d
	}
	a.side.mu.Lock()
	defer a.side.mu.Unlock()
	for _, p := range a.partials {
		if p.path == req.change.Path && p.version == req.version {
			return done{id: req.id, offset: p.w.Written()}
		}
	}
	return done{id: req.id}
}

// give sends a file, from an offset on if it is still the version that the client has the beginning of.
func (a *attendant) give(ctx context.Context, req request) error {
	s, err := a.tree.Source(req.change.Path)
	if err != nil {
		return a.done(result(req.id, err))
	}
	defer s.Close()
	if req.version != s.Version() {
		req.offset = 0
	}
	head := request{id: req.id, mtime: s.Mtime, offset: req.offset, version: s.Version(), change: s.Change}
	head.change.Entry = s.Entry
	if err := a.link.send(msgFile, head.encode()); err != nil {
		return err
	}
	end, err := sendFile(ctx, a.link, s, req.offset)
	if err != nil {
		return err
	}
	if !end.torn {
		a.tree.Sent(s, end.hash)
	}
	return a.link.send(msgEnd, end.encode())
}
