package imagebuild

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/policy"
	"github.com/gantry-ci/gantry/internal/verdict"
	"github.com/gantry-ci/gantry/internal/writers"
)

const (
	// keptOutput is how much of a builder's talk is looked at for what went wrong: its end.
	keptOutput = 64 << 10
	// patience is how long a guard is waited for that was told to stop; then it ends the build on its own.
	patience = 5 * time.Second
	// longestDockerfile is more than any is long.
	longestDockerfile = 1 << 20
)

// make builds and pushes an image.
func (b *Builder) make(ctx context.Context, spec engine.BuildSpec, image image, log io.Writer) error {
	tool, path, err := b.tool()
	if err != nil {
		return err
	}
	accounts, err := b.accounts.File(ctx, append([]string{image.pushed.Repository.Name()}, baseRepositories(spec.Dockerfile)...))
	if err != nil {
		return err
	}
	p := plan{cfg: b.cfg, env: environment(b.cfg.Env), path: path, spec: spec, image: image, accounts: accounts}
	worked := false
	if tool.probe != nil {
		if p.dir, err = b.privateDir(); err != nil {
			return err
		}
		outcome, err := b.guarded(ctx, tool.probe(p), io.Discard)
		if err != nil {
			return err
		}
		worked = outcome.Failed < 0
	}
	if p.dir, err = b.privateDir(); err != nil {
		return err
	}
	fmt.Fprintf(log, "building %s with %s\n", image.pushed, tool.name)
	task := tool.task(p, worked)
	outcome, err := b.guarded(ctx, task, log)
	if err != nil {
		return err
	}
	if outcome.Left != "" {
		fmt.Fprintf(log, "gantry: %s\n", outcome.Left)
	}
	return tool.judge(task, outcome, image)
}

// baseRepositories are those of a Dockerfile's base images. A name with a variable in it is not understood: the account
// for it is not given to the builder.
func baseRepositories(dockerfile string) []string {
	file, err := os.Open(dockerfile)
	if err != nil {
		return nil // the builder says it
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, longestDockerfile))
	if err != nil {
		return nil // as above
	}
	var repositories []string
	for _, image := range policy.BaseImages(string(text)) {
		if ref, err := name.ParseReference(image); err == nil {
			repositories = append(repositories, ref.Context().Name())
		}
	}
	return repositories
}

// privateDir names a folder that a guard makes.
func (b *Builder) privateDir() (string, error) {
	if err := os.MkdirAll(b.cfg.Dir, 0o700); err != nil {
		return "", verdict.New(verdict.Infrastructure, "may the runner's user write there, and is there space left?", "making a folder for builds: %w", err)
	}
	return filepath.Join(b.cfg.Dir, strings.ToLower(rand.Text())), nil
}

// outcome is how a task ended.
type outcome struct {
	buildguard.Result
	output string // the end of what the commands said
}

// guarded has a task done by a guard. An error is a verdict that the build could not be done, or was given up.
func (b *Builder) guarded(ctx context.Context, task buildguard.Task, talk io.Writer) (outcome, error) {
	said := &writers.Tail{Max: keptOutput}
	door := &gate{w: talk}
	defer door.close()
	var answer bytes.Buffer
	cmd := exec.Command(b.cfg.Guard[0], b.cfg.Guard[1:]...)
	cmd.Env, cmd.Dir = []string{"PATH=" + b.path}, "/"
	cmd.Stdout, cmd.Stderr = &answer, io.MultiWriter(said, door)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	orders, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return outcome{}, guardVerdict(err, "")
	}
	stop := context.AfterFunc(ctx, func() { _ = orders.Close() }) // once it has ended there is nobody to tell
	defer stop()
	done := make(chan error, 1)
	go func() {
		// What cannot be written to it is followed by its end, which is the error that counts.
		_ = json.NewEncoder(orders).Encode(task)
		done <- cmd.Wait()
	}()
	if err, ok := await(ctx, done); !ok {
		return outcome{}, ended(ctx)
	} else if err != nil {
		return outcome{}, guardVerdict(err, said.String())
	}
	result := outcome{output: said.String()}
	if err := json.Unmarshal(answer.Bytes(), &result.Result); err != nil {
		return outcome{}, guardVerdict(fmt.Errorf("reading how the build went: %w", err), said.String())
	}
	return result, nil
}

// await waits for a guard. Not ok: it was told to stop.
func await(ctx context.Context, done <-chan error) (err error, ok bool) {
	select {
	case err := <-done:
		return err, ctx.Err() == nil
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(patience):
	}
	return nil, false
}

// guardVerdict is for a guard that did not do its work.
func guardVerdict(err error, output string) error {
	v := &verdict.Error{Whose: verdict.Bug, Err: fmt.Errorf("guarding a build: %w", err), Output: output}
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		v.Whose, v.Hint = verdict.Infrastructure, "was the pod short of memory? builds count for the runner's container"
	}
	return v
}

// gate lets through what is written to it until it is closed: a guard that goes on has nobody to talk to.
type gate struct {
	mu     sync.Mutex
	w      io.Writer
	closed bool
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return len(p), nil
	}
	return g.w.Write(p)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}
