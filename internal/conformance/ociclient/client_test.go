package ociclient_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/conformance"
	"github.com/gantry-ci/gantry/internal/conformance/ociclient"
)

// scripted is an engine whose program is a shell script: it has the arguments as $* and a folder of its own as $DIR.
func scripted(t *testing.T, name, script string, environ ...string) (*ociclient.Client, string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nDIR=" + dir + "\necho \"$*\" >>$DIR/calls\ncase \"$*\" in info*) " +
		"[ \"${0##*/}\" = podman ] && echo false || echo '[]' ;; esac\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := ociclient.Find(t.Context(), name, append(environ, "PATH="+dir+":/usr/bin:/bin"), 0)
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

func TestAnEngineThatIsNotThere(t *testing.T) {
	if _, err := ociclient.Find(t.Context(), "podman", []string{"PATH=/nowhere"}, 0); err == nil {
		t.Error("it was found")
	}
}

func TestWhatAnEngineMeets(t *testing.T) {
	c, _ := scripted(t, "docker", "")
	for need, want := range map[string]bool{"docker": true, "podman": false, "rootful": true, "networks": true, "volumes": true} {
		if got := c.Meets(need); got != want {
			t.Errorf("%s: %v", need, got)
		}
	}
	for name, says := range map[string]string{"docker": `echo '["name=rootless"]'`, "podman": "echo true"} {
		if c, _ := scripted(t, name, says); c.Meets("rootful") {
			t.Errorf("%s without root counts as that of root", name)
		}
	}
}

const inspected = `[{"Id":"abc","State":{"Status":"running","Running":true,"Health":{"Status":"healthy"}},
	"Config":{"Image":"web:1","Labels":{"a":"b"},"Env":["A=b"]},"HostConfig":{"Memory":1024},
	"Mounts":[{"Type":"bind","Source":"/src","Destination":"/dst","RW":true},{"Type":"volume","Name":"v1","Source":"/x/v1","Destination":"/v"}],
	"NetworkSettings":{"Networks":{"bridge":{},"own":{}},"Ports":{"8080/tcp":[{"HostIp":"127.0.0.1","HostPort":"1234"}],"81/tcp":null}}}]`

// What both engines say of a container becomes the same facts.
func TestFactsOfAContainer(t *testing.T) {
	c, _ := scripted(t, "docker", "cat <<'END'\n"+inspected+"\nEND")
	facts, err := c.Inspect(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(facts.All, `"Id":"abc"`) {
		t.Errorf("all that it says: %s", facts.All)
	}
	facts.All = ""
	want := &conformance.Facts{
		Running: true, Image: "web:1", Health: "healthy", Labels: map[string]string{"a": "b"}, Env: []string{"A=b"}, Networks: []string{"bridge", "own"},
		Ports: []string{"8080/tcp 127.0.0.1:1234"}, Memory: 1024,
		Mounts: []conformance.Mount{{Source: "/src", Target: "/dst"}, {Volume: "v1", Target: "/v", ReadOnly: true}},
	}
	if diff := cmp.Diff(want, facts); diff != "" {
		t.Error(diff)
	}
}

// Of containers that go while they are looked at, the others are still told; the engine's own networks do not count.
func TestContainersThatGo(t *testing.T) {
	c, _ := scripted(t, "docker", `case "$*" in
ps*) echo abc; echo gone ;;
"container inspect abc gone") echo 'no such container: gone' >&2; exit 1 ;;
"container inspect abc") cat <<'END'
`+inspected+`
END
;;
"container inspect gone") exit 1 ;;
esac`)
	found, err := c.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []*conformance.Container{{
		ID: "abc", Labels: map[string]string{"a": "b"}, Env: []string{"A=b"}, Sources: []string{"/src"}, Volumes: []string{"v1"}, Networks: []string{"own"},
	}}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}

// An engine that cannot be asked is an error, and not one that has nothing.
func TestAnEngineThatFails(t *testing.T) {
	c, _ := scripted(t, "docker", `case "$*" in info*) ;; *) echo no daemon >&2; exit 1 ;; esac`)
	if found, err := c.Containers(t.Context()); err == nil {
		t.Errorf("containers: %v", found)
	}
	if found, err := c.Networks(t.Context()); err == nil {
		t.Errorf("networks: %v", found)
	}
	if _, err := c.Inspect(t.Context(), "abc"); err == nil || !strings.Contains(err.Error(), "no daemon") {
		t.Errorf("inspect: %v", err)
	}
}

func TestNetworksWithLabels(t *testing.T) {
	c, _ := scripted(t, "podman", `case "$*" in network*) printf 'bridge\t\nown\ta=b,c=d\n' ;; esac`)
	found, err := c.Networks(t.Context())
	want := []conformance.Network{{Name: "bridge", Labels: map[string]string{"": ""}}, {Name: "own", Labels: map[string]string{"a": "b", "c": "d"}}}
	if diff := cmp.Diff(want, found); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

// What is gone already was removed; what is still there afterwards was not.
func TestRemove(t *testing.T) {
	c, dir := scripted(t, "docker", `case "$*" in rm*|"network rm"*) exit 1 ;; "container inspect"*) exit 1 ;; "network inspect stays") ;; esac`)
	if err := c.Remove(t.Context(), conformance.Inventory{Containers: []string{"a", "b"}}); err != nil {
		t.Error(err)
	}
	if err := c.Remove(t.Context(), conformance.Inventory{Networks: []string{"stays"}}); err == nil {
		t.Error("a network that stays counts as removed")
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil || !strings.Contains(string(calls), "rm --force --volumes a b\n") {
		t.Errorf("%v\n%s", err, calls)
	}
}

func TestTheStatusOfAProgramInAContainer(t *testing.T) {
	c, _ := scripted(t, "docker", `case "$*" in "exec abc false") exit 7 ;; esac`)
	for program, want := range map[string]int{"true": 0, "false": 7} {
		if got, err := c.Enter(t.Context(), "abc", program); got != want || err != nil {
			t.Errorf("%s: %d, %v", program, got, err)
		}
	}
}

// Podman is told that the suite's registries have no TLS, beside what it was told before. Docker need not be.
func TestRegistriesWithoutTLS(t *testing.T) {
	before := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(before, []byte("# of the machine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	podman, _ := scripted(t, "podman", "", "CONTAINERS_REGISTRIES_CONF="+before)
	added, err := podman.Open(t.TempDir(), []string{"127.0.0.1:5000"})
	if err != nil || len(added) != 1 {
		t.Fatalf("%q, %v", added, err)
	}
	_, file, _ := strings.Cut(added[0], "=")
	text, err := os.ReadFile(file)
	if want := "# of the machine\n\n[[registry]]\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n"; string(text) != want || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	docker, _ := scripted(t, "docker", "")
	if added, err := docker.Open(t.TempDir(), []string{"127.0.0.1:5000"}); added != nil || err != nil {
		t.Errorf("%q, %v", added, err)
	}
}

// Only images of the suite's registries go.
func TestCloseRemovesItsOwnImages(t *testing.T) {
	c, dir := scripted(t, "docker", `case "$*" in images*) echo 127.0.0.1:5000/conform/web:1; echo busybox:1; echo 127.0.0.1:50001/x:1 ;; rmi*) exit 1 ;; esac`)
	if err := c.Close(t.Context(), []string{"127.0.0.1:5000"}); err != nil {
		t.Error(err) // an image that something stands on is no trouble
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil || !strings.HasSuffix(string(calls), "rmi --force 127.0.0.1:5000/conform/web:1\n") {
		t.Errorf("%v\n%s", err, calls)
	}
}
