package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/podspec/rbac"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// nodeSize is about that of a real node.
const nodeSize = 100 << 20

// The runner's node lies in the runner's image. It comes to the job container with the first step that asks for it, and
// only once; nothing else of the runner's externals does.
func TestActionsHaveTheRunnersNode(t *testing.T) {
	sideBySide(t, func(t *testing.T, p place) {
		if !p.outside(t) {
			playActions(t, p.runner(t), p.volume == rbac.None)
		}
	})
}

// playActions runs JavaScript actions. Apart says that they share nothing with the runner but the network.
func playActions(t *testing.T, r *fakerunner.Runner, apart bool) {
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	program := filepath.Join(os.Getenv(envPrograms), "gantry-agent") // what it says is known
	must(t, errors.Join(
		node(r, "node20", program), node(r, "node24", program),
		script(r, "node20_alpine", "#!/bin/sh\ncat $1\n")))
	container := r.JobContainer(image(t, testbed.Alpine))
	container.CreateOptions = "--user 1001" // who can make neither a link nor a folder at /__e
	ok(t, r.Prepare(ctx, container))
	action := filepath.Join(r.Work, "_actions/owner/name/v1/main.js") // the runner fetches actions while the job runs
	must(t, errors.Join(os.MkdirAll(filepath.Dir(action), 0o755), os.WriteFile(action, []byte("the action\n"), 0o644)))

	version, err := exec.CommandContext(ctx, program, "version").Output()
	must(t, err)
	first, sentFirst := act(ctx, t, r, "node20", "version", string(version))
	again, sentAgain := act(ctx, t, r, "node20", "version", string(version))
	other, sentOther := act(ctx, t, r, "node20_alpine", "/__w/_actions/owner/name/v1/main.js", "the action\n")
	t.Logf("%d MiB of node: first step %v, %.1f MB over the network; second %v, %.3f MB; another node %v, %.3f MB",
		nodeSize>>20, first, sentFirst, again, sentAgain, other, sentOther)
	if most := max(sentAgain, sentOther); most > 1 {
		t.Errorf("%.3f MB have travelled for a step whose node was there, or was small", most)
	}
	if full := float64(nodeSize) / 1e6; apart && (sentFirst < 0.9*full || sentFirst > 1.1*full) || !apart && sentFirst > 1 {
		t.Errorf("%.1f MB have travelled for a node of %.1f", sentFirst, full)
	}
	res := r.RunScript(ctx, "ls -R /.gantry/ /__w/_temp/.gantry/; test -x /__e/node24/bin/node")
	if res.Err == nil || strings.Contains(res.Output(), "node24") {
		t.Errorf("a node that no step has asked for is there: %s", res.Output())
	}
	ok(t, r.Cleanup(ctx))
	for _, pattern := range []string{"state/externals-*", "_work/_temp/.gantry/*"} {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(r.Work), pattern))
		if must(t, err); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// act runs a JavaScript action as the runner does, and gives its time and what it has sent over the network, in MB.
func act(ctx context.Context, t *testing.T, r *fakerunner.Runner, node, argument, prints string) (took time.Duration, sent float64) {
	t.Helper()
	args, err := r.Script("")
	must(t, err)
	args.EntryPoint, args.EntryPointArgs = "/__e/"+node+"/bin/node", []string{argument}
	before, began := sentBytes(t), time.Now()
	res := ok(t, r.Call(ctx, hook.RunScriptStep, args))
	took, sent = time.Since(began).Round(time.Millisecond), float64(sentBytes(t)-before)/1e6
	if res.Stdout != prints {
		t.Errorf("%s printed %q, not %q", node, res.Stdout, prints)
	}
	return took, sent
}

// node makes a large program of the runner's, which cannot be compressed.
func node(r *fakerunner.Runner, name, program string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	path := filepath.Join(r.Root, "externals", name, "bin/node")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	_, padding := io.CopyN(f, rand.NewChaCha8([32]byte{}), int64(nodeSize-len(text)))
	return errors.Join(err, padding, f.Close())
}

// script makes a small one.
func script(r *fakerunner.Runner, name, text string) error {
	path := filepath.Join(r.Root, "externals", name, "bin/node")
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755))
}

// sentBytes counts what has left this pod.
func sentBytes(t *testing.T) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/net/dev")
	must(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, figures, found := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		if fields := strings.Fields(figures); found && name != "lo" {
			var n int64
			_, err := fmt.Sscan(fields[8], &n)
			must(t, err)
			return n
		}
	}
	t.Fatal("the pod has no network")
	return 0
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
