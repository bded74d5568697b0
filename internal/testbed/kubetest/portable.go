package kubetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed"
)

// Portable makes a folder with a program of this machine and all that it links, for pods whose image has neither; see
// RunnerSpec.Copy. The program there is a script, Settle makes it work whoever starts it. only is the part of the testbed that
// installs the program; without it the test is skipped, or failed when CI=true.
func Portable(t testing.TB, name, only string) (dir string) {
	t.Helper()
	program := testbed.Program(t, name, only)
	out, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	copied := map[string]string{program: name + ".real"}
	for line := range strings.Lines(string(out)) {
		if _, rest, ok := strings.Cut(line, "=> /"); ok {
			file := "/" + strings.Fields(rest)[0]
			copied[file] = filepath.Base(file)
		}
	}
	for from, to := range copied {
		copyProgram(t, from, filepath.Join(dir, to))
	}
	script := fmt.Sprintf("#!/bin/sh\nexport LD_LIBRARY_PATH=%s\nexec %s/%s.real \"$@\"\n", dir, dir, name)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Settle puts the libraries of a folder that Portable made where every program of this pod finds them: buildah starts
// itself again with an empty environment.
func Settle(t testing.TB, dir string) {
	t.Helper()
	libraries, err := filepath.Glob(filepath.Join(dir, "lib*.so*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries in %s: %v", dir, err)
	}
	const system = "/usr/lib"
	if err := os.MkdirAll(system, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, library := range libraries {
		if to := filepath.Join(system, filepath.Base(library)); !exists(to) {
			copyProgram(t, library, to)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func copyProgram(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
