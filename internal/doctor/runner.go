package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine/kube"
	"github.com/gantry-ci/gantry/internal/install"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func checkRunner(_ context.Context, e *exam) Finding {
	switch {
	case e.Runner == nil:
		return warn(verdict.Configuration, "name its folder: gantry doctor --runner DIR",
			"no runner found by --runner, GANTRY_RUNNER_DIR, RUNNER_TEMP, or above the current directory")
	case !e.Runner.Configured:
		return warn(verdict.Configuration, "run config.sh there", "the runner in %s is not configured yet", e.Runner.Dir)
	}
	state := "not running"
	if p := e.Runner.Listener(); p != nil {
		state = fmt.Sprintf("running as pid %d", p.PID)
	}
	return ok("%s in %s, %s", e.Runner.Name, e.Runner.Dir, state)
}

func checkUser(_ context.Context, e *exam) Finding {
	if e.Runner == nil {
		return skipped("there is no runner")
	}
	uid := e.Runner.UID
	if p := e.Runner.Listener(); p != nil {
		uid = p.UID
	}
	if uid == e.UID {
		return ok("uid %d is the runner's user", uid)
	}
	return warn(verdict.Configuration, fmt.Sprintf("sudo -u '#%d' gantry doctor --runner %s", uid, e.Runner.Dir),
		"this examination runs as uid %d, the runner as uid %d: what it finds about files and the engine may not hold there", e.UID, uid)
}

// hookPath is the hook of the runner; "" for none.
func (e *exam) hookPath() string { return e.getenv(install.HookVariable) }

func checkVariable(_ context.Context, e *exam) Finding {
	next := e.installing()
	if value := e.getenv(install.RequireVariable); strings.Contains(value, "/") {
		return fail(verdict.Configuration, fmt.Sprintf("write %s=true or remove the line; the hook's path belongs into %s", install.RequireVariable, install.HookVariable),
			"%s is %q: it takes true or false (GitHub's page gives a path as its example)", install.RequireVariable, value)
	}
	if other := e.getenv(install.RunnerVariable); e.Runner != nil && other != "" && !sameFile(other, e.Runner.Dir) {
		return fail(verdict.Configuration, next, "%s is %s, another folder than this runner's: was the runner copied? "+
			"Both would take each other's containers for their own leftovers", install.RunnerVariable, other)
	}
	misspelt := e.getenv(install.MisspeltHookVariable)
	switch hook := e.hookPath(); {
	case hook == "" && misspelt != "":
		return fail(verdict.Configuration, next, "%s is set, which no runner knows (GitHub's page misspells it): the name is %s",
			install.MisspeltHookVariable, install.HookVariable)
	case hook == "" && e.Runner == nil:
		return skipped("there is no runner")
	case hook == "":
		return fail(verdict.Configuration, next, "%s is not set: the runner uses no hook", install.HookVariable)
	case strings.Trim(hook, ` "'`) != hook:
		return fail(verdict.Configuration, next, "%s is %q: the runner takes quotes and blanks in the .env file as part of the value", install.HookVariable, hook)
	case misspelt != "":
		return warn(verdict.Configuration, "remove the line", "%s is set beside it: no runner knows that name", install.MisspeltHookVariable)
	default:
		return ok("%s=%s", install.HookVariable, hook)
	}
}

// installing is how the hook comes to the runner.
func (e *exam) installing() string {
	switch {
	case e.meant() == kube.Name:
		return "put gantry's three files into the runner's image, and set " + install.HookVariable + " in the environment of its container"
	case e.Runner != nil:
		return "gantry install --runner " + e.Runner.Dir
	}
	return "gantry install --runner DIR"
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func checkHookFile(_ context.Context, e *exam) Finding {
	hook := e.hookPath()
	next := e.installing()
	if hook == "" {
		return skipped("the hook variable has to be set first")
	}
	if err := install.CheckPath(hook); err != nil {
		return failed(err)
	}
	if !slices.Contains([]string{".js", ".sh", ".ps1"}, filepath.Ext(hook)) {
		return fail(verdict.Configuration, next, "%s: the runner starts only .js, .sh and .ps1 files", hook)
	}
	file, err := os.Open(hook)
	if err != nil {
		return fail(verdict.Configuration, next, "the hook cannot be read: %v", err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return fail(verdict.Configuration, next, "%s is not a regular file", hook)
	}
	if e.Runner == nil {
		return ok("%s can be read", hook)
	}
	if install.Within(hook, e.Runner.Dir) {
		return warn(verdict.Configuration, next,
			"%s lies in the runner's application directory, which its updates replace", hook)
	}
	if doubts := install.Misgivings(filepath.Dir(hook), e.Runner); len(doubts) > 0 {
		return warn(verdict.Configuration, "move it with gantry install --hook-dir, or change owner and mode", "%s", strings.Join(doubts, "\n"))
	}
	return ok("%s can be read by the runner, and replaced by nobody else", hook)
}

// programDir is where the hook's programs lie: beside the runner's hook if that is gantry's, else beside this
// program.
func (e *exam) programDir() string {
	if hook := e.hookPath(); hook != "" && firstFile(filepath.Join(filepath.Dir(hook), "gantry-agent")) != "" {
		return filepath.Dir(hook)
	}
	return e.ProgramDir
}

func checkPrograms(ctx context.Context, e *exam) Finding {
	dir := e.programDir()
	next := e.installing() + ", from one release"
	if hook := e.hookPath(); hook != "" && filepath.Dir(hook) != dir {
		return warn(verdict.Configuration, e.installing(), "%s is another program's hook; the checks below are about %s", hook, dir)
	}
	agent, err := output(ctx, filepath.Join(dir, "gantry-agent"), "version")
	if err != nil {
		return fail(verdict.Configuration, next, "%v", err)
	}
	full, err := output(ctx, filepath.Join(dir, "gantry"), "version")
	if err != nil {
		return fail(verdict.Configuration, next, "%v", err)
	}
	words := strings.Fields(full)
	if len(words) < 2 || words[1] != agent {
		return fail(verdict.Configuration, next, "gantry and gantry-agent in %s are of different versions: %q and %q", dir, full, agent)
	}
	return ok("version %s in %s", agent, dir)
}

// output runs a program that answers at once.
func output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("starting %s: %w %s", path, err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

func checkRestarted(_ context.Context, e *exam) Finding {
	if e.Runner == nil {
		return skipped("there is no runner")
	}
	p := e.Runner.Listener()
	info, err := os.Stat(e.Runner.EnvPath())
	if p == nil || err != nil {
		return skipped("the runner does not run, or has no .env file")
	}
	if info.ModTime().Truncate(time.Second).After(p.Started) {
		return warn(verdict.Configuration, "restart the runner: ./svc.sh stop && ./svc.sh start",
			"the .env file was changed after the runner had been started, and is read at its start only")
	}
	return ok("the runner has read its .env file since it was changed")
}
