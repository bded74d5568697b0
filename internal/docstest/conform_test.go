package docstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// The table of needs has all of them, in the suite's words.
func TestNeedsOfCases(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for need, says := range conformance.Needs() {
		row := "| " + need + " | " + says + " |"
		switch need {
		case "docker", "podman", "kubernetes":
			row = "| docker, podman, kubernetes | the engine is that one |"
		case "given-registry":
			row = "| given-registry | `--registry` was given |"
		case "private-registry":
			row = "| private-registry | there is a registry with a password: the suite's own, or that of `--registry` |"
		}
		if !strings.Contains(string(page), row+"\n") {
			t.Errorf("docs/conformance.md lacks the row %s", row)
		}
	}
}

// Examples of cases can be read, with the jobs that there are.
func TestExamplesOfCases(t *testing.T) {
	tried := 0
	for _, b := range blocks(t, "yaml") {
		if b.kind != "case" {
			continue
		}
		tried++
		id := regexp.MustCompile(`(?m)^id: (\S+)`).FindStringSubmatch(b.text)
		if id == nil {
			t.Errorf("%s:%d: a case without an id", b.page, b.line)
			continue
		}
		if _, err := conformance.Load(fstest.MapFS{
			id[1] + ".yaml": {Data: []byte(b.text)},
			"jobs.yaml":     {Data: []byte("plain: {title: a job, call: {prepare: {image: busybox}}}")},
		}); err != nil {
			t.Errorf("%s:%d: %v", b.page, b.line, err)
		}
	}
	t.Logf("%d examples of cases", tried)
}
