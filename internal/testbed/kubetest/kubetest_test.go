package kubetest_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// runIn runs a shell script in the runner's container.
func runIn(t *testing.T, r *kubetest.Runner, script string) (string, error) {
	t.Helper()
	cmd, err := r.Command(t.Context(), kubetest.Program{Args: []string{"sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if stderr.Len() > 0 {
		t.Logf("%s: %s", script, stderr.String())
	}
	return string(out), err
}

func TestARunnersPodIsAsItIsAskedFor(t *testing.T) {
	c := kubetest.Open(t)
	programs := t.TempDir()
	if err := os.WriteFile(filepath.Join(programs, "tool"), []byte("#!/bin/sh\necho tool as $(id -u)\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := c.Runner(t, kubetest.RunnerSpec{UID: 1001, Env: []string{"EXTRA=a b"}, Copy: []string{programs}})
	out, err := runIn(t, r, programs+`/tool; echo "$EXTRA" "$ACTIONS_RUNNER_POD_NAME" "$HOME"; touch /home/runner/_work/made; test -n "$KUBERNETES_SERVICE_HOST"`)
	if want := "tool as 1001\na b " + r.Pod + " /home/runner\n"; out != want || err != nil {
		t.Errorf("printed %q (%v), want %q", out, err, want)
	}
	c.Own(t)
	file, err := r.HostPath(filepath.Join(r.Work, "made"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what the runner has made is not found on this machine: %v", err)
	}
}

func TestACommandCarriesStreamsStatusAndSignals(t *testing.T) {
	c := kubetest.Open(t)
	r := c.Runner(t, kubetest.RunnerSpec{})
	cmd, err := r.Command(t.Context(), kubetest.Program{
		Args: []string{"sh", "-c", `cat; echo "$GREETING" >&2; pwd; exit 7`}, Env: []string{"GREETING=hello"}, Dir: "/tmp",
	})
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader("in\n"), &stderr
	out, err := cmd.Output()
	if string(out) != "in\n/tmp\n" || !strings.HasPrefix(stderr.String(), "hello\n") || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("stdout %q, stderr %q, %v", out, stderr.String(), err)
	}

	c.Own(t)
	sleeping, err := r.Command(t.Context(), kubetest.Program{Args: []string{"sh", "-c", "echo up; exec sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := sleeping.StdoutPipe()
	if err == nil {
		err = sleeping.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := sleeping.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := sleeping.Wait(); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("a killed program gives %v after %v", err, time.Since(begin))
	}
}

func TestEnterIsInThePod(t *testing.T) {
	for name, spec := range map[string]kubetest.RunnerSpec{
		"own volume":   {},
		"shared claim": {Work: kubetest.SharedClaim, UID: 1001},
		"no volume":    {Work: kubetest.NoVolume, UID: 1001},
		"restricted": {UID: 1001, Restricted: true,
			NamespaceLabels: []string{"pod-security.kubernetes.io/enforce=restricted"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if kubetest.InPod(t, spec, "EXTRA=carried") {
				return
			}
			self := kubetest.Self(t)
			host, _ := os.Hostname()
			if host != self.Pod || os.Getenv("ACTIONS_RUNNER_POD_NAME") != self.Pod || os.Getenv("EXTRA") != "carried" {
				t.Errorf("in %s with %q; this is %s", host, os.Environ(), self.Pod)
			}
			if os.Getuid() != int(spec.UID) || !strings.HasPrefix(t.TempDir(), self.Work) {
				t.Errorf("as user %d with temporary files in %s", os.Getuid(), t.TempDir())
			}
			if _, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/token"); err != nil {
				t.Error(err)
			}
			var list = kubetest.Open(t) // the administrator's view is there too
			if text := list.Happened(t.Context(), self.Namespace); !strings.Contains(text, self.Pod) {
				t.Errorf("the cluster does not know this pod: %s", text)
			}
		})
	}
}

// TestEnterCarriesTheVerdict runs the test below, in this test binary, where it fails or is skipped as asked.
func TestEnterCarriesTheVerdict(t *testing.T) {
	kubetest.Open(t)
	for _, c := range []struct{ verdict, mark string }{
		{"fail", "--- FAIL: TestVerdict"}, {"skip", "--- SKIP: TestVerdict"}, {"pass", "--- PASS: TestVerdict"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVerdict$", "-test.v")
		cmd.Env = append(os.Environ(), "GANTRY_TEST_VERDICT="+c.verdict)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (c.verdict == "fail") || !strings.Contains("\n"+string(out), "\n"+c.mark) {
			t.Errorf("the child's %s gives %v and\n%s", c.verdict, err, out)
		}
	}
}

// TestVerdict is only run by the test above.
func TestVerdict(t *testing.T) {
	verdict := os.Getenv("GANTRY_TEST_VERDICT")
	if verdict == "" {
		t.Skip("part of TestEnterCarriesTheVerdict")
	}
	if kubetest.InPod(t, kubetest.RunnerSpec{}, "GANTRY_TEST_VERDICT="+verdict) {
		return
	}
	switch verdict {
	case "fail":
		t.Error("as asked")
	case "skip":
		t.Skip("as asked")
	}
}
