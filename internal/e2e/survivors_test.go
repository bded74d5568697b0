package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// A step of an image whose user is not root may start processes that are, with sudo. The agent cannot signal them.
func TestACancelledStepLeavesNoProcessOfRootBehind(t *testing.T) {
	for _, e := range []*testbed.Engine{testbed.Docker(t), testbed.Podman(t)} {
		t.Run(e.Label, func(t *testing.T) {
			r := newRunner(t, e)
			ok(t, r.Prepare(ctx(t), r.JobContainer(sudoImage(t, e))))
			mark := "7" + strings.ReplaceAll(time.Now().Format("150405.000000"), ".", "")
			args, err := r.Script("touch started; /assudo sleep " + mark)
			if err != nil {
				t.Fatal(err)
			}
			cancelled, cancel := context.WithCancel(ctx(t))
			go func() {
				defer cancel()
				for deadline := time.Now().Add(limit); len(sleepers(mark)) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				}
			}()
			r.Call(cancelled, hook.RunScriptStep, args)
			if left := sleepers(mark); len(left) > 0 {
				t.Errorf("alive after the cancelled step: %v", left)
			}
		})
	}
}

// sudoImage is the image of an ordinary user with a program that runs another one as root.
func sudoImage(t *testing.T, e *testbed.Engine) string {
	t.Helper()
	dir := t.TempDir()
	source := `package main

import (
	"os"
	"syscall"
)

func main() {
	if err := syscall.Setuid(0); err != nil {
		panic(err)
	}
	panic(syscall.Exec("/bin/"+os.Args[1], os.Args[1:], os.Environ()))
}
`
	dockerfile := "FROM " + testbed.NonRoot + "\nUSER 0\nCOPY assudo /assudo\nRUN chmod 4755 /assudo\nUSER 1234:1234\n"
	for name, text := range map[string]string{"main.go": source, "Dockerfile": dockerfile, "go.mod": "module assudo\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", "assudo", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const image = "gantry.test/assudo:1"
	if out, err := e.Command(ctx(t), "build", "-q", "-t", image, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := e.Command(context.Background(), "rmi", "-f", image).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	return image
}

// sleepers are the processes `sleep MARK` of the machine.
func sleepers(mark string) []string {
	var all []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && string(text) == "sleep\x00"+mark+"\x00" {
			all = append(all, f)
		}
	}
	return all
}
