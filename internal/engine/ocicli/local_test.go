package ocicli

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestTheAddressOfDockerIsFoundAsDockerDoes(t *testing.T) {
	plain, chosen, broken := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{chosen: `{"currentContext": "remote"}`, broken: `{`} {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		env     []string
		address string
		known   bool
		fails   bool
	}{
		{[]string{"DOCKER_CONFIG=" + plain}, "unix:///var/run/docker.sock", true, false},
		{[]string{"DOCKER_CONFIG=" + plain, "DOCKER_CONTEXT=default"}, "unix:///var/run/docker.sock", true, false},
		{[]string{"DOCKER_CONFIG=" + plain, "DOCKER_CONTEXT=remote"}, "", false, false},
		{[]string{"DOCKER_CONFIG=" + chosen}, "", false, false},
		{[]string{"DOCKER_CONFIG=" + chosen, "DOCKER_CONTEXT=default"}, "unix:///var/run/docker.sock", true, false},
		{[]string{"DOCKER_CONFIG=" + chosen, "DOCKER_HOST=tcp://1.2.3.4:5"}, "tcp://1.2.3.4:5", true, false},
		{[]string{"DOCKER_CONFIG=" + broken}, "", false, true},
	} {
		address, known, err := dockerAddress(c.env)
		if address != c.address || known != c.known || (err != nil) != c.fails {
			t.Errorf("%q: %q, %t, %v", c.env, address, known, err)
		}
	}
}

func TestTheAddressOfPodman(t *testing.T) {
	own := "/run/podman/podman.sock"
	if uid := os.Geteuid(); uid != 0 {
		own = fmt.Sprintf("/run/user/%d/podman/podman.sock", uid)
	}
	for _, c := range []struct {
		env     []string
		address string
	}{
		{nil, "unix://" + own},
		{[]string{"CONTAINER_HOST=unix:///x.sock"}, "unix:///x.sock"},
	} {
		if address, known, err := podmanAddress(c.env); address != c.address || !known || err != nil {
			t.Errorf("%q: %q, %t, %v", c.env, address, known, err)
		}
	}
}
