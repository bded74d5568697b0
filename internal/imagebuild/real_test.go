package imagebuild

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/testbed"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// eachBuilder runs a test with every real builder, and with a private registry.
func eachBuilder(t *testing.T, test func(*scene)) {
	testbed.Registry(t)
	t.Run("buildah", func(t *testing.T) { test(realScene(t, Config{Tool: "buildah"})) })
	t.Run("buildah-rootless", func(t *testing.T) {
		if !testbed.RunAs(t, testbed.PodmanRootless(t)) {
			test(realScene(t, Config{Tool: "buildah"}))
		}
	})
	t.Run("buildkit", func(t *testing.T) {
		daemon := testbed.BuildKit(t)
		test(realScene(t, Config{Tool: "buildctl", Address: daemon.Address, Path: daemon.Buildctl}))
	})
}

// realScene is a scene with real programs. Its Dockerfile begins with the registry's image.
func realScene(t *testing.T, cfg Config) *scene {
	t.Helper()
	return sceneWith(t, testbed.Registry(t), cfg)
}

func sceneWith(t *testing.T, registry *testbed.RegistryServer, cfg Config) *scene {
	t.Helper()
	s := &scene{T: t, dir: t.TempDir(), password: registry.Password, base: registry.Image}
	s.Config = cfg
	s.Config.Registry, s.Config.Insecure = registry.Addr+"/"+strings.ToLower(rand.Text()), true
	s.Config.Credentials = s.write("secret/config.json", configJSON(registry.Addr, registry.User, registry.Password))
	s.Config.Env = []string{"HOME=" + s.dir}
	s.Config.Dir = filepath.Join(s.dir, "builds")
	s.Config.Guard = []string{testBinary(t), "guard"}
	s.Spec = engine.BuildSpec{
		Tag: tag, Context: filepath.Join(s.dir, "context"), Dockerfile: filepath.Join(s.dir, "context/Dockerfile"),
		Labels: map[string]string{"io.gantry.role": "image", "io.gantry.state": "a b"}, Timeout: 2 * time.Minute,
	}
	s.dockerfile("")
	t.Cleanup(func() {
		s.nothingLeft("")
		if mounts := s.mounts(); len(mounts) > 0 {
			t.Errorf("still mounted: %q", mounts)
		}
	})
	return s
}

// dockerfile writes one: the lines behind FROM the base image.
func (s *scene) dockerfile(lines ...string) {
	s.Helper()
	s.write("context/Dockerfile", strings.Join(append([]string{"FROM " + s.base}, lines...), "\n")+"\n")
}

// mounts are the mount points below the scene's folder.
func (s *scene) mounts() []string {
	s.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[4], s.dir+"/") {
			points = append(points, fields[4])
		}
	}
	return points
}

// pull fetches an image as a node does.
func (s *scene) pull(ref string) (v1.Image, *v1.ConfigFile) {
	s.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		s.Fatal(err)
	}
	image, err := remote.Image(parsed, remote.WithAuth(&authn.Basic{Username: account, Password: s.password}))
	if err != nil {
		s.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		s.Fatal(err)
	}
	return image, config
}

// owners lists the files of an image with their owners: "etc/x 33:44".
func (s *scene) owners(image v1.Image) []string {
	s.Helper()
	files := mutate.Extract(image)
	defer files.Close()
	var all []string
	for reader := tar.NewReader(files); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %d:%d", strings.Trim(header.Name, "./"), header.Uid, header.Gid))
	}
}

func TestRealBuild(t *testing.T) {
	eachBuilder(t, func(s *scene) {
		s.write("context/sub/greeting", "hello\n")
		s.dockerfile("ARG WHO=33", "RUN id -u; mkdir /made && touch /made/file && chown $WHO:44 /made/file", "COPY sub /copied",
			`SHELL ["/bin/sh", "-ec"]`, "RUN cat /copied/greeting | sed s/hello/greetings/", `ENTRYPOINT ["cat", "/copied/greeting"]`)
		ref, err := s.build(s.Context())
		if err != nil {
			s.Fatalf("%v\n%s", err, &s.log)
		}
		if !strings.Contains(s.log.String(), "greetings") {
			s.Errorf("what RUN prints is not in the log:\n%s", &s.log)
		}
		if strings.Contains(s.log.String(), s.password) {
			s.Errorf("the password is in the log:\n%s", &s.log)
		}
		image, config := s.pull(ref)
		if got := config.Config.Entrypoint; !slices.Equal(got, []string{"cat", "/copied/greeting"}) {
			s.Errorf("entry point %q", got)
		}
		if got := config.Config.Labels; got["io.gantry.role"] != "image" || got["io.gantry.state"] != "a b" {
			s.Errorf("labels %q", got)
		}
		files := s.owners(image)
		for _, want := range []string{"made/file 33:44", "copied/greeting 0:0", "bin/busybox 0:0"} {
			if !slices.Contains(files, want) {
				s.Errorf("the image has no %q", want)
			}
		}
		if again, err := s.build(s.Context()); err != nil || again != ref || s.log.Len() > 0 {
			s.Errorf("again: %q (was %q), %v\n%s", again, ref, err, &s.log)
		}
		images, err := s.builder().Images(s.Context())
		if err != nil || len(images) != 1 || images[0].Labels["io.gantry.role"] != "image" || !strings.HasSuffix(ref, images[0].ID) {
			s.Errorf("in the registry: %+v, %v", images, err)
		}
	})
}

func TestRealFailures(t *testing.T) {
	for what, c := range map[string]struct {
		breaks func(*scene)
		whose  verdict.Whose
		cause  error
		words  []string
	}{
		"RUN fails":           {func(s *scene) { s.dockerfile("RUN echo compiling; exit 7") }, verdict.Workflow, nil, []string{"7"}},
		"unknown instruction": {func(s *scene) { s.dockerfile("RUNN true") }, verdict.Workflow, nil, []string{"RUNN"}},
		"nothing to copy":     {func(s *scene) { s.dockerfile("COPY nowhere /x") }, verdict.Workflow, nil, []string{"/nowhere"}},
		"no base image": {func(s *scene) {
			s.write("context/Dockerfile", "FROM "+testbed.Registry(s.T).Addr+"/private/none:1\nRUN true\n")
		}, verdict.Workflow, engine.ErrImageNotFound, []string{"private/none"}},
		"base image denied": {func(s *scene) {
			s.write("secret/config.json", configJSON(testbed.Registry(s.T).Addr, account, "wrong"))
		}, verdict.Workflow, engine.ErrDenied, []string{"private/busybox", "kubernetes.build.credentials"}},
		"push denied": {func(s *scene) {
			s.write("secret/config.json", configJSON(testbed.Registry(s.T).Addr, account, "wrong"))
			s.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
		}, verdict.Configuration, engine.ErrDenied, []string{"pushing", "kubernetes.build.credentials"}},
		"no registry of base": {func(s *scene) { s.write("context/Dockerfile", "FROM 127.0.0.1:9/x:1\n") }, verdict.Infrastructure, nil, []string{"127.0.0.1:9"}},
		"it takes too long":   {func(s *scene) { s.dockerfile("RUN sleep 60"); s.Spec.Timeout = 4 * time.Second }, verdict.Infrastructure, context.DeadlineExceeded, []string{"timeouts.build"}},
	} {
		t.Run(what, func(t *testing.T) {
			eachBuilder(t, func(s *scene) {
				c.breaks(s)
				_, err := s.build(s.Context())
				s.blames(err, c.whose, c.words...)
				if c.cause != nil && !errors.Is(err, c.cause) {
					s.Errorf("%v is not %v\n%s", err, c.cause, &s.log)
				}
			})
		})
	}
}

func TestRealCancel(t *testing.T) {
	eachBuilder(t, func(s *scene) {
		here, apart := sleeper(), sleeper()+".5"
		s.dockerfile("RUN trap '' TERM; (setsid " + apart + " &); " + here)
		ctx, cancel := context.WithCancel(s.Context())
		built := make(chan error, 1)
		go func() {
			_, err := s.build(ctx)
			built <- err
		}()
		s.soon("RUN runs", func() bool { return len(running(here)) > 0 && len(running(apart)) > 0 })
		cancel()
		if err := <-built; !errors.Is(err, context.Canceled) {
			s.Errorf("%v", err)
		}
		s.nothingLeft(here)
		s.nothingLeft(apart)
	})
}

func TestRealDeathOfTheHook(t *testing.T) {
	eachBuilder(t, func(s *scene) {
		here, apart := sleeper(), sleeper()+".5"
		s.dockerfile("RUN (setsid " + apart + " &); " + here)
		hook := s.hook()
		s.soon("RUN runs", func() bool { return len(running(here)) > 0 && len(running(apart)) > 0 })
		if err := hook.Process.Kill(); err != nil {
			s.Fatal(err)
		}
		s.nothingLeft(here)
		s.nothingLeft(apart)
	})
}

func TestRealBackgroundProcessOfRUN(t *testing.T) {
	eachBuilder(t, func(s *scene) {
		word := sleeper()
		s.dockerfile("RUN (setsid " + word + " >/dev/null 2>&1 &); true")
		if _, err := s.build(s.Context()); err != nil {
			s.Fatalf("%v\n%s", err, &s.log)
		}
		s.nothingLeft(word)
	})
}

// Files of other users, and such that nobody may touch, go as well.
func TestRealFilesOfOthers(t *testing.T) {
	eachBuilder(t, func(s *scene) {
		s.dockerfile("RUN mkdir -p /others/deep && touch /others/deep/file && chown -R 1234:1234 /others && chmod 500 /others/deep /others && exit 1")
		_, err := s.build(s.Context())
		s.blames(err, verdict.Workflow)
	})
}

func TestRealFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	testbed.Registry(t)
	s := realScene(t, Config{Tool: "buildah"})
	if err := os.Mkdir(s.Config.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", s.Config.Dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(s.Config.Dir, unix.MNT_DETACH) })
	s.dockerfile("RUN dd if=/dev/zero of=/x bs=1M count=20")
	_, err := s.build(t.Context())
	s.blames(err, verdict.Infrastructure, "ephemeral storage")
	if !errors.Is(err, engine.ErrNoSpace) {
		t.Errorf("%v\n%s", err, &s.log)
	}
	if left := s.left(); len(left) > 0 {
		t.Errorf("on the disk is left %q", left)
	}
}

func TestRealDeletion(t *testing.T) {
	testbed.Registry(t)
	program := testbed.Program(t, "docker-registry", "registry")
	s := realScene(t, Config{Tool: "buildah"})
	if _, err := s.build(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &s.log)
	}
	images, err := s.builder().Images(t.Context())
	if err != nil || len(images) != 1 {
		t.Fatalf("%+v, %v", images, err)
	}
	s.blames(s.builder().RemoveImages(t.Context(), []string{images[0].ID}), verdict.Configuration, "does not delete", "REGISTRY_STORAGE_DELETE_ENABLED")

	// The same with deletion.
	server := s.deletingRegistry(program)
	s.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n") // the registry of the base image is insecure, too
	s.Config.Registry = server + "/ci"
	if _, err := s.build(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &s.log)
	}
	images, err = s.builder().Images(t.Context())
	if err != nil || len(images) != 1 {
		t.Fatalf("%+v, %v", images, err)
	}
	for range 2 {
		if err := s.builder().RemoveImages(t.Context(), []string{images[0].ID}); err != nil {
			t.Error(err)
		}
	}
	if images, err := s.builder().Images(t.Context()); err != nil || len(images) > 0 {
		t.Errorf("afterwards: %+v, %v", images, err)
	}
}

// deletingRegistry runs a registry that deletes, and wants no password.
func (s *scene) deletingRegistry(program string) string {
	s.Helper()
	address := freeAddress(s.T, "127.0.0.1")
	config := s.write("registry.yml", fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
		filepath.Join(s.dir, "registry"), address))
	cmd := exec.Command(program, "serve", config)
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.soon("the registry answers", func() bool {
		repository, err := name.NewRepository(address + "/x")
		if err != nil {
			s.Fatal(err)
		}
		_, err = remote.List(repository)
		return err == nil || strings.Contains(err.Error(), "NAME_UNKNOWN")
	})
	return address
}

// Where buildah may not have what it needs, that is said: here no privileges can be gained, as in pods under the
// "restricted" Pod Security Standard.
func TestRealRestrictedPod(t *testing.T) {
	testbed.Registry(t)
	if testbed.RunAs(t, testbed.PodmanRootless(t)) {
		return
	}
	s := realScene(t, Config{Tool: "buildah"})
	s.dockerfile("RUN id")
	s.Config.Guard = append([]string{"/usr/bin/setpriv", "--no-new-privs"}, s.Config.Guard...)
	_, err := s.build(t.Context())
	s.blames(err, verdict.Configuration, "allowPrivilegeEscalation", "kubernetes.build.address")
}

// A hook may be killed at any moment of a build.
func TestRealDeathAtAnyMoment(t *testing.T) {
	const kills = 5
	eachBuilder(t, func(s *scene) {
		word := sleeper()
		s.dockerfile("RUN (setsid " + word + " >/dev/null 2>&1 &); dd if=/dev/zero of=/x bs=1M count=5")
		whole := time.Duration(0)
		for i := range kills + 1 {
			s.Spec.Tag = fmt.Sprintf("gantry-action:%032d", i)
			began, hook := time.Now(), s.hook()
			if i == 0 { // how long it takes
				if err := hook.Wait(); err != nil {
					s.Fatal(err)
				}
				whole = time.Since(began)
				continue
			}
			time.Sleep(whole * time.Duration(i) / (kills + 1))
			if err := hook.Process.Kill(); err != nil {
				s.Fatal(err)
			}
			s.nothingLeft(word)
		}
	})
}
