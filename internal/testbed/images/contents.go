package images

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// layers are what the images are put together from.
type layers struct {
	busybox, bash, alpine, nonroot, runner, data, hello, redis, pause Blob
}

func buildLayers(ctx context.Context) (layers, error) {
	var all layers
	dir, err := os.MkdirTemp("", "gantry-images-")
	if err != nil {
		return all, err
	}
	defer os.RemoveAll(dir)
	steps := []struct {
		to   *Blob
		name string
		fill func(*layer) error
	}{
		{&all.busybox, "busybox", func(l *layer) error { return fillBusybox(ctx, l) }},
		{&all.bash, "bash", func(l *layer) error { return fillBash(ctx, l) }},
		{&all.alpine, "alpine", fillAlpine},
		{&all.nonroot, "nonroot", fillNonRoot},
		{&all.runner, "runner", func(l *layer) error { return fillRunner(ctx, l) }},
		{&all.data, "data", func(l *layer) error { l.text("data/seed", "from the image\n"); return nil }},
		{&all.hello, "hello", func(l *layer) error { return fillProgram(ctx, l, dir, "hello") }},
		{&all.redis, "redis", func(l *layer) error { return fillProgram(ctx, l, dir, "redis") }},
		{&all.pause, "pause", func(l *layer) error { return fillProgram(ctx, l, dir, "pause") }},
	}
	for _, step := range steps {
		l := newLayer()
		if err := step.fill(l); err != nil {
			return all, fmt.Errorf("layer %s: %w", step.name, err)
		}
		if *step.to, err = l.finish(); err != nil {
			return all, fmt.Errorf("layer %s: %w", step.name, err)
		}
	}
	return all, nil
}

func fillBusybox(ctx context.Context, l *layer) error {
	const program = "/bin/busybox"
	list, err := output(ctx, program, "--list-full")
	if err != nil {
		return err
	}
	for _, dir := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin",
		"etc", "home", "proc", "sys", "dev", "var/lib"} {
		l.dir(dir, 0o755, 0)
	}
	l.dir("root", 0o700, 0)
	l.dir("tmp", fs.ModeSticky|0o777, 0)
	l.dir("var/tmp", fs.ModeSticky|0o777, 0)
	l.copyOf("bin/busybox", program)
	for _, applet := range strings.Fields(list) {
		if path.Base(applet) != "busybox" {
			l.link(applet, "/bin/busybox")
		}
	}
	l.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n")
	l.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	return nil
}

// fillBash copies the machine's bash and the libraries that ldd names, each under the name that the loader uses.
func fillBash(ctx context.Context, l *layer) error {
	libraries, err := bashLibraries(ctx)
	if err != nil {
		return err
	}
	l.copyOf("bin/bash", bash)
	for _, library := range libraries {
		l.copyOf(library, library)
	}
	return nil
}

const bash = "/bin/bash"

func bashLibraries(ctx context.Context) ([]string, error) {
	list, err := output(ctx, "ldd", bash)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(strings.Fields(list), func(word string) bool { return !strings.HasPrefix(word, "/") }), nil
}

// fillRunner adds a user to the image with bash, and what a Go program links that was built with a C compiler present:
// test binaries run there.
func fillRunner(ctx context.Context, l *layer) error {
	libraries, err := bashLibraries(ctx)
	if err != nil {
		return err
	}
	for _, library := range libraries {
		if !strings.HasPrefix(path.Base(library), "libc.so") {
			continue
		}
		for _, name := range []string{"libm.so.6", "libpthread.so.0", "libdl.so.2", "libresolv.so.2"} {
			if other := path.Join(path.Dir(library), name); exists(other) {
				l.copyOf(other, other)
			}
		}
	}
	l.dir("home/runner", 0o755, 1001)
	l.dir("home/runner/_work", 0o755, 1001)
	l.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nrunner:x:1001:1001:runner:/home/runner:/bin/bash\n")
	l.text("etc/group", "root:x:0:\nrunner:x:1001:runner\n")
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func fillAlpine(l *layer) error {
	l.text("etc/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.0\nPRETTY_NAME=\"Alpine Linux v3.20\"\n")
	l.text("etc/alpine-release", "3.20.0\n")
	return nil
}

func fillNonRoot(l *layer) error {
	l.dir("home/app", 0o755, 1234)
	l.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1234:1234:app:/home/app:/bin/sh\n")
	l.text("etc/group", "root:x:0:\napp:x:1234:\n")
	return nil
}

// fillProgram builds one of the Go programs below this directory, static, into the image's root.
func fillProgram(ctx context.Context, l *layer, dir, name string) error {
	out := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out,
		"github.com/gantry-ci/gantry/internal/testbed/images/"+name)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
	}
	l.copyOf(name, out)
	return nil
}

func output(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(out), nil
}
