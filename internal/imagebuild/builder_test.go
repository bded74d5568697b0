package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/verdict"
)

func TestBuildsOnceAndPushes(t *testing.T) {
	s := newScene(t)
	s.buildah("echo building it")
	ref, err := s.build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile("^" + regexp.QuoteMeta(s.Config.Registry) + "/gantry-action@sha256:[0-9a-f]{64}$").MatchString(ref) {
		t.Errorf("pods pull %q", ref)
	}
	for _, words := range []string{"building it", "0123456789abcdef-" + runtime.GOARCH} {
		if !strings.Contains(s.log.String(), words) {
			t.Errorf("nothing of %q in the log:\n%s", words, &s.log)
		}
	}
	s.nothingLeft("")

	if config, err := s.builder().Config(t.Context(), tag); err != nil || config.Config.Labels["io.gantry.role"] != "image" {
		t.Errorf("its configuration: %+v, %v", config, err)
	}
	if _, err := s.builder().Config(t.Context(), "gantry-action:none"); !errors.Is(err, engine.ErrImageNotFound) {
		t.Errorf("of an image that is not there: %v", err)
	}

	s.program("buildah", "exit 1")
	again, err := s.build(t.Context())
	if err != nil || again != ref || s.log.Len() > 0 {
		t.Errorf("the second time: %q, %v, log %q", again, err, &s.log)
	}
}

func TestNodesMayCallTheRegistryByAnotherName(t *testing.T) {
	s := newScene(t)
	s.buildah("true")
	s.Config.PullRegistry = "localhost:30500/ci"
	ref, err := s.build(t.Context())
	if err != nil || !strings.HasPrefix(ref, "localhost:30500/ci/gantry-action@sha256:") {
		t.Errorf("%q, %v", ref, err)
	}
	if ref, err = s.builder().Ref(tag); err != nil || ref != "localhost:30500/ci/gantry-action:0123456789abcdef0123456789abcdef-"+runtime.GOARCH {
		t.Errorf("without asking: %q, %v", ref, err)
	}
	creds, err := s.builder().PullCredentials(t.Context())
	if err != nil || creds == nil || *creds != (engine.Credentials{Username: account, Password: s.password, Server: "localhost:30500"}) {
		t.Errorf("credentials %+v, %v", creds, err)
	}
}

func TestSecretsAreInOnePrivateFileForAsLongAsTheBuild(t *testing.T) {
	for _, tool := range []string{"buildah", "buildctl"} {
		t.Run(tool, func(t *testing.T) {
			s := newScene(t)
			host, _, _ := strings.Cut(s.Config.Registry, "/")
			s.write("secret/config.json", strings.Replace(configJSON(host, account, s.password),
				`{"auths":{`, `{"auths":{"other.example.com":{"auth":"b3RoZXI6c2VjcmV0"},`, 1))
			const look = `
grep -r . /proc/self/environ | tr '\0' '\n' >"$dir/env"
cp "$auth" "$dir/seen.json"; stat -c '%a' "$auth" "${auth%/*}" "${auth%/*/*}" >"$dir/modes"`
			s.program("buildah", `
case "$*" in *gantry-probe*) exit 0;; *" push "*) while [ "$1" != --authfile ]; do shift; done; push "$3" "$2"; exit;; esac
while [ "$1" != --authfile ]; do shift; done; auth=$2`+look)
			s.program("buildctl", `auth=$DOCKER_CONFIG/config.json`+look+`
for last; do :; done; ref=${last#*name=}; push "${ref%%,*}" "$auth"`)
			s.Config.Tool, s.Config.Address = tool, "tcp://127.0.0.1:1"
			if _, err := s.build(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, &s.log)
			}
			for _, file := range []string{"calls", "env"} {
				if text := s.read(file); strings.Contains(text, s.password) || strings.Contains(text, "JOBSECRET") {
					t.Errorf("the secret is in the builder's %s:\n%s", file, text)
				}
			}
			if modes := s.read("modes"); modes != "600\n700\n700\n" {
				t.Errorf("modes of the file with accounts, and the folders above: %q", modes)
			}
			var seen struct{ Auths map[string]any }
			if err := json.Unmarshal([]byte(s.read("seen.json")), &seen); err != nil || len(seen.Auths) != 1 || seen.Auths[host] == nil {
				t.Errorf("the builder knows %v (%v), want %s alone", seen.Auths, err, host)
			}
			s.nothingLeft("")
		})
	}
}

func TestAccountsForBaseImagesAreGivenToo(t *testing.T) {
	s := newScene(t)
	s.write("secret/config.json", strings.Replace(s.read("secret/config.json"), `{"auths":{`,
		`{"auths":{"base.example.com":{"auth":"YmFzZTpzZWNyZXQ="},"https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},"other.example.com":{"auth":"b3RoZXI6c2VjcmV0"},`, 1))
	s.write("context/Dockerfile", "FROM base.example.com/x:1 AS one\nFROM node:22\nCOPY --from=one / /\n")
	s.buildah(`while [ "$1" != --authfile ]; do shift; done; cp "$2" "$dir/seen.json"`)
	if _, err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := s.read("seen.json")
	for host, want := range map[string]bool{"base.example.com": true, "index.docker.io": true, "other.example.com": false} {
		if strings.Contains(seen, host) != want {
			t.Errorf("%s is known: %v, want %v", host, !want, want)
		}
	}
}

func TestCancelEndsAllThatRuns(t *testing.T) {
	s := newScene(t)
	here, apart := sleeper(), sleeper()+".5"
	// A RUN line may start something in a session of its own, and neither listens.
	s.buildah(`trap '' TERM; setsid sh -c "trap '' TERM; ` + apart + `" >/dev/null & touch "$dir/runs"; ` + here)
	ctx, cancel := context.WithCancel(t.Context())
	built := make(chan error, 1)
	go func() {
		_, err := s.build(ctx)
		built <- err
	}()
	s.soon("it builds", func() bool { return s.exists("runs") && len(running(apart)) > 0 })
	cancel()
	cancelled := time.Now()
	if err := <-built; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if took := time.Since(cancelled); took > 7*time.Second {
		t.Errorf("the hook came back after %s; the runner kills it then", took)
	}
	s.nothingLeft(here)
	s.nothingLeft(apart)
}

func TestABuildHasAnEnd(t *testing.T) {
	s := newScene(t)
	word := sleeper()
	s.buildah(word)
	s.Spec.Timeout = time.Second
	_, err := s.build(t.Context())
	s.blames(err, verdict.Infrastructure, "timeouts.build", "1s")
	s.nothingLeft(word)
}

func TestAKilledHookLeavesNothing(t *testing.T) {
	s := newScene(t)
	here, apart := sleeper(), sleeper()+".5"
	s.buildah("setsid " + apart + ` >/dev/null & touch "$dir/runs"; ` + here)
	hook := s.hook()
	s.soon("it builds", func() bool { return s.exists("runs") && len(running(apart)) > 0 && len(s.left()) > 0 })
	if err := hook.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.nothingLeft(here)
	s.nothingLeft(apart)
}

func TestWhatAKilledGuardLeavesGoesWithTheNextBuild(t *testing.T) {
	s := newScene(t)
	word := sleeper()
	s.buildah(`[ -e "$dir/runs" ] || { touch "$dir/runs"; echo $PPID >"$dir/guard"; exec ` + word + `; }`)
	s.hook()
	s.soon("it builds", func() bool { return s.exists("guard") && len(running(word)) > 0 })
	var pid int
	if err := json.Unmarshal([]byte(s.read("guard")), &pid); err != nil {
		t.Fatal(err)
	}
	guard, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Kill(); err != nil {
		t.Fatal(err)
	}
	s.soon("the builder ends", func() bool { return len(running(word)) == 0 })
	if len(s.left()) == 0 {
		t.Error("nothing was left that the next build could remove")
	}
	if _, err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.nothingLeft("")
}

func TestTheNextBuildSparesOnesThatRun(t *testing.T) {
	s := newScene(t)
	word := sleeper()
	s.buildah(`[ -e "$dir/runs" ] || { touch "$dir/runs"; exec ` + word + `; }`)
	hook := s.hook()
	s.soon("it builds", func() bool { return len(running(word)) > 0 })
	before := s.left()
	if _, err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := s.left(); len(after) != len(before) {
		t.Errorf("of\n%v\nis left\n%v", before, after)
	}
	if err := hook.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.nothingLeft(word)
}

func TestBackgroundProcessesOfRUNDoNotOutliveTheBuild(t *testing.T) {
	s := newScene(t)
	word := sleeper()
	s.buildah("setsid " + word + " >/dev/null 2>&1 &")
	if _, err := s.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	if still := running(word); len(still) > 0 {
		t.Errorf("%q", still)
	}
}

func TestStorageIsOverlayWhereThatWorks(t *testing.T) {
	for probe, want := range map[string]string{"true": "--storage-driver overlay bud", "false": "--storage-driver vfs bud"} {
		s := newScene(t)
		s.program("buildah", `case "$*" in *gantry-probe*) `+probe+`;; *" push "*) while [ "$1" != --authfile ]; do shift; done; push "$3" "$2";; esac`)
		if _, err := s.build(t.Context()); err != nil {
			t.Fatal(err)
		}
		if calls := s.read("calls"); !strings.Contains(strings.Join(strings.Split(calls, "\n")[1:], "\n"), want) {
			t.Errorf("probe %s: %s", probe, calls)
		}
	}
}
