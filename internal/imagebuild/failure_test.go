package imagebuild

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// The last words of buildah 1.28 and of buildctl 0.26 with its buildkitd, as they printed them.
func TestWhoseProblemItIs(t *testing.T) {
	const building, pushing = 0, 1
	for _, c := range []struct {
		tool    tool
		command int
		status  int
		said    string
		whose   verdict.Whose
		cause   error
		hint    string
	}{
		{buildah(), building, 7, "some output\nsubprocess exited with status 7\nError: building at STEP \"RUN echo some output; exit 7\": exit status 7", verdict.Workflow, nil, "which line"},
		{buildah(), building, 1, "npm ERR! 401 Unauthorized\nError: building at STEP \"RUN npm install\": exit status 1", verdict.Workflow, nil, "which line"},
		{buildah(), building, 137, "subprocess exited on signal 9\nError: building at STEP \"RUN make\": exit status 137", verdict.Infrastructure, nil, "memory"},
		{buildah(), building, 137, "STEP 2/3: RUN make", verdict.Infrastructure, nil, "memory"},
		{buildah(), building, 125, "Error: building at STEP \"RUNN \": Build error: Unknown instruction: \"RUNN\" &imagebuilder.Step{Env:[]string{}}", verdict.Workflow, nil, "which line"},
		{buildah(), building, 125, "Error: no FROM statement found", verdict.Workflow, nil, "which line"},
		{buildah(), building, 125, "Error: building at STEP \"COPY nothere /x\": checking on sources under \"/c\": copier: stat: \"/nothere\": no such file or directory", verdict.Workflow, nil, "which line"},
		{buildah(), building, 125, "Error: creating build container: initializing source docker://127.0.0.1:5/private/nothere:1: reading manifest 1 in 127.0.0.1:5/private/nothere: manifest unknown: manifest unknown", verdict.Workflow, engine.ErrImageNotFound, "base images"},
		{buildah(), building, 125, "Error: creating build container: initializing source docker://127.0.0.1:5/private/busybox:1: reading manifest 1 in 127.0.0.1:5/private/busybox: unauthorized: authentication required", verdict.Workflow, engine.ErrDenied, "kubernetes.build.credentials"},
		{buildah(), building, 125, "Error: creating build container: initializing source docker://r.invalid/x:1: pinging container registry r.invalid: Get \"http://r.invalid/v2/\": dial tcp: lookup r.invalid on 10.0.0.53:53: no such host", verdict.Infrastructure, nil, "network"},
		{buildah(), building, 125, "level=warning msg=\"Failed, retrying in 2s\"\nError: creating build container: initializing source docker://127.0.0.1:9/x:1: pinging container registry 127.0.0.1:9: Get \"http://127.0.0.1:9/v2/\": dial tcp 127.0.0.1:9: connect: connection refused", verdict.Infrastructure, nil, "network"},
		{buildah(), building, 125, "Error: creating build container: pinging container registry 127.0.0.1:5: Get \"https://127.0.0.1:5/v2/\": http: server gave HTTP response to HTTPS client", verdict.Configuration, nil, "registries.conf"},
		{buildah(), building, 1, "error setting supplemental groups list: operation not permittedsubprocess exited with status 1\nError: building at STEP \"RUN id\": exit status 1", verdict.Configuration, nil, "user namespaces"},
		{buildah(), building, 1, "Error during unshare(CLONE_NEWUSER): Operation not permitted\ntime=\"x\" level=error msg=\"(Unable to determine exit status)\"", verdict.Configuration, nil, "user namespaces"},
		{buildah(), building, 1, "time=\"x\" level=error msg=\"finding newgidmap: exec: \\\"newgidmap\\\": executable file not found in $PATH\"\ntime=\"x\" level=error msg=\"(Unable to determine exit status)\"", verdict.Configuration, nil, "uidmap"},
		{buildah(), building, 1, "time=\"x\" level=error msg=\"error determining current user: user: unknown userid 4242\"", verdict.Configuration, nil, "/etc/passwd"},
		{buildah(), building, 1, "dd: error writing '/x': No space left on device\nError: building at STEP \"RUN dd if=/dev/zero of=/x\": exit status 1", verdict.Infrastructure, engine.ErrNoSpace, "ephemeral storage"},
		{buildah(), pushing, 125, "Error: pushing image \"127.0.0.1:5/actions/f:1\" to \"docker://127.0.0.1:5/actions/f:1\": trying to reuse blob sha256:bc at destination: checking whether a blob sha256:bc exists in 127.0.0.1:5/actions/f: unauthorized: authentication required", verdict.Configuration, engine.ErrDenied, "kubernetes.build.credentials"},
		{buildah(), pushing, 125, "Error: pushing image \"x\": trying to reuse blob sha256:5d at destination: pinging container registry 127.0.0.1:5: Get \"https://127.0.0.1:5/v2/\": http: server gave HTTP response to HTTPS client", verdict.Configuration, nil, "kubernetes.build.insecure"},
		{buildah(), pushing, 125, "Error: pushing image \"x\": writing blob: initiating layer upload to /v2/ci/gantry-action/blobs/uploads/ in r: name unknown: The repository does not exist", verdict.Configuration, nil, "make r.example.com/ci/gantry-action"},
		{buildah(), pushing, 125, "Error: pushing image \"x\": something odd", verdict.Infrastructure, nil, "r.example.com"},

		{buildkit(), building, 1, "error: failed to solve: process \"/bin/sh -c echo some output; exit 7\" did not complete successfully: exit code: 7", verdict.Workflow, nil, "which line"},
		{buildkit(), building, 1, "error: failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 137", verdict.Infrastructure, nil, "buildkitd"},
		{buildkit(), building, 1, "error: failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)", verdict.Workflow, nil, "which line"},
		{buildkit(), building, 1, "error: failed to solve: failed to compute cache key: failed to calculate checksum of ref y05z0::f6v: \"/nothere\": not found", verdict.Workflow, nil, "which line"},
		{buildkit(), building, 1, "error: failed to solve: 127.0.0.1:5/private/nothere:1: failed to resolve source metadata for 127.0.0.1:5/private/nothere:1: 127.0.0.1:5/private/nothere:1: not found", verdict.Workflow, engine.ErrImageNotFound, "base images"},
		{buildkit(), building, 1, "error: failed to solve: 127.0.0.1:5/private/busybox:1: failed to resolve source metadata for 127.0.0.1:5/private/busybox:1: unexpected status from HEAD request to http://127.0.0.1:5/v2/private/busybox/manifests/1: 401 Unauthorized", verdict.Workflow, engine.ErrDenied, "kubernetes.build.credentials"},
		{buildkit(), building, 1, "error: failed to solve: alpine:3: failed to resolve source metadata for docker.io/library/alpine:3: failed to do request: Head \"https://registry-1.docker.io/v2/library/alpine/manifests/3\": dial tcp: lookup registry-1.docker.io on 10.0.0.53:53: no such host (did you mean alpine?)", verdict.Infrastructure, nil, "network"},
		{buildkit(), building, 1, "error: listing workers for Build: failed to list workers: Unavailable: connection error: desc = \"transport: Error while dialing: dial tcp 127.0.0.1:9: connect: connection refused\"", verdict.Infrastructure, engine.ErrUnavailable, "kubernetes.build.address"},
		{buildkit(), building, 1, "error: failed to receive status: rpc error: code = Unavailable desc = error reading from server: EOF", verdict.Infrastructure, engine.ErrUnavailable, "buildkitd"},
		{buildkit(), building, 1, "error: failed to solve: ResourceExhausted: failed to add snapshot x to lease: write /var/lib/buildkit/runc-overlayfs/containerdmeta.db: no space left on device", verdict.Infrastructure, engine.ErrNoSpace, "buildctl prune"},
		{buildkit(), building, 1, "error: failed to solve: failed to push r/f:1: unexpected status from HEAD request to http://r/v2/f/blobs/sha256:4d: 401 Unauthorized", verdict.Configuration, engine.ErrDenied, "kubernetes.build.credentials"},
		{buildkit(), building, 1, "error: failed to solve: failed to push r/f:1: failed to do request: Head \"https://r/v2/f/blobs/sha256:70\": dial tcp: lookup r on 10.0.0.53:53: no such host", verdict.Infrastructure, nil, "network"},
	} {
		ref, err := name.NewTag("r.example.com/ci/gantry-action:1")
		if err != nil {
			t.Fatal(err)
		}
		task := buildguard.Task{Commands: [][]string{{"/usr/bin/" + c.tool.program, "one"}, {"/usr/bin/" + c.tool.program, "two"}}}
		err = c.tool.judge(task, outcome{buildguard.Result{Failed: c.command, Status: c.status}, "before\n" + c.said}, image{pushed: ref})
		v := verdict.Of(err)
		if v.Whose != c.whose || c.cause != nil && !errors.Is(err, c.cause) || !strings.Contains(v.Hint, c.hint) || v.Command == "" {
			t.Errorf("%s: %s\nblames %s: %v\nhint: %s\nwant %s, %v, a hint with %q", c.tool.name, c.said, v.Whose, err, v.Hint, c.whose, c.cause, c.hint)
		}
	}
}

func TestAFailedBuildKeepsCommandAndWords(t *testing.T) {
	s := newScene(t)
	s.buildah(`echo compiling; echo 'Error: building at STEP "RUN make": exit status 2' >&2; exit 2`)
	_, err := s.build(t.Context())
	s.blames(err, verdict.Workflow, "RUN make", "buildah", "bud", s.Spec.Dockerfile)
	if !strings.Contains(s.log.String(), "compiling\n") {
		t.Errorf("the log has not what the build said: %s", &s.log)
	}
	s.nothingLeft("")
}

func TestAPushThatIsRefused(t *testing.T) {
	s := newScene(t)
	host, _, _ := strings.Cut(s.Config.Registry, "/")
	s.write("secret/config.json", configJSON(host, account, "wrong"))
	s.program("buildah", `case "$*" in *" push "*) echo "Error: pushing image: unauthorized: authentication required" >&2; exit 125;; esac`)
	_, err := s.build(t.Context())
	s.blames(err, verdict.Configuration, "pushing", host, "kubernetes.build.credentials")
	if !errors.Is(err, engine.ErrDenied) {
		t.Errorf("%v", err)
	}
}

func TestAPushThatDidNotHappenIsNoSuccess(t *testing.T) {
	s := newScene(t)
	s.program("buildah", "exit 0")
	_, err := s.build(t.Context())
	s.blames(err, verdict.Infrastructure, "just pushed")
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		whose  verdict.Whose
		words  []string
	}{
		"no registry":         {func(s *scene) { s.Config.Registry = "" }, verdict.Configuration, []string{"kubernetes.build.registry", "Dockerfile"}},
		"registry of no host": {func(s *scene) { s.Config.Registry = "ci" }, verdict.Configuration, []string{"kubernetes.build.registry", "registry.example.com"}},
		"registry in capitals": {func(s *scene) { s.Config.Registry = "registry.example.com/CI" }, verdict.Configuration,
			[]string{"kubernetes.build.registry"}},
		"registry is away": {func(s *scene) { s.Config.Registry = "127.0.0.1:9/ci" }, verdict.Infrastructure, []string{"127.0.0.1:9"}},
		"nothing to build with": {func(s *scene) { s.Search = []string{s.dir + "/none"}; s.Config.Tool = "buildah"; s.hide() }, verdict.Configuration,
			[]string{"apt-get install buildah", "kubernetes.build.address"}},
		"no buildctl":    {func(s *scene) { s.Config.Address = "tcp://127.0.0.1:1"; s.hide() }, verdict.Configuration, []string{"buildctl", "moby/buildkit"}},
		"no address":     {func(s *scene) { s.Config.Tool = "buildctl" }, verdict.Configuration, []string{"kubernetes.build.address", "BUILDKIT_HOST"}},
		"wrong path":     {func(s *scene) { s.Config.Path = "/nowhere/buildah" }, verdict.Configuration, []string{"kubernetes.build.path", "/nowhere/buildah"}},
		"no credentials": {func(s *scene) { s.Config.Credentials = "/nowhere/config.json" }, verdict.Configuration, []string{"kubernetes.build.credentials"}},
		"no json":        {func(s *scene) { s.write("secret/config.json", "password") }, verdict.Configuration, []string{"kubernetes.build.credentials"}},
		"no guard":       {func(s *scene) { s.Config.Guard = []string{"/nowhere/gantry", "guard"} }, verdict.Bug, nil},
		"broken guard":   {func(s *scene) { s.Config.Guard = []string{"/bin/true"} }, verdict.Bug, nil},
		"no folder":      {func(s *scene) { s.Config.Dir = "/proc/nowhere" }, verdict.Infrastructure, []string{"/proc/nowhere"}},
		"no program": {func(s *scene) { s.program("buildah", ""); s.Config.Path = s.write("text", "no program") }, verdict.Infrastructure,
			[]string{"permission denied"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.buildah("true")
			c.change(s)
			_, err := s.build(t.Context())
			s.blames(err, c.whose, c.words...)
			s.nothingLeft("")
		})
	}
}

// hide leaves nothing to build with: what this machine has does not count.
func (s *scene) hide() { s.alone = true }

func TestAFullDiskIsTold(t *testing.T) {
	task := buildguard.Task{Commands: [][]string{{"/usr/bin/buildah"}}}
	full := &fs.PathError{Op: "mkdir", Path: "/x", Err: errors.New("no space left on device")}
	err := buildah().judge(task, outcome{Result: buildguard.Result{Error: full.Error()}}, image{})
	if v := verdict.Of(err); v.Whose != verdict.Infrastructure || !errors.Is(err, engine.ErrNoSpace) || !strings.Contains(v.Hint, "ephemeral storage") {
		t.Errorf("%v, %+v", err, v)
	}
}

func TestBuildKitIsChosenByItsAddress(t *testing.T) {
	for _, c := range []struct{ tool, address, env, want string }{
		{"", "", "", "buildah"},
		{"", "tcp://x:1", "", "buildctl"},
		{"", "", "BUILDKIT_HOST=tcp://x:1", "buildctl"},
		{"buildah", "tcp://x:1", "", "buildah"},
		{"buildctl", "tcp://x:1", "", "buildctl"},
	} {
		dir := t.TempDir()
		for _, program := range []string{"buildah", "buildctl"} {
			if err := os.WriteFile(filepath.Join(dir, program), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		b := order{Config: Config{Tool: c.tool, Address: c.address, Env: []string{c.env}}, Search: []string{dir}}.builder()
		if chosen, path, err := b.tool(); err != nil || chosen.program != c.want || path != filepath.Join(dir, c.want) {
			t.Errorf("%+v: %s, %s, %v", c, chosen.program, path, err)
		}
	}
}
