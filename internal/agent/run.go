package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// orphanKill is the time between the polite and the final signal to a step whose client is gone.
const orphanKill = time.Second

// run is a step that was started: its process tree, its output, and who listens.
type run struct {
	id   string
	step *Step
	proc *process
	out  *buffer
	oom0 int // oomKills at the start

	mu        sync.Mutex
	exit      *Exit         // set before out is closed
	cancelled bool          // a signal was sent: the tree must end too
	killTimer *time.Timer   // kills the tree of a cancelled step
	orphan    *time.Timer   // runs while no client is attached
	detach    func()        // ends the attached client's connection
	clients   int           // how many clients have attached so far
	survivors []int         // what could not be killed
	exited    chan struct{} // the step's own process has ended
	gone      chan struct{} // the whole tree has ended
	stuck     chan struct{} // the tree was killed as far as that was possible
}

func newRun(step *Step) *run {
	return &run{
		id: step.ID, step: step, out: newBuffer(), oom0: oomKills(),
		exited: make(chan struct{}), gone: make(chan struct{}), stuck: make(chan struct{}),
	}
}

// fail ends a run whose process never was.
func (r *run) fail(code int, message string) {
	r.finish(Exit{Code: code, Error: message})
	close(r.exited)
	close(r.gone)
}

func (r *run) finish(exit Exit) {
	r.mu.Lock()
	exit.Output = r.out.length()
	exit.Survivors = r.survivors
	r.exit = &exit
	r.mu.Unlock()
	r.out.close()
}

// follow carries output and waits for the end.
func (r *run) follow() {
	last := make(chan supervisorExit, 1)
	go r.watch(last)
	r.proc.pump(r.out, r.exited)
	exit := <-last
	if r.isCancelled() {
		select {
		case <-r.gone:
		case <-r.stuck:
		}
	}
	r.finish(r.exitOf(exit))
	go r.proc.discard()
	<-r.gone
	r.stopKill()
	r.proc.control.Close()
}

// watch reads what the supervisor reports until its end, which is the end of the tree.
func (r *run) watch(last chan<- supervisorExit) {
	reported := false
	for {
		kind, payload, err := readFrame(r.proc.in, 1<<20)
		if err != nil {
			break
		}
		switch kind {
		case frameExit:
			reported = true
			last <- decodeExit(payload)
			close(r.exited)
		case frameError:
			r.mu.Lock()
			if r.survivors == nil {
				close(r.stuck)
			}
			json.Unmarshal(payload, &r.survivors) // from our own supervisor
			r.mu.Unlock()
		}
	}
	if !reported {
		last <- supervisorExit{Status: int(syscall.SIGKILL), Error: "the process that watches the step was killed: did the step kill everything?"}
		close(r.exited)
	}
	close(r.gone)
}

func (r *run) exitOf(e supervisorExit) Exit {
	exit := exitOf(e)
	exit.OOM = oomKills() > r.oom0
	return exit
}

// cancel sends a signal to the whole tree, and sees to it that everything is dead after grace.
func (r *run) cancel(sig syscall.Signal, grace time.Duration) {
	r.mu.Lock()
	r.cancelled = true
	if r.killTimer == nil {
		r.killTimer = time.AfterFunc(grace, r.kill)
	}
	proc := r.proc
	r.mu.Unlock()
	if proc != nil && proc.signal(sig) != nil {
		return // the supervisor has ended, and with it the tree
	}
}

func (r *run) kill() {
	r.mu.Lock()
	proc := r.proc
	r.mu.Unlock()
	if proc != nil {
		proc.signal(syscall.SIGKILL) // an error says that the tree has ended
	}
}

func (r *run) stopKill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killTimer != nil {
		r.killTimer.Stop()
	}
}

func (r *run) isCancelled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cancelled
}

func (r *run) result() *Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit
}

// attach makes the caller the only client, and gives it its number; the one before loses its connection.
func (r *run) attach(detach func()) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients++
	if r.detach != nil {
		r.detach()
	}
	if r.orphan != nil {
		r.orphan.Stop()
		r.orphan = nil
	}
	r.detach = detach
	return r.clients
}

// abandon starts the clock of a step whose client has gone without a farewell, unless another client has come.
// abandoned is called when the tree was told to end.
func (r *run) abandon(client int, abandoned func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if client != r.clients {
		return
	}
	r.orphan = time.AfterFunc(r.step.OrphanGrace, func() {
		r.giveUp()
		abandoned()
	})
}

// giveUp ends the tree of a step for which nobody will come back.
func (r *run) giveUp() { r.cancel(syscall.SIGTERM, orphanKill) }

// serve sends output from offset on and then the exit record, until the client says farewell or the connection
// ends. It returns the client's number.
func (r *run) serve(conn io.WriteCloser, in *bufio.Reader, offset int64) (client int, bye bool) {
	out := &sender{w: conn}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	context.AfterFunc(ctx, func() {
		conn.Close()
		r.out.wake()
	})
	client = r.attach(stop)
	go r.send(ctx, out, offset)
	return client, r.listen(in, out)
}

// send says that the step is known, writes output frames as output comes, and then the exit record.
func (r *run) send(ctx context.Context, conn io.Writer, offset int64) {
	if writeFrame(conn, framePong, nil) != nil {
		return
	}
	buf := make([]byte, 5+outputChunk)
	for {
		n := r.out.next(ctx, offset, buf[5:])
		if n == 0 {
			break
		}
		putHeader(buf, frameOutput, n)
		if _, err := conn.Write(buf[:5+n]); err != nil {
			return
		}
		offset += int64(n)
	}
	if exit := r.result(); ctx.Err() == nil && exit != nil {
		writeJSON(conn, frameExit, exit) // not arrived: the client attaches again
	}
}

// listen obeys the client.
func (r *run) listen(in *bufio.Reader, out *sender) (bye bool) {
	for {
		kind, payload, err := readFrame(in, 1<<10)
		if err != nil {
			return false
		}
		switch kind {
		case frameAck:
			r.out.ack(offsetOf(payload))
		case frameSignal:
			var req cancelRequest
			if json.Unmarshal(payload, &req) == nil {
				r.cancel(syscall.Signal(req.Signal), r.step.CancelGrace)
			}
		case framePing:
			out.pong()
		case frameBye:
			return true
		}
	}
}

func decodeExit(payload []byte) supervisorExit {
	var exit supervisorExit
	if err := json.Unmarshal(payload, &exit); err != nil {
		return supervisorExit{Code: 126, Error: fmt.Sprintf("decoding the supervisor's report: %v", err)}
	}
	return exit
}

// withPWD tells a step by which name it has come to its folder, if links lead there: shells go on to call it that.
func withPWD(env []string, dir string) []string {
	if real, err := filepath.EvalSymlinks(dir); dir == "" || err != nil || real == filepath.Clean(dir) {
		return env
	}
	return append(env, "PWD="+dir)
}

// environ is the step's environment: the container's own, the step's over it, and PATH by its rule.
func environ(own []string, step *Step) []string {
	env := map[string]string{}
	for _, kv := range own {
		if k, v, ok := cutEnv(kv); ok {
			env[k] = v
		}
	}
	path, hasPath := env["PATH"]
	for k, v := range step.Env {
		env[k] = v
	}
	if len(step.PrependPath) > 0 {
		env["PATH"] = prepend(step.PrependPath, path, hasPath)
	}
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	return list
}

func prepend(dirs []string, path string, hasPath bool) string {
	joined := ""
	for i, d := range dirs {
		if i > 0 {
			joined += string(os.PathListSeparator)
		}
		joined += d
	}
	if hasPath && path != "" {
		joined += string(os.PathListSeparator) + path
	}
	return joined
}
