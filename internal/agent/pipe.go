package agent

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Pipe is the work of `gantry-agent pipe`: it carries bytes between its standard streams and the agent's socket in the
// same container, until one of them ends. Whoever can start a program in a container reaches the agent so.
//
// The streams in and out stay open as long as it runs: containerd closes the standard input of such a program as soon
// as it closes one of its outputs.
func Pipe(in io.Reader, out io.Writer, socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("reaching the agent: %w", err)
	}
	defer conn.Close()
	return Carry(conn, struct {
		io.Reader
		io.Writer
	}{in, out})
}

// Carry carries bytes both ways until one of the two ends, which does not end the other one.
func Carry(a, b io.ReadWriter) error {
	ended := make(chan error, 2)
	carry := func(dst io.Writer, src io.Reader) {
		_, err := io.Copy(dst, src)
		ended <- err
	}
	go carry(a, b)
	go carry(b, a)
	if err := <-ended; err != nil {
		return fmt.Errorf("carrying bytes to and from the agent: %w", err)
	}
	return nil
}

// PipeConn makes a connection of the streams of a `gantry-agent pipe` that runs elsewhere: what is read comes from the
// agent, what is written goes there. Closing, which happens once, must make reads and writes that are under way return.
// It knows no deadlines; Client.Heartbeat does without.
func PipeConn(streams io.ReadWriteCloser) net.Conn {
	return &pipeConn{ReadWriter: streams, end: sync.OnceValue(streams.Close)}
}

type pipeConn struct {
	io.ReadWriter
	end func() error
}

func (c *pipeConn) Close() error { return c.end() }

func (c *pipeConn) LocalAddr() net.Addr  { return pipeAddr{} }
func (c *pipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

func (c *pipeConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *pipeConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *pipeConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// pipeAddr is the address of both ends of a pipe.
type pipeAddr struct{}

func (pipeAddr) Network() string { return NetworkPipe }
func (pipeAddr) String() string  { return NetworkPipe }
