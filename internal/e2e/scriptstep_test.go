package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/fakerunner"
	"github.com/gantry-ci/gantry/internal/testbed"
)

// The steps of this test share one job, as those of a workflow do: what one does must not harm the next.
func TestScriptSteps(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Bash)
		for _, promise := range []struct {
			name string
			test func(*testing.T, *fakerunner.Runner)
		}{
			{"get their environment byte for byte", stepEnvironment},
			{"have the entries of prependPath before the container's PATH", stepPath},
			{"get their arguments by the rules of .NET", stepArguments},
			{"read nothing from standard input", stepStdin},
			{"print in the order in which they wrote", stepOrder},
			{"print their bytes as they are", stepBytes},
			{"give the hook their exit status", stepStatuses},
			{"say clearly why they cannot be started", stepStart},
			{"write the runner's files", stepFiles},
			{"leave no zombies", stepZombies}, // before servers that do not care for their own
			{"leave servers for the steps after them, at once", stepBackground},
			{"run 64 at a time", stepsAtOnce},
			{"survive input of 50 MB", stepHugeInput},
			{"too large for the kernel fail clearly", stepTooLarge},
			{"may kill everything that they can", stepKillsAll},
			{"may delete all of RUNNER_TEMP", stepDeletesTemp},
		} {
			t.Run(promise.name, func(t *testing.T) { promise.test(t, r) })
		}
		if out := stdout(t, r, "echo still here"); out != "still here\n" {
			t.Errorf("after all that a step printed %q", out)
		}
	})
}

// environ is the environment of a step, as the kernel tells it.
func environ(t *testing.T, r *fakerunner.Runner, edit func(*hook.ScriptStepArgs)) map[string]string {
	t.Helper()
	res := ok(t, program(t, r, edit, "cat", "/proc/self/environ"))
	env := map[string]string{}
	for entry := range strings.SplitSeq(strings.TrimSuffix(res.Stdout, "\x00"), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

func stepEnvironment(t *testing.T, r *fakerunner.Runner) {
	want := map[string]string{
		"PLAIN": "x", "EMPTY": "", "EQUALS": "a=b==c=", "QUOTES": `'"` + "`", "LINES": "one\ntwo\r\n\nfour\n",
		"DOLLAR": "$HOME ${PATH} $(id) \\$x", "BLANKS": "  \t both ends \t ", "UNICODE": "Grüße, 世界 🚀 \u202e",
		"BACKSLASH": `C:\temp\"\\`, "GLOB": "* ? [a-z] ~ {a,b} ! # & | ; < >", "CONTROL": "\x01\x1b[31m\x7f",
		"LARGE": strings.Repeat("0123456789abcdef", 100<<10/16), "INPUT_WITH-DASH": "d", "INPUT_WITH BLANK": "b", "input.dot": "p",
		"DOCKER_HOST": "tcp://nowhere:1", "LD_PRELOAD": "", "HTTPS_PROXY": "http://proxy:3128", "XDG_RUNTIME_DIR": "/nowhere",
	}
	env := environ(t, r, func(args *hook.ScriptStepArgs) { maps.Copy(args.EnvironmentVariables, want) })
	want["HOME"], want["CI"], want["GITHUB_ACTIONS"] = "/github/home", "true", "true"
	for name, value := range want {
		if got, there := env[name]; got != value || !there {
			t.Errorf("%s is %.80q (there: %v), want %.80q", name, got, there, value)
		}
	}
}

func stepPath(t *testing.T, r *fakerunner.Runner) {
	tools := filepath.Join(r.Workspace, "my tools")
	write(t, filepath.Join(tools, "greet"), "#!/bin/sh\necho greetings from $0\n", 0o755)
	edit := func(args *hook.ScriptStepArgs) {
		args.PrependPath = []string{"/__w/repo/repo/my tools", "/old=er", "/first"}
	}
	const own = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if got, want := environ(t, r, edit)["PATH"], "/__w/repo/repo/my tools:/old=er:/first:"+own; got != want {
		t.Errorf("PATH is %q, want %q", got, want)
	}
	if got := environ(t, r, nil)["PATH"]; got != own {
		t.Errorf("without prependPath PATH is %q, want the container's, %q", got, own)
	}
	if out := ok(t, program(t, r, edit, "greet")).Stdout; out != "greetings from /__w/repo/repo/my tools/greet\n" {
		t.Errorf("a program in prependPath printed %q", out)
	}
}

func stepArguments(t *testing.T, r *fakerunner.Runner) {
	for line, want := range map[string]string{
		`one "two  blanks" three`:  "one|two  blanks|three|",
		`"" it's $HOME 'a b'`:      "|it's|$HOME|'a|b'|",
		`say \"hi\" C:\dir "C:\\"`: `say|"hi"|C:\dir|C:\|`,
		`"quote "" inside" x"y z"`: `quote " inside|xy z|`,
	} {
		res := ok(t, program(t, r, nil, append([]string{"printf", "%s|"}, pieces(line)...)...))
		if res.Stdout != want {
			t.Errorf("%s became %s, want %s", line, res.Stdout, want)
		}
	}
}

func stepStdin(t *testing.T, r *fakerunner.Runner) {
	res := within(t, 10*time.Second, func() *fakerunner.Result {
		return r.RunScript(ctx(t), "cat; read -r line || echo end of file")
	})
	if ok(t, res); res.Stdout != "end of file\n" {
		t.Errorf("it printed %q", res.Stdout)
	}
}

func stepOrder(t *testing.T, r *fakerunner.Runner) {
	out := stdout(t, r, `i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done`)
	lines := strings.Fields(out)
	if len(lines) != 1000 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		if line != strconv.Itoa(i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}

func stepBytes(t *testing.T, r *fakerunner.Runner) {
	for written, want := range map[string]string{
		`a\000b\377\376\n\nend`:       "a\x00b\xff\xfe\n\nend",
		`\303`:                        "\xc3",
		`::set-output name=a::b\r\n`:  "::set-output name=a::b\r\n",
		`\033[31mred\033[0m 100%% \\`: "\x1b[31mred\x1b[0m 100% \\",
	} {
		if got := stdout(t, r, "printf '"+written+"'"); got != want {
			t.Errorf("%s arrived as %q, want %q", written, got, want)
		}
	}
	var all strings.Builder
	for i := range 256 {
		fmt.Fprintf(&all, `\%03o`, i)
	}
	if got := stdout(t, r, "printf '"+all.String()+"'"); len(got) != 256 {
		t.Errorf("of all 256 bytes %d arrived", len(got))
	}
}

func stepStatuses(t *testing.T, r *fakerunner.Runner) {
	ok(t, r.RunScript(ctx(t), "exit 0"))
	for _, status := range []int{1, 2, 42, 125, 126, 127, 128, 255} {
		failsWith(t, r.RunScript(ctx(t), fmt.Sprintf("exit %d", status)), status,
			fmt.Sprintf("gantry: workflow: step exited with status %d\n", status))
	}
	failsWith(t, r.RunScript(ctx(t), "kill -TERM $$"), 143, "gantry: workflow:", "143", "terminated")
	failsWith(t, r.RunScript(ctx(t), "kill -KILL $$"), 137, "gantry: workflow:", "137", "killed")
	failsWith(t, r.RunScript(ctx(t), "kill -SEGV $$"), 139, "gantry: workflow:", "139")
	failsWith(t, r.RunScript(ctx(t), "false; echo not reached"), 1)
}

func stepStart(t *testing.T, r *fakerunner.Runner) {
	failsWith(t, program(t, r, nil, "pwsh", "-command", "x"), 127, "gantry: workflow:", "pwsh", "PATH", "hint:")
	failsWith(t, program(t, r, nil, "/no/such/program"), 127, "gantry: workflow:", "/no/such/program")
	failsWith(t, script(t, r, "echo x", func(args *hook.ScriptStepArgs) { args.WorkingDirectory = "/__w/repo/repo/gone" }), 126,
		"gantry: workflow:", "working directory", "/__w/repo/repo/gone")
	write(t, filepath.Join(r.Workspace, "plain"), "text", 0o644)
	failsWith(t, program(t, r, nil, "./plain"), 126, "gantry: workflow:", "plain", "permission denied")
	write(t, filepath.Join(r.Workspace, "no-interpreter"), "#!/no/such/shell\n", 0o755)
	failsWith(t, program(t, r, nil, "./no-interpreter"), 127, "gantry: workflow:", "no-interpreter")
}

func stepFiles(t *testing.T, r *fakerunner.Runner) {
	variables := []string{"GITHUB_ENV", "GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"}
	text := "set -e\n"
	for _, variable := range variables {
		text += `printf '%s<<EOF\nline\nEOF\n' ` + variable + ` >> "$` + variable + "\"\n"
	}
	ok(t, r.RunScript(ctx(t), text))
	for _, variable := range variables {
		if got, err := r.FileCommand(variable); err != nil || got != variable+"<<EOF\nline\nEOF\n" {
			t.Errorf("%s holds %q, %v", variable, got, err)
		}
	}
}

func stepBackground(t *testing.T, r *fakerunner.Runner) {
	// The server holds both streams. The end of the step is when its last file appears.
	const server = `nc -ll -p $PORT -e /bin/echo alive & sleep 1000 & : > "$PORT"`
	best := time.Hour
	for _, port := range []string{"7001", "7002", "7003"} {
		res := ok(t, script(t, r, server, func(args *hook.ScriptStepArgs) { args.EnvironmentVariables["PORT"] = port }))
		ended := time.Now()
		if res.OutputHeld {
			t.Error("something held the hook's output when it had ended")
		}
		info, err := os.Stat(filepath.Join(r.Workspace, port))
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, ended.Sub(info.ModTime()))
	}
	if best > 500*time.Millisecond {
		t.Errorf("the hook returned %v after the step's own process had ended", best)
	}
	for _, port := range []string{"7001", "7002", "7003"} {
		if out := stdout(t, r, "nc 127.0.0.1 "+port); out != "alive\n" {
			t.Errorf("the next step got %q from the server", out)
		}
	}
}

func stepZombies(t *testing.T, r *fakerunner.Runner) {
	ok(t, r.RunScript(ctx(t), `for i in 1 2 3 4 5 6 7 8; do ( ( usleep 50000 ) & ) & done`))
	const look = `for f in $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null); do
		grep -E '^(Name|Pid|PPid)' $f; grep '^Name' /proc/$(sed -n 's/^PPid:.//p' $f)/status; done 2>/dev/null || true`
	left := ""
	for range 100 {
		if left = stdout(t, r, look); left == "" {
			return
		}
	}
	t.Errorf("zombies: %s", left)
}

func stepsAtOnce(t *testing.T, r *fakerunner.Runner) {
	const steps = 64
	c, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	var wg sync.WaitGroup
	results := make([]*fakerunner.Result, steps)
	for i := range results {
		args, err := r.Script(fmt.Sprintf(`echo step %d; echo %d >> "$GITHUB_OUTPUT"; exit %d`, i, i, i%3))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { results[i] = alone(c, r, hook.RunScriptStep, args) })
	}
	wg.Wait()
	for i, res := range results {
		if res.ExitCode != i%3 || res.Stdout != fmt.Sprintf("step %d\n", i) {
			t.Errorf("step %d: status %d, output %q, %q, %v", i, res.ExitCode, res.Stdout, res.Stderr, res.Err)
		}
	}
}

func stepHugeInput(t *testing.T, r *fakerunner.Runner) {
	args, err := r.Script("echo small")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]any{
		"entryPoint": args.EntryPoint, "entryPointArgs": args.EntryPointArgs, "workingDirectory": args.WorkingDirectory,
		"environmentVariables": args.EnvironmentVariables, "prependPath": nil, "unknown": strings.Repeat("x", 50<<20),
	}
	if res := ok(t, r.Call(ctx(t), hook.RunScriptStep, sent)); res.Stdout != "small\n" {
		t.Errorf("it printed %q", res.Stdout)
	}
}

func stepTooLarge(t *testing.T, r *fakerunner.Runner) {
	for _, size := range []int{200 << 10, 16 << 20} {
		res := script(t, r, "echo", func(args *hook.ScriptStepArgs) { args.EnvironmentVariables["LARGE"] = strings.Repeat("x", size) })
		failsWith(t, res, 126, "gantry: workflow:", "too long", "hint:")
	}
	res := program(t, r, nil, "echo", strings.Repeat("y", 200<<10))
	failsWith(t, res, 126, "gantry: workflow:", "too long", "hint:")
	ok(t, r.RunScript(ctx(t), "true"))
}

func stepKillsAll(t *testing.T, r *fakerunner.Runner) {
	res := within(t, 10*time.Second, func() *fakerunner.Result { return r.RunScript(ctx(t), "kill -KILL -1; sleep 100") })
	if res.ExitCode != 137 {
		t.Errorf("status %d, %v\n%s", res.ExitCode, res.Err, res.Output())
	}
	ok(t, r.RunScript(ctx(t), "true"))
}

func stepDeletesTemp(t *testing.T, r *fakerunner.Runner) {
	for _, text := range []string{
		`rm -rf "$RUNNER_TEMP"/*`,                            // what people write
		`rm -rf "$RUNNER_TEMP"/.[!.]* "$RUNNER_TEMP"/* || :`, // and what is hidden
	} {
		ok(t, r.RunScript(ctx(t), text))
		if left, err := filepath.Glob(filepath.Join(r.Work, "_temp", "[^.]*")); err != nil || len(left) > 0 {
			t.Errorf("there is still %v", left)
		}
		if err := os.MkdirAll(filepath.Join(r.Work, "_temp/_runner_file_commands"), 0o755); err != nil {
			t.Fatal(err)
		}
		if out := stdout(t, r, "echo next"); out != "next\n" {
			t.Errorf("the step after it printed %q", out)
		}
	}
}

func TestAStepRunsInAnImageWithoutAShell(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		r := prepared(t, e, testbed.Scratch)
		res := program(t, r, func(args *hook.ScriptStepArgs) { args.EnvironmentVariables["EXIT"] = "7" },
			append([]string{"/hello"}, pieces(`a "b  c" \"d\"`)...)...)
		if res.Stdout != "a\nb  c\n\"d\"\n" || res.ExitCode != 7 {
			t.Errorf("status %d, stdout %q\n%s", res.ExitCode, res.Stdout, res.Stderr)
		}
		failsWith(t, r.RunScript(ctx(t), "true"), 127, "gantry: workflow:", "the image has no sh")
	})
}

func TestThePathOfTheImageIsKept(t *testing.T) {
	onEngines(t, func(t *testing.T, e *testbed.Engine) {
		const own = "/odd place:/usr/bin/../bin:/eq=uals:/bin"
		r := prepared(t, e, image(t, e, "FROM "+testbed.Busybox+"\nENV PATH=\""+own+"\"\n"))
		got := environ(t, r, func(args *hook.ScriptStepArgs) { args.PrependPath = []string{"/new", "/old"} })["PATH"]
		if got != "/new:/old:"+own {
			t.Errorf("PATH is %q", got)
		}
		if got := environ(t, r, nil)["PATH"]; got != own {
			t.Errorf("PATH is %q", got)
		}
	})
}
