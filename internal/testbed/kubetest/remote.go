package kubetest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// remote is the inside of a pod in somebody's cluster, reached by kubectl.
type remote struct {
	cluster   *Cluster
	namespace string
	pod       string
}

func (r *remote) command(ctx context.Context, p Program) (*Command, error) {
	// kubectl keeps neither environment nor directory.
	script := `cd "$0" && exec env "$@"`
	dir := p.Dir
	if dir == "" {
		dir = "."
	}
	args := append(append([]string{"sh", "-c", script, dir}, p.Env...), p.Args...)
	return &Command{Cmd: r.kubectl(ctx, args...)}, nil
}

func (r *remote) kubectl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"--kubeconfig", r.cluster.Kubeconfig, "--namespace", r.namespace,
		"exec", "--stdin", r.pod, "--container", Container, "--"}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// copyIn sends the folder through the API server, again if it has not arrived: kubectl at times discards what it gets first.
func (r *remote) copyIn(ctx context.Context, from, to string, _ int64) (err error) {
	for range 3 {
		if err = r.tryCopyIn(ctx, from, to); err == nil {
			return nil
		}
	}
	return err
}

// tryCopyIn ends with a word which tells that all has arrived: an exec whose input ends early succeeds.
func (r *remote) tryCopyIn(ctx context.Context, from, to string) error {
	const word = "arrived"
	cmd := r.kubectl(ctx, "sh", "-c", `mkdir -p "$0" && tar -x -C "$0" -f - && echo `+word, to)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("copying into the pod: %w", err)
	}
	archive := tar.NewWriter(input)
	err = errors.Join(archive.AddFS(os.DirFS(from)), archive.Close(), input.Close(), cmd.Wait())
	if err == nil && strings.TrimSpace(out.String()) != word {
		err = errors.New("the archive has not arrived")
	}
	if err != nil {
		return fmt.Errorf("copying into the pod: %w: %s", err, out.String())
	}
	return nil
}

func (r *remote) hostPath(path string) (string, error) {
	return "", fmt.Errorf("%s lies in a foreign cluster, not on this machine", path)
}
