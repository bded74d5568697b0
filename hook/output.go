package hook

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// relay passes output on.
type relay struct {
	lock *sync.Mutex // shared by both streams, as they may have the same writer
	w    io.Writer   // nil to drop everything
}

func (r relay) Write(p []byte) (int, error) {
	if r.w == nil {
		return len(p), nil
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.w.Write(p)
}

// outputPipe brings one stream of a process to a writer. The hook never gets the writer itself, even if it is a
// file: under the runner it has pipes.
type outputPipe struct {
	reader, writer *os.File
	copied         chan error
}

func newOutputPipe(to io.Writer) (*outputPipe, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &outputPipe{reader: reader, writer: writer, copied: make(chan error, 1)}
	go func() {
		_, err := io.Copy(to, reader)
		p.copied <- errors.Join(err, reader.Close())
	}()
	return p, nil
}

// drain waits until nobody holds the pipe any more, or until the deadline.
func (p *outputPipe) drain(deadline time.Time) (held bool, err error) {
	_ = p.reader.SetReadDeadline(deadline) // fails only if the reader is at its end and closed
	err = <-p.copied
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil
	}
	return false, err
}

// outputs are both streams of one process.
type outputs struct{ stdout, stderr *outputPipe }

func newOutputs(stdout, stderr io.Writer) (*outputs, error) {
	lock := new(sync.Mutex)
	out, err := newOutputPipe(relay{lock, stdout})
	if err != nil {
		return nil, err
	}
	errs, err := newOutputPipe(relay{lock, stderr})
	if err != nil {
		return nil, errors.Join(err, out.writer.Close())
	}
	return &outputs{out, errs}, nil
}

// release closes the writing ends, which belong to the process once it has been started.
func (o *outputs) release() error {
	return errors.Join(o.stdout.writer.Close(), o.stderr.writer.Close())
}

// drain waits for the end of both streams, at most for the delay.
func (o *outputs) drain(delay time.Duration) (held bool, err error) {
	deadline := time.Now().Add(delay)
	heldOut, errOut := o.stdout.drain(deadline)
	heldErr, errErr := o.stderr.drain(deadline)
	return heldOut || heldErr, errors.Join(errOut, errErr)
}
