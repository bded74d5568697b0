package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is gantry run in a terminal of its own, with one workflow.
type terminal struct {
	*running
	keys *os.File // what is written here is typed; closed, the terminal is gone
	tmp  string
}

func inTerminal(t *testing.T, workflow string) *terminal {
	t.Helper()
	keys, screen := openTerminal(t)
	tmp := t.TempDir()
	r := &running{Cmd: exec.CommandContext(ctx(t), filepath.Join(os.Getenv(envBin), "gantry"), "run", "ci.yml"), status: make(chan int, 1)}
	r.Dir = t.TempDir()
	write(t, filepath.Join(r.Dir, "ci.yml"), workflow, 0o644)
	r.Env = append(os.Environ(), "TMPDIR="+tmp, "TERM=dumb")
	r.Stdin, r.Stdout, r.Stderr = screen, screen, screen
	r.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // the tests may run under nohup, and what is caught here is the default there
	defer signal.Stop(hangups)
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	screen.Close()
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		io.Copy(&r.out, keys) // until nobody has the terminal any more
	}()
	go func() {
		_ = r.Wait()
		<-printed
		r.status <- r.ProcessState.ExitCode()
	}()
	return &terminal{r, keys, tmp}
}

// openTerminal makes a terminal, as a terminal's window does: see pty(7).
func openTerminal(t *testing.T) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	number := 0
	device, err := keys.SyscallConn() // Fd would make it block, so that it could not be closed while it is read
	if err != nil {
		t.Fatal(err)
	}
	var unlocking, naming error
	err = device.Control(func(fd uintptr) {
		unlocking = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		number, naming = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	})
	if err := errors.Join(err, unlocking, naming); err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keys, screen
}

func (term *terminal) ctrlC(t *testing.T) {
	t.Helper()
	if _, err := term.keys.WriteString("\x03"); err != nil {
		t.Error(err)
	}
}

// hostJob has a step that counts its SIGINTs, and steps for the end.
const hostJob = `
on: push
jobs:
  long:
    runs-on: x
    steps:
      - shell: bash
        run: |
          trap 'echo "a signal of its own"' INT
          trap 'echo "it is ended"; exit 1' TERM
          echo "it has begun"
          while :; do sleep 0.05; done
      - run: echo "not any more"
      - if: always()
        run: |
          echo "tidying up"; sleep 1; echo "tidied up"
`

// A Ctrl-C goes to all programs of a terminal. To steps on this machine it must not: the runner ends them in its own way,
// and leaves alone what is for the end of every job, as often as Ctrl-C is pressed.
func TestCtrlCInATerminal(t *testing.T) {
	t.Parallel()
	term := inTerminal(t, hostJob)
	eventually(t, "the step begins", term.out.has("\n    it has begun"))
	term.ctrlC(t)
	eventually(t, "the step for the end begins", term.out.has("\n    tidying up"))
	term.ctrlC(t)
	term.ends(t, 1)
	out := strings.ReplaceAll(term.out.String(), "\r", "")
	contains(t, out, "\n    it is ended\n", "\n    tidied up\n", "still cleaning up", "long: cancelled")
	if n := strings.Count(out, "\n    a signal of its own\n"); n != 1 {
		t.Errorf("%d times SIGINT, want 1:\n%s", n, out)
	}
	term.leftNothing(t)
}

// Jobs with always() go on, or begin, after a cancel. A second one ends them as the first one ends others: with their
// own steps for the end.
func TestASecondCtrlCEndsWhatGoesOn(t *testing.T) {
	t.Parallel()
	const step = "    runs-on: x\n    steps:\n"
	const long = "      - run: echo \"begun $GITHUB_JOB\"; exec sleep 600\n      - {if: always(), run: echo \"ended $GITHUB_JOB\"}\n"
	term := inTerminal(t, "on: push\njobs:\n  plain:\n"+step+long+"  stays:\n    if: always()\n"+step+long+
		"  tidy:\n    needs: plain\n    if: always()\n"+step+long+"  next:\n    needs: plain\n"+step+long)
	eventually(t, "both jobs begin", func() bool { return term.out.has("begun plain\r\n")() && term.out.has("begun stays\r\n")() })
	term.ctrlC(t)
	eventually(t, "the job for the end begins", term.out.has("begun tidy\r\n"))
	term.ctrlC(t)
	term.ends(t, 1)
	contains(t, term.out.String(), "ended plain\r\n", "ended stays\r\n", "ended tidy\r\n", "cancelled in ")
	if strings.Contains(term.out.String(), "begun next\r\n") {
		t.Errorf("a job began that was cancelled:\n%s", &term.out)
	}
	term.leftNothing(t)
}

// A window that is closed cancels the run, too.
func TestTheEndOfATerminal(t *testing.T) {
	t.Parallel()
	tidied := filepath.Join(t.TempDir(), "tidied")
	term := inTerminal(t, strings.Replace(hostJob, `"tidied up"`, `"tidied up" >`+tidied, 1))
	eventually(t, "the step begins", term.out.has("\n    it has begun"))
	if err := term.keys.Close(); err != nil {
		t.Error(err)
	}
	term.ends(t, 1)
	contains(t, read(t, tidied), "tidied up")
	term.leftNothing(t)
}

// A program that asks for a password finds no terminal. It would stop otherwise, and wait for ever.
func TestStepsHaveNoTerminal(t *testing.T) {
	term := inTerminal(t, "on: push\njobs: {a: {runs-on: x, steps: [{run: 'read x </dev/tty || echo \"nobody to ask\"', shell: 'bash {0}'}]}}\n")
	term.ends(t, 0)
	contains(t, term.out.String(), "nobody to ask")
}

// Who stops reading the log cancels the run; nothing is left of it.
func TestALogThatNobodyReads(t *testing.T) {
	t.Parallel()
	dir, tmp := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "ci.yml"), strings.Replace(hostJob, `echo "it has begun"`, "while echo again; do :; done", 1), 0o644)
	cmd := exec.CommandContext(ctx(t), "sh", "-c", `"$0" run ci.yml 2>&1 | head -n 12`, filepath.Join(os.Getenv(envBin), "gantry"))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+tmp)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "again") {
		t.Errorf("%v\n%s", err, out)
	}
	eventually(t, "the run's folder is removed", func() bool { return empty(t, tmp) })
}

func (term *terminal) leftNothing(t *testing.T) {
	t.Helper()
	if !empty(t, term.tmp) {
		t.Error("the run's folder is left")
	}
}

func empty(t *testing.T, dir string) bool {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	return len(entries) == 0
}
