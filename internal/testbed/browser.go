package testbed

import (
	"os/exec"
	"testing"
)

// Browser is the path of a Chromium. Without one the test is skipped, or failed when CI=true. The testbed's command
// installs it.
func Browser(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no browser here; Debian: apt-get install --no-install-recommends chromium"
	if inCI() {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}
