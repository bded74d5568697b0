package tree

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Kernels before 5.6, and filters of system calls, do not know the call that does it at once.
func TestOpeningStepByStepFollowsNoLinkEither(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.WriteFile(filepath.Join(dir, "a/b/f"), nil, 0o600),
		os.Symlink("b", filepath.Join(dir, "a/l")), os.Symlink("f", filepath.Join(dir, "a/b/l")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := syscall.Open(dir, syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(root)
	for path, good := range map[string]bool{
		"a": true, "a/b": true, "a/b/f": true, "a/l/f": false, "a/b/l": false, "a/../a": false, "../x": false, "/etc": false,
		"a/b/f/x": false, "a/none": false, "": false,
	} {
		for name, open := range map[string]func(int, string, int) (int, error){"at once": openBelow, "by steps": openSteps} {
			fd, err := open(root, path, syscall.O_RDONLY)
			if (err == nil) != good {
				// "a/../a" stays below the folder; such paths are refused before.
				if path != "a/../a" || name != "at once" {
					t.Errorf("%s, %s: %v", path, name, err)
				}
			}
			if err == nil {
				syscall.Close(fd)
			}
		}
	}
}
