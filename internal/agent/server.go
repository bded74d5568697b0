package agent

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/safefs"
)

// Times of the server's upkeep.
const (
	socketCheck  = 100 * time.Millisecond // how often a socket that the job deleted, or a wish to stop, is noticed
	keepExit     = 5 * time.Minute        // how long an exit record waits for a client
	requestLimit = 10 * time.Second       // how long a connection may take for its first frame
)

// ErrStopped: somebody has asked the agent to end the container, with a file StopName.
var ErrStopped = errors.New("the container was stopped")

// ServerOptions configure a Server.
type ServerOptions struct {
	// Socket is the path of the unix socket to listen on.
	Socket string
	// Listener is one more way to this agent, for clients that share no folder with it; nil: none. It must let nobody
	// in but the hook, as a listener of TLS that asks for certificates does.
	Listener net.Listener
	// Env is the container's own environment.
	Env     []string
	Version string
	// Once ends the server after its first step. FirstClaim is how long a client may take to claim it, FirstStep to
	// ask for the step; 0: for ever.
	Once                  bool
	FirstClaim, FirstStep time.Duration
	// Lease, for Once, is the path of the file that a hook which still wants to start its step holds locked.
	Lease string
	// Main is where the container's own program prints, which Client.Main starts, and whose end is the server's. nil: the
	// container has none.
	Main *os.File
	// Externals are programs that lie elsewhere than steps think.
	Externals Externals
	// Services are further operations of the agent, by name.
	Services map[string]Service
	// Furnish makes what the container is to have and gives what cannot be made, which is told to whoever asks who the agent
	// is. Others may undo it: it is called again and again. nil: there is nothing to make.
	Furnish func() []Undone
	Log     *slog.Logger // nil: discard
}

// Server is the first process of a container.
type Server struct {
	opts  ServerOptions
	log   *slog.Logger
	spare chan *process
	done  chan struct{} // Once: the step has ended

	mu    sync.Mutex
	token string
	runs  map[string]*run
	past  map[string]bool // steps that were forgotten
	last  Exit            // of the last step that was forgotten
	once  sync.Once

	main    *program
	started chan struct{} // closed: main is there
}

// NewServer makes a server; Serve runs it.
func NewServer(opts ServerOptions) *Server {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{opts: opts, log: log, spare: make(chan *process, 1), done: make(chan struct{}), runs: map[string]*run{}, past: map[string]bool{}, started: make(chan struct{})}
}

// Serve listens until ctx ends, or with Once until the step has. It returns the step's exit record then.
// All processes of all steps have been told to die when it returns.
func (s *Server) Serve(ctx context.Context) (Exit, error) {
	if isSupervisor() {
		return Exit{}, errors.New("a supervisor does not serve: its program does not know that it is to be one")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := listen(s.opts.Socket)
	if err != nil {
		return Exit{}, err
	}
	s.furnish()
	go s.refill()
	go s.accept(ctx, l)
	if s.opts.Listener != nil {
		go s.accept(ctx, s.opts.Listener)
	}
	if s.stopped() { // before anybody could see that it listens
		return Exit{}, ErrStopped
	}
	unclaimed, idle := s.after(s.opts.FirstClaim), s.after(s.opts.FirstStep)
	started := s.started
	for {
		select {
		case <-started:
			started = nil
		case exit := <-s.mainExit():
			s.killAll()
			return exit, nil
		case <-ctx.Done():
			s.killAll()
			return Exit{Code: 143}, nil
		case <-s.done:
			s.killAll()
			return s.last, nil
		case <-unclaimed:
			if unclaimed = nil; !s.claimed() {
				return Exit{Code: 125}, errors.New("the hook that started this container has not come")
			}
		case <-idle:
			if idle = nil; s.idle() {
				return Exit{Code: 125}, errors.New("the hook that started this container asked for no step")
			}
		case <-time.After(socketCheck):
			if s.stopped() {
				s.killAll()
				return Exit{}, ErrStopped
			}
			s.furnish()
			if s.opts.Once && s.idle() && released(s.opts.Lease) {
				return Exit{Code: 125}, errors.New("the hook that started this container has ended")
			}
			if _, err := os.Lstat(s.opts.Socket); errors.Is(err, fs.ErrNotExist) {
				l = s.relisten(ctx, l)
			}
		}
	}
}

// after is a timer for a server that is there for one step; others wait for ever.
func (s *Server) after(d time.Duration) <-chan time.Time {
	if !s.opts.Once || d <= 0 {
		return nil
	}
	return time.After(d)
}

func (s *Server) claimed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != ""
}

// maxAddress is what a socket address holds, with the zero at its end (unix(7)).
const maxAddress = 108

// listen makes the socket. Its folder is closed to other users of the host; the socket itself is open, because
// the container's user is often not the runner's.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	address := path
	if len(path) >= maxAddress {
		dir, err := safefs.OpenDir(filepath.Dir(path), ".")
		if err != nil {
			return nil, fmt.Errorf("opening the folder of the socket: %w", err)
		}
		defer dir.Close()
		address = filepath.Join(safefs.Opened(dir), filepath.Base(path))
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening the socket: %w", err)
	}
	return l, nil
}

// relisten makes a socket again that a step has deleted. It fails as long as the folder is gone too.
func (s *Server) relisten(ctx context.Context, old *net.UnixListener) *net.UnixListener {
	l, err := listen(s.opts.Socket)
	if err != nil {
		s.log.Debug("the socket is gone", "error", err)
		return old
	}
	old.Close()
	go s.accept(ctx, l)
	return l
}

func (s *Server) accept(ctx context.Context, l net.Listener) {
	for ctx.Err() == nil {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, say: others go on, and this one gets better
			s.log.Warn("accepting a connection", "error", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go s.handle(ctx, conn)
	}
}

func (s *Server) handle(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	heard := &pulse{Conn: conn}
	in := bufio.NewReaderSize(heard, 4<<10)
	conn.SetReadDeadline(time.Now().Add(requestLimit))
	kind, payload, err := readFrame(in, maxFrame)
	if err != nil || kind != frameRequest {
		return
	}
	conn.SetReadDeadline(time.Time{})
	var req request
	if err := json.Unmarshal(payload, &req); err != nil {
		s.refuse(conn, refusedProtocol, err.Error())
		return
	}
	heard.limit = missed * req.Heartbeat
	s.dispatch(ctx, conn, in, &req)
}

func (s *Server) dispatch(ctx context.Context, conn net.Conn, in *bufio.Reader, req *request) {
	switch {
	case req.Protocol != protocol:
		s.refuse(conn, refusedProtocol, fmt.Sprintf("the agent speaks version %d, the client %d", protocol, req.Protocol))
	case !s.admit(req) && !s.claimed():
		s.refuse(conn, refusedUnknown, "nobody has claimed this agent since it was started")
	case !s.admit(req):
		s.refuse(conn, refusedToken, "wrong token")
	case req.Op == opClaim, req.Op == opHello:
		writeJSON(conn, frameHello, s.hello()) // the client asks again if it does not arrive
	case req.Op == opFiles:
		writeJSON(conn, frameHello, fileIDs(req.Paths)) // as above
	case req.Op == opStart && req.Step != nil && len(req.Step.Argv) > 0:
		if r := s.start(req.Step); r != nil {
			s.attend(conn, in, r, 0)
			return
		}
		s.refuse(conn, refusedUnknown, "step "+req.Step.ID+" has been run already")
	case req.Op == opAttach:
		if r := s.find(req.ID); r != nil {
			s.attend(conn, in, r, req.Offset)
			return
		}
		s.refuse(conn, refusedUnknown, "no step "+req.ID)
	case req.Op == opMain && req.Step != nil && len(req.Step.Argv) > 0:
		start, err := s.runMain(req.Step)
		if err != nil {
			s.refuse(conn, refusedProtocol, err.Error())
			return
		}
		writeJSON(conn, frameHello, start) // the client asks again if it does not arrive
	case req.Op == opEnd:
		if r := s.find(req.ID); r != nil {
			r.giveUp()
		}
		writeJSON(conn, frameHello, s.hello())
	case s.opts.Services[req.Op] != nil:
		s.opts.Services[req.Op].attend(ctx, conn, in, req.Body)
	default:
		s.refuse(conn, refusedProtocol, "cannot do "+req.Op)
	}
}

// admit checks the token; the first claim sets it.
func (s *Server) admit(req *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == "" && req.Op == opClaim {
		s.token = req.Token
		s.opts.Env = append(s.opts.Env[:len(s.opts.Env):len(s.opts.Env)], entries(req.Env)...) // the last of a name counts
	}
	return s.token != "" && subtle.ConstantTimeCompare([]byte(s.token), []byte(req.Token)) == 1
}

func (s *Server) refuse(conn net.Conn, kind, message string) {
	s.log.Warn("refused", "kind", kind, "message", message)
	writeJSON(conn, frameError, refusal{Kind: kind, Message: message}) // gone already: nothing to tell
}

func (s *Server) hello() Hello {
	return Hello{
		Protocol: protocol, Version: s.opts.Version, PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(),
		Alpine: containerIsAlpine(), Undone: s.furnish(),
	}
}

// furnish makes what is missing in the container.
func (s *Server) furnish() []Undone {
	if s.opts.Furnish == nil {
		return nil
	}
	return s.opts.Furnish()
}

func fileIDs(paths []string) []FileID {
	ids := make([]FileID, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			ids[i] = IDOf(info)
		}
	}
	return ids
}

func (s *Server) find(id string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

func (s *Server) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.runs) == 0
}

// start runs a step, or finds it if it runs already. It gives nil for one that was forgotten: no step is run twice.
func (s *Server) start(step *Step) *run {
	s.mu.Lock()
	r, known := s.runs[step.ID]
	if !known && !s.past[step.ID] {
		r = newRun(step)
		s.runs[step.ID] = r
	}
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	if !known {
		s.launch(r)
	}
	return r
}

// launch gives the run a supervisor, in a container that is as it should be. A waiting one may have been killed by a step: then a fresh one.
func (s *Server) launch(r *run) {
	s.furnish()
	argv := append([]string{s.opts.Externals.find(r.step.Argv[0])}, r.step.Argv[1:]...)
	req := startRequest{Argv: argv, Env: withPWD(environ(s.opts.Env, r.step), r.step.Dir), Dir: r.step.Dir}
	for range 2 {
		proc, err := s.take()
		if err != nil {
			r.fail(126, err.Error())
			return
		}
		if !proc.start(req) {
			proc.close()
			continue
		}
		r.mu.Lock()
		r.proc = proc
		r.mu.Unlock()
		go r.follow()
		return
	}
	r.fail(126, "the step's supervisor was killed before it could start the step")
}

// take gives the waiting supervisor, or starts one.
func (s *Server) take() (*process, error) {
	select {
	case p := <-s.spare:
		go s.refill()
		return p, nil
	default:
		return spawn(nil)
	}
}

// refill keeps one supervisor waiting, so that a step need not wait for one to start.
func (s *Server) refill() {
	if s.opts.Once && !s.idle() {
		return
	}
	p, err := spawn(nil)
	if err != nil {
		s.log.Warn("no spare supervisor", "error", err) // the step that needs one will tell
		return
	}
	select {
	case s.spare <- p:
	default:
		p.close()
	}
}

// attend serves a client of a run to the end of its connection.
func (s *Server) attend(conn net.Conn, in *bufio.Reader, r *run, offset int64) {
	if !r.out.holds(offset) {
		s.refuse(conn, refusedOffset, fmt.Sprintf("step %s has no output at offset %d any more", r.id, offset))
		return
	}
	client, bye := r.serve(conn, in, offset)
	if bye {
		s.forget(r)
		return
	}
	r.abandon(client, func() {
		select {
		case <-r.gone:
		case <-time.After(2 * orphanKill):
		}
		if s.opts.Once {
			s.forget(r)
			return
		}
		time.AfterFunc(keepExit, func() { s.forget(r) })
	})
}

func (s *Server) forget(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.runs, r.id)
	s.past[r.id] = true
	r.out.close()
	if !s.opts.Once {
		return
	}
	s.last = Exit{Code: 137}
	if exit := r.result(); exit != nil {
		s.last = *exit
	}
	s.once.Do(func() { close(s.done) })
}

func (s *Server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		r.kill()
	}
	s.killMain()
}

// Reap waits for every child that ends, for ever: supervisors, and as first process of the container whatever
// lost its parent. Start it once.
func Reap(sigchld <-chan os.Signal) {
	for range sigchld {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
}

func entries(env map[string]string) []string {
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

func cutEnv(kv string) (key, value string, ok bool) { return strings.Cut(kv, "=") }
