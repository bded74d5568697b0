package ocicli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// dead is PID.START of a process that has ended.
func dead(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return "999999999.1"
}

func TestListWaitsForWhatAKilledHookIsMaking(t *testing.T) {
	for _, c := range []struct {
		title string
		hook  string
		waits bool
	}{
		{"of a hook that was killed", dead(t), true},
		{"of a hook that lives", thisHook(), false},
		{"of nobody", "", false},
	} {
		t.Run(c.title, func(t *testing.T) {
			d := scripted(t, `[ "$1" = create ] && read -r _; exit 0`)
			cmd := exec.CommandContext(t.Context(), d.path, "create")
			cmd.Env = append(os.Environ(), hookVariable+"="+c.hook)
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			settled := make(chan struct{})
			go func() {
				d.settle(t.Context())
				close(settled)
			}()
			waited := false
			select {
			case <-settled:
			case <-time.After(400 * time.Millisecond):
				waited = true
			}
			if waited != c.waits {
				t.Errorf("waited: %t", waited)
			}
			_ = stdin.Close() // ends the command
			<-ended
			<-settled
		})
	}
}

func TestPrivateFilesOfKilledHooksAreDeleted(t *testing.T) {
	d := scripted(t, "exit 0")
	file, remove, err := d.writeEnvFile([]string{"HTTP_PROXY=secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	left := filepath.Join(d.tempDir, "gantry-login-"+dead(t)+"-123")
	if err := os.MkdirAll(filepath.Join(left, "contexts"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.settle(t.Context())
	if _, err := os.Stat(left); err == nil {
		t.Error("the login of a hook that is gone is still there")
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file of this hook is gone: %v", err)
	}
}

func TestACommandThatMakesSomethingIsLeftAloneWhenTheTimeIsOver(t *testing.T) {
	d := scripted(t, `sleep 4; touch "$0.made"`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := d.run(ctx, command{args: []string{"create"}, whole: true}); err == nil {
		t.Error("no error")
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(d.path + ".made"); err == nil {
			return
		}
	}
	t.Error("the command was cut off")
}
