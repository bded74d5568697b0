package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/agent"
)

func TestProgramsThatLieElsewhereAreFound(t *testing.T) {
	dir := t.TempDir()
	prefix, elsewhere := filepath.Join(dir, "e"), filepath.Join(dir, "elsewhere")
	program := func(path, says string) {
		must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\necho "+says+" $*\n"), 0o755)))
	}
	program(filepath.Join(elsewhere, "node20/bin/node"), "mapped")
	program(filepath.Join(elsewhere, "node24/bin/node"), "mapped")
	program(filepath.Join(prefix, "node24/bin/node"), "mounted")
	program(filepath.Join(dir, "e2/node20/bin/node"), "other")
	c, _ := start(t, agent.ServerOptions{Externals: agent.Externals{Prefix: prefix, Dir: elsewhere}})
	for path, want := range map[string]string{
		prefix + "/node20/bin/node": "mapped a b", prefix + "/../e/node20/bin/node": "mapped a b",
		prefix + "/node24/bin/node": "mounted a b", dir + "/e2/node20/bin/node": "other a b",
		prefix + "/node99/bin/node": "",
	} {
		step := sh("")
		step.Argv = []string{path, "a", "b"}
		out, exit := run(t, c, step)
		if strings.TrimSpace(out) != want || want == "" && (exit.Code != 127 || !strings.Contains(exit.Error, path)) {
			t.Errorf("%s: %q, %+v", path, out, exit)
		}
	}
}
