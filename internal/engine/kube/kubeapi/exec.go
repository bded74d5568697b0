package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// Exec runs a program in a container, as its user, and gives its exit status. The streams may be nil; stdout and stderr
// must not be the same. A connection that breaks is an error; the program may go on.
func (c *Client) Exec(ctx context.Context, pod, container string, stdin io.Reader, stdout, stderr io.Writer, argv ...string) (status int, err error) {
	q := call{verb: "create", resource: "pods", sub: "exec", name: pod, query: url.Values{
		"container": {container}, "command": argv, "stdout": {"true"}, "stderr": {"true"},
	}}
	if stdin != nil {
		q.query.Set("stdin", "true")
	}
	executor, err := c.executor(c.url(q))
	if err != nil {
		return 0, fmt.Errorf("preparing to run %s in %s: %w", argv[0], container, err)
	}
	silent := klog.NewContext(ctx, logr.Discard()) // what goes wrong is in the error
	err = executor.StreamWithContext(silent, remotecommand.StreamOptions{Stdin: stdin, Stdout: orNobody(stdout), Stderr: orNobody(stderr)})
	var exit utilexec.CodeExitError
	switch {
	case errors.As(err, &exit):
		return exit.Code, nil
	case err != nil:
		return 0, c.refusal(q, ended(ctx, forbidden(err)))
	}
	return 0, nil
}

// forbidden gives a refused upgrade, of which only the server's words are left, as the server's answers are.
func forbidden(err error) error {
	if text := err.Error(); serverText(err) == "" && strings.Contains(text, "is forbidden") && isRBAC(text) {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: text,
		}}
	}
	return err
}

// orNobody is a writer for a stream that nobody wants: containerd may lose what a program reads once its output is closed.
func orNobody(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// executor prefers WebSockets, and goes back to SPDY with API servers and proxies that do not know them.
func (c *Client) executor(target *url.URL) (remotecommand.Executor, error) {
	ws, err := remotecommand.NewWebSocketExecutor(c.place.Config, http.MethodGet, target.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.place.Config, http.MethodPost, target)
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// Pipe starts a program in a container with a stream to its input and from its output.
func (c *Client) Pipe(ctx context.Context, pod, container string, argv ...string) io.ReadWriteCloser {
	ctx, cancel := context.WithCancel(ctx)
	in, toProgram := io.Pipe()
	fromProgram, out := io.Pipe()
	p := &pipe{WriteCloser: toProgram, out: fromProgram, cancel: cancel}
	go func() {
		said := &lastWords{}
		status, err := c.Exec(ctx, pod, container, in, out, said, argv...)
		if err == nil {
			err = io.EOF
			if status != 0 {
				err = fmt.Errorf("%s in %s has ended with status %d: %s", argv[0], container, status, said)
			}
		}
		out.CloseWithError(err)
		in.CloseWithError(err)
	}()
	return p
}

// pipe is the near end of a Pipe.
type pipe struct {
	io.WriteCloser
	out    *io.PipeReader
	cancel context.CancelFunc
}

func (p *pipe) Read(b []byte) (int, error) { return p.out.Read(b) }

func (p *pipe) Close() error {
	p.cancel()
	return errors.Join(p.WriteCloser.Close(), p.out.Close())
}

// lastWords keeps the end of what is written.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

func (w *lastWords) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, b...)
	w.text = w.text[max(0, len(w.text)-1000):]
	return len(b), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}
