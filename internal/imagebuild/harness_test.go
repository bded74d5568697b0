package imagebuild

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	fakeregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/registryauth"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// The test binary is also the guard, a hook that builds, and what fake builders push with.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		roles := map[string]func() error{"guard": beGuard, "hook": beHook, "push": bePush}
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(); err != nil {
				fmt.Fprintln(os.Stderr, "Error:", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func beGuard() error { return buildguard.Run(context.Background(), os.Stdin, os.Stdout, os.Stderr) }

// order is what a hook is told to build.
type order struct {
	Config Config
	Spec   engine.BuildSpec
	Search []string // before the system's directories
	alone  bool     // without these
}

func beHook() error {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	_, err := o.builder().Build(context.Background(), o.Spec, os.Stdout)
	return err
}

func (o order) builder() *Builder {
	b := New(o.Config)
	if len(o.Search) > 0 {
		if b.path = strings.Join(o.Search, ":") + ":" + b.path; o.alone {
			b.path = "/nowhere"
		}
	}
	return b
}

// bePush pushes a small image: push REFERENCE CONFIG.JSON.
func bePush() error {
	ref, err := name.ParseReference(os.Args[2])
	if err != nil {
		return err
	}
	account, err := registryauth.New(os.Args[3], nil).Of(context.Background(), ref.Context().Name())
	if err != nil {
		return err
	}
	return remote.Write(ref, smallImage(), remote.WithAuth(authn.FromConfig(account)))
}

func smallImage() v1.Image {
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: "amd64", OS: "linux", Created: v1.Time{Time: time.Now()},
		Config: v1.Config{Labels: map[string]string{"io.gantry.role": "image"}},
	})
	if err != nil {
		panic(err)
	}
	return image
}

// scene is a builder with a fake program and a fake registry that wants a password.
type scene struct {
	*testing.T
	order
	dir      string
	password string
	base     string // a real image
	log      bytes.Buffer
}

const (
	account = "gantry"
	tag     = "gantry-action:0123456789abcdef0123456789abcdef"
)

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, dir: t.TempDir(), password: rand.Text()}
	server := httptest.NewServer(s.guarded(fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	s.Search = []string{s.dir}
	s.Config = Config{
		Registry: host + "/ci", Credentials: s.write("secret/config.json", configJSON(host, account, s.password)),
		Env:   []string{"HOME=" + s.write("home/.keep", "")[:len(s.dir)+5], "JOBSECRET=" + s.password},
		Dir:   filepath.Join(s.dir, "builds"),
		Guard: []string{testBinary(t), "guard"},
	}
	s.Spec = engine.BuildSpec{
		Tag: tag, Context: filepath.Join(s.dir, "context"), Dockerfile: s.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n"),
		Labels: map[string]string{"io.gantry.role": "image"}, Timeout: time.Minute,
	}
	return s
}

func (s *scene) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != account || password != s.password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func configJSON(host, user, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// write makes a file below the scene's folder and returns its path.
func (s *scene) write(name, text string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
	return path
}

func (s *scene) read(name string) string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.Fatal(err)
	}
	return string(text)
}

// program puts a script in the place of a builder. $dir is the scene's folder, and push REFERENCE CONFIG.JSON pushes an
// image. Calls are written to the file calls, one a line.
func (s *scene) program(name, script string) {
	s.Helper()
	text := fmt.Sprintf("#!/bin/sh\ndir='%s'\npush() { '%s' push \"$@\"; }\necho \"$*\" >>\"$dir/calls\"\n%s\n", s.dir, testBinary(s.T), script)
	if err := os.Chmod(s.write(name, text), 0o755); err != nil {
		s.Fatal(err)
	}
}

// buildah is a builder that works. building is run in the place of the Dockerfile.
func (s *scene) buildah(building string) {
	s.program("buildah", `
case "$*" in
*gantry-probe*) exit 0;;
*" bud "*) `+building+`;;
*" push "*) while [ "$1" != --authfile ]; do shift; done; push "$3" "$2";;
esac`)
}

func (s *scene) build(ctx context.Context) (string, error) {
	s.log.Reset()
	return s.builder().Build(ctx, s.Spec, &s.log)
}

// hook starts a process that builds.
func (s *scene) hook() *exec.Cmd {
	s.Helper()
	text, err := json.Marshal(s.order)
	if err != nil {
		s.Fatal(err)
	}
	cmd := exec.Command(testBinary(s.T), "hook")
	cmd.Stdin = bytes.NewReader(text)
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// soon waits for something that comes by itself.
func (s *scene) soon(what string, is func() bool) {
	s.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			s.Fatalf("%s: not so after 20 s; builds has %v", what, s.left())
		}
	}
}

func (s *scene) exists(name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, name))
	return err == nil
}

// left are the files that builds have left behind.
func (s *scene) left() []string {
	var names []string
	_ = filepath.WalkDir(s.Config.Dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil && path != s.Config.Dir {
			names = append(names, path)
		}
		return nil
	})
	return names
}

// nothingLeft says that no file is left of a build, and no process that has a word in its command line.
func (s *scene) nothingLeft(word string) {
	s.Helper()
	s.soon("nothing is left", func() bool { return len(s.left()) == 0 && len(running(word)) == 0 })
}

// running are the processes with a word in their command line, as "PID words".
func running(word string) []string {
	var found []string
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || word == "" {
		return nil
	}
	for _, file := range lines {
		text, err := os.ReadFile(file)
		if line := strings.ReplaceAll(string(text), "\x00", " "); err == nil && strings.Contains(line, word) {
			found = append(found, file+" "+line)
		}
	}
	return found
}

// sleeper is a command line that nobody else has: sleeping for a long time.
func sleeper() string { return fmt.Sprintf("sleep 9%09d", time.Now().UnixNano()%1e9) }

// blames checks a verdict.
func (s *scene) blames(err error, whose verdict.Whose, words ...string) {
	s.Helper()
	if err == nil {
		s.Fatal("it went well")
	}
	v := verdict.Of(err)
	if v.Whose != whose {
		s.Errorf("%s is to blame: %v (%s), want %s", v.Whose, err, v.Hint, whose)
	}
	text := err.Error() + "\n" + v.Command + "\n" + v.Hint
	for _, word := range words {
		if !strings.Contains(text, word) {
			s.Errorf("nothing of %q in: %s", word, text)
		}
	}
	if s.password != "" && strings.Contains(text+v.Output, s.password) {
		s.Errorf("the password is in: %s\n%s", text, v.Output)
	}
}
