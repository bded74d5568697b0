package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

func TestACommandLineMeansWhatItWasMadeFrom(t *testing.T) {
	for _, c := range []agent.ServeConfig{
		{},
		{Once: true, Dir: "/__w/_temp/.gantry/0/s"},
		{Main: true},
		{Links: []agent.Link{{"/github/home", "/__w/_temp/_github_home"}, {"/a", "/b=c"}},
			Hosts: []agent.Host{{"redis", "127.0.0.1"}, {"db", "::1"}}},
		{Listen: ":4711", TLS: "/certificates", Externals: agent.Externals{Prefix: "/__e", Dir: "/.gantry/e"}},
		{Ulimits: []agent.Ulimit{{"nofile", 1024, 2048}, {"core", 0, -1}}},
	} {
		args := c.Args()
		if got, err := agent.ParseServe(args[1:]); args[0] != "serve" || err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%q means %+v (%v), want %+v", args, got, err, c)
		}
	}
}

func TestACommandLineThatMeansNothingIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--unknown"}, {"--link"}, {"--link", "x"}, {"--link", "relative=/x"}, {"--link", "/=/x"}, {"--link", "/x="},
		{"--host", "name"}, {"--host", "name=here"}, {"--host", "=127.0.0.1"}, {"--host", "a b=127.0.0.1"}, {"more"},
		{"--ulimit", "nofile"}, {"--ulimit", "nofile=1"}, {"--ulimit", "files=1:1"}, {"--ulimit", "core=-2:1"},
	} {
		if c, err := agent.ParseServe(args); err == nil {
			t.Errorf("%q means %+v", args, c)
		}
	}
}

func TestALinkIsMadeWhereNothingOfValueIs(t *testing.T) {
	for name, before := range map[string]func(target, path string) error{
		"nothing":            func(string, string) error { return nil },
		"an empty folder":    func(target, _ string) error { return os.MkdirAll(target, 0o755) },
		"another link":       func(target, _ string) error { return symlink("/elsewhere", target) },
		"the link itself":    func(target, path string) error { return symlink(path, target) },
		"a way to the same":  func(target, path string) error { return symlink(path+"/../"+filepath.Base(path), target) },
		"a link to nowhere":  func(target, path string) error { return symlink(path+"/nowhere", target) },
		"the target missing": func(_, path string) error { return os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, target := filepath.Join(dir, "path"), filepath.Join(dir, "github", "home")
			must(t, errors.Join(os.Mkdir(path, 0o755), before(target, path)))
			c := agent.ServeConfig{Links: []agent.Link{{Target: target, Path: path}}}
			for range 2 {
				if undone := c.Furnish(""); len(undone) > 0 {
					t.Fatalf("not made: %+v", undone)
				}
			}
			must(t, os.MkdirAll(path, 0o755))
			must(t, os.WriteFile(filepath.Join(path, "file"), []byte("x"), 0o600))
			if got := string(read(t, filepath.Join(target, "file"))); got != "x" {
				t.Errorf("the link leads to %q", got)
			}
		})
	}
}

func TestALinkThatCannotBeMadeIsTold(t *testing.T) {
	dir := t.TempDir()
	full, file := filepath.Join(dir, "full"), filepath.Join(dir, "file")
	must(t, os.MkdirAll(filepath.Join(full, "content"), 0o755))
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	for _, target := range []string{full, file, filepath.Join(file, "below")} {
		undone := agent.ServeConfig{Links: []agent.Link{{Target: target, Path: "/__w"}}}.Furnish("")
		if len(undone) != 1 || undone[0].What != agent.UndoneLink || undone[0].Name != target || undone[0].Why == "" {
			t.Errorf("%s: %+v", target, undone)
		}
	}
	must(t, errors.Join(os.Remove(file), os.Remove(filepath.Join(full, "content"))))
}

func TestHostsAreAddedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(file, []byte("127.0.0.1\tlocalhost # db\n::1 web"), 0o644))
	c := agent.ServeConfig{Hosts: []agent.Host{{"db", "127.0.0.1"}, {"web", "::1"}, {"localhost", "127.0.0.1"}}}
	for range 2 {
		if undone := c.Furnish(file); len(undone) > 0 {
			t.Fatalf("not made: %+v", undone)
		}
	}
	if got, want := string(read(t, file)), "127.0.0.1\tlocalhost # db\n::1 web\n127.0.0.1\tdb\n"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	undone := c.Furnish(filepath.Join(file, "no-folder"))
	if len(undone) != 3 || undone[0].What != agent.UndoneHost || undone[0].Name != "db" {
		t.Errorf("%+v", undone)
	}
}

func TestTheAgentTellsWhatItCouldNotMake(t *testing.T) {
	undone := []agent.Undone{{What: agent.UndoneLink, Name: "/github/home", Why: "permission denied"}}
	c, _ := start(t, agent.ServerOptions{Furnish: func() []agent.Undone { return undone }})
	if hello, err := c.Hello(t.Context()); err != nil || !reflect.DeepEqual(hello.Undone, undone) {
		t.Errorf("%+v, %v", hello, err)
	}
}

func TestInstallMakesAProgramThatEverybodyCanRun(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "new", "agent")
	must(t, os.WriteFile(source, []byte("first"), 0o700))
	for _, text := range []string{"first", "second"} {
		must(t, os.WriteFile(source, []byte(text), 0o700))
		must(t, agent.Install(source, target))
		info, err := os.Stat(target)
		if err != nil || info.Mode().Perm() != 0o755 || string(read(t, target)) != text {
			t.Errorf("%v, %v, %q", info.Mode(), err, read(t, target))
		}
	}
	if left, err := os.ReadDir(filepath.Dir(target)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if err := agent.Install(filepath.Join(dir, "none"), target); err == nil || string(read(t, target)) != "second" {
		t.Errorf("a copy of nothing: %v", err)
	}
}

func symlink(path, target string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(target), 0o755), os.Symlink(path, target))
}
