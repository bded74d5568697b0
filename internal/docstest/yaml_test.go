package docstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/createopts"
	"github.com/gantry-ci/gantry/internal/policy"
)

// load reads a text as gantry.yaml.
func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gantry.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Sources{Flag: file})
}

func TestConfigurationExamplesAreValid(t *testing.T) {
	tried := 0
	for _, b := range blocks(t, "yaml") {
		if b.kind != "" && b.kind != "gantry.yaml" {
			continue
		}
		tried++
		if _, err := load(t, b.text); err != nil {
			t.Errorf("%s:%d: %v", b.page, b.line, err)
		}
	}
	t.Logf("%d examples of gantry.yaml", tried)
}

// Examples of workflows are pieces: what gantry reads of them must be right.
func TestWorkflowExamplesAreValid(t *testing.T) {
	for _, b := range blocks(t, "yaml") {
		if b.kind != "workflow" {
			continue
		}
		var piece map[string]yaml.Node
		if err := yaml.Unmarshal([]byte(b.text), &piece); err != nil {
			t.Errorf("%s:%d: %v", b.page, b.line, err)
			continue
		}
		for _, node := range piece {
			checkContainers(t, b, &node)
		}
	}
}

// checkContainers looks for options, volumes and ports below a node.
func checkContainers(t *testing.T, b block, node *yaml.Node) {
	t.Helper()
	for _, child := range node.Content {
		checkContainers(t, b, child)
	}
	if node.Kind != yaml.MappingNode {
		return
	}
	var c struct {
		Options string   `yaml:"options"`
		Volumes []string `yaml:"volumes"`
		Ports   []string `yaml:"ports"`
	}
	if node.Decode(&c) != nil {
		return // a mapping with keys of the same name and other meaning
	}
	if _, err := createopts.Parse(c.Options); err != nil {
		t.Errorf("%s:%d: options: %v", b.page, b.line, err)
	}
	for _, volume := range c.Volumes {
		if _, err := createopts.ParseVolume(volume); err != nil {
			t.Errorf("%s:%d: volumes: %v", b.page, b.line, err)
		}
	}
	for _, port := range c.Ports {
		if _, err := createopts.ParsePort(port); err != nil {
			t.Errorf("%s:%d: ports: %v", b.page, b.line, err)
		}
	}
}

// example is the block of a page that holds a text.
func example(t *testing.T, path, holds string) *config.Config {
	t.Helper()
	for _, b := range blocks(t, "yaml") {
		if b.page == path && strings.Contains(b.text, holds) {
			c, err := load(t, b.text)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
	}
	t.Fatalf("no example with %q in %s", holds, path)
	return nil
}

// The table below the example says what its rules do.
func TestTheTableOfMirrors(t *testing.T) {
	c := example(t, "docs/customise.md", "image_rewrite")
	rows := 0
	for _, p := range pages(t) {
		for line := range strings.Lines(p.text) {
			cells := strings.Split(strings.TrimSpace(line), "`")
			if p.path != "docs/customise.md" || len(cells) != 5 || !strings.Contains(cells[3], "example.com") {
				continue
			}
			rows++
			if got := policy.RewriteImage(c.ImageRewrite, cells[1]); got != cells[3] {
				t.Errorf("%s is pulled as %s, the table says %s", cells[1], got, cells[3])
			}
		}
	}
	if rows == 0 {
		t.Error("no rows found")
	}
}

func TestShortNamesForPodman(t *testing.T) {
	c := example(t, "docs/podman.md", "image_rewrite")
	if got := policy.RewriteImage(c.ImageRewrite, "redis:7"); got != "docker.io/library/redis:7" {
		t.Errorf("redis:7 is pulled as %s", got)
	}
}

// The policy to start from refuses what the page says, and nothing of an ordinary job.
func TestThePolicyToStartFrom(t *testing.T) {
	c := example(t, "docs/security.md", "docker_socket: deny")
	request := func(image, options string, volumes ...string) policy.Request {
		parsed, err := createopts.Parse(options)
		if err != nil {
			t.Fatal(err)
		}
		r := policy.Request{Title: "job container", Image: image, Options: parsed}
		for _, text := range volumes {
			source, target, _ := strings.Cut(text, ":")
			r.Volumes = append(r.Volumes, hook.MountVolume{UserProvidedValue: text, SourceVolumePath: source, TargetVolumePath: target})
		}
		return r
	}
	for name, r := range map[string]policy.Request{
		"an image of somebody else": request("evil/tool:1", ""),
		"more rights":               request("node:22", "--privileged"),
		"the host's processes":      request("node:22", "--pid host"),
		"a folder of the host":      request("node:22", "", "/srv/data:/data"),
		"a folder by a flag":        request("node:22", "--mount type=bind,source=/srv,target=/srv"),
		"the engine's socket":       request("node:22", "", "/var/run/docker.sock:/var/run/docker.sock"),
	} {
		if len(policy.Check(c, r)) == 0 {
			t.Errorf("%s is allowed", name)
		}
	}
	for name, r := range map[string]policy.Request{
		"an image and a named volume": request("node:22", "--shm-size 1g", "cache:/cache"),
		"an image of acme":            request("ghcr.io/acme/build/tool:3", "--network-alias tool"),
	} {
		if found := policy.Check(c, r); len(found) > 0 {
			t.Errorf("%s is refused: %v", name, found)
		}
	}
}
