package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

var errClosed = errors.New("closed")

// graceAfterExit is how long output is awaited after the step's own process has ended, when others still hold the
// pipe: a `tee` that the shell does not wait for, or a server that was left in the background.
const graceAfterExit = 400 * time.Millisecond

// pipeSize is asked for the output pipe; the kernel may refuse, then it is 64 KiB.
const pipeSize = 256 << 10

const fSetPipeSize = 1031 // F_SETPIPE_SZ of fcntl(2)

// process is a supervisor and the pipe that its step writes to.
type process struct {
	control *os.File
	in      *bufio.Reader
	output  *os.File
}

// supervise is what the program is started with to become a supervisor: it calls Supervise.
const supervise = "supervise"

// isSupervisor says whether this process was started to be one. A program that has an agent but does not know the
// argument, such as a test's, would start itself over and over.
func isSupervisor() bool {
	argv, err := os.ReadFile("/proc/self/cmdline")
	return err == nil && bytes.Equal(argv, []byte("gantry-agent\x00"+supervise+"\x00"))
}

// spawn starts a supervisor that waits for a step. The step writes to out; nil: to a pipe, which output is the end of.
func spawn(out *os.File) (*process, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket pair: %w", err)
	}
	remote := os.NewFile(uintptr(pair[1]), "remote")
	defer remote.Close()
	// Non-blocking, so that reads and deadlines go through the poller.
	if err := syscall.SetNonblock(pair[0], true); err != nil {
		return nil, fmt.Errorf("preparing the control socket: %w", err)
	}
	local := os.NewFile(uintptr(pair[0]), "control")
	r := (*os.File)(nil)
	if out == nil {
		if r, out, err = os.Pipe(); err != nil {
			local.Close()
			return nil, fmt.Errorf("making the output pipe: %w", err)
		}
		defer out.Close()
		growPipe(r)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"gantry-agent", supervise}, &os.ProcAttr{
		Env:   []string{"GOMAXPROCS=1"},
		Files: []*os.File{nil, nil, nil, remote, out},
	})
	if err != nil {
		local.Close()
		r.Close()
		return nil, fmt.Errorf("starting a supervisor: %w", err)
	}
	return &process{control: local, in: bufio.NewReader(local), output: r}, p.Release()
}

func growPipe(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	conn.Control(func(fd uintptr) { // refused: the pipe stays as it is
		syscall.Syscall(syscall.SYS_FCNTL, fd, fSetPipeSize, pipeSize)
	})
}

// start hands the step over. False: the supervisor was dead already and has started nothing, take another.
func (p *process) start(req startRequest) bool {
	if writeJSON(p.control, frameStart, req) != nil {
		return false
	}
	kind, _, err := readFrame(p.in, 1<<10)
	return err == nil && kind == frameTaken
}

func (p *process) signal(sig syscall.Signal) error {
	return writeJSON(p.control, frameSignal, cancelRequest{Signal: int(sig)})
}

func (p *process) close() {
	p.control.Close()
	p.output.Close()
}

// pump copies the step's output into b until the pipe is closed, or for a while after exited.
func (p *process) pump(b *buffer, exited <-chan struct{}) {
	buf := make([]byte, outputChunk)
	graced := false // the step has ended, and the pipe is read for a last while
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-exited:
			p.output.SetReadDeadline(time.Now()) // interrupts the read that is under way
		case <-stop:
		}
	}()
	for {
		n, err := p.output.Read(buf)
		if _, werr := b.Write(buf[:n]); werr != nil {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !graced:
			graced = true
			p.output.SetReadDeadline(time.Now().Add(graceAfterExit))
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.sweep(b)
			return
		default:
			return
		}
	}
}

// sweep takes what the pipe holds right now: all that the step's own process wrote is among it, however slow
// the client was.
func (p *process) sweep(b *buffer) {
	p.output.SetReadDeadline(time.Time{})
	left := pending(p.output)
	buf := make([]byte, outputChunk)
	for left > 0 {
		n, err := p.output.Read(buf[:min(left, len(buf))])
		if _, werr := b.Write(buf[:n]); werr != nil || err != nil {
			return
		}
		left -= n
	}
}

// discard keeps the pipe flowing for background processes that outlive their step.
func (p *process) discard() {
	p.output.SetReadDeadline(time.Time{})
	buf := make([]byte, 4<<10)
	for {
		if _, err := p.output.Read(buf); err != nil {
			p.output.Close()
			return
		}
	}
}
