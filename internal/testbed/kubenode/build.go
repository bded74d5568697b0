package kubenode

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// version of Kubernetes, which test/kubenode/go.mod names too.
const version = "v1.36.3"

// sources of the node program, below the project's module.
const sources = "test/kubenode"

// Build makes the node program and returns its path. A program that was made from the same sources by the same Go is
// used again: without one this takes minutes. The working directory must lie in the project's module.
func Build(ctx context.Context, talk io.Writer) (string, error) {
	root, err := output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("finding the project: %w", err)
	}
	dir := filepath.Join(root, filepath.FromSlash(sources))
	key, err := buildKey(ctx, dir)
	if err != nil {
		return "", err
	}
	made := filepath.Join(root, ".cache", "kubenode", key, "kubenode")
	if err := os.MkdirAll(filepath.Dir(made), 0o755); err != nil {
		return "", fmt.Errorf("making the node program: %w", err)
	}
	unlock, err := lock(filepath.Join(filepath.Dir(made), "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(made); err == nil {
		return made, nil
	}
	fmt.Fprintf(talk, "testbed: building Kubernetes %s from %s: minutes, the first time\n", version, sources)
	begin := time.Now()
	if err := compile(ctx, dir, made); err != nil {
		return "", err
	}
	fmt.Fprintf(talk, "testbed: Kubernetes is built after %.0f s\n", time.Since(begin).Seconds())
	return made, nil
}

// buildKey names what a build depends on.
func buildKey(ctx context.Context, dir string) (string, error) {
	about, err := output(ctx, dir, "go", "env", "GOVERSION", "GOARCH")
	if err != nil {
		return "", fmt.Errorf("asking for Go's version: %w", err)
	}
	sum := sha256.New()
	fmt.Fprintln(sum, about, linkerFlags())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("reading the node program's sources: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s\n", filepath.Base(file), len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// lock keeps two commands from compiling the same at once: the second waits and finds the first's program.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	return func() { f.Close() }, nil
}

func compile(ctx context.Context, dir, to string) error {
	half := to + ".new"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", linkerFlags(), "-o", half, ".")
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the node program: %w\n%s", err, text)
	}
	if err := os.Rename(half, to); err != nil {
		return fmt.Errorf("building the node program: %w", err)
	}
	return nil
}

// linkerFlags tell the parts their version: they refuse each other, and clients, without one.
func linkerFlags() string {
	const at = "-X k8s.io/component-base/version."
	minor := strings.Split(version, ".")[1]
	return "-s -w " + at + "gitVersion=" + version + " " + at + "gitMajor=1 " + at + "gitMinor=" + minor + " " +
		at + "gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=" + version
}

// output runs a command; an error has what it said.
func output(ctx context.Context, dir string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stdout.String()+stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
