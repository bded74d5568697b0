package testbed

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
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

// Page shows a file in a browser of its own, and gives what the browser prints: with --dump-dom the page as its scripts
// left it, and what scripts complained of. Flags are the browser's.
func Page(t testing.TB, browser, path string, flags ...string) (dom, complaints string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir=" + t.TempDir(), "--window-size=1100,1400", "--enable-logging=stderr", "--virtual-time-budget=2000"}, flags...)
	cmd := exec.CommandContext(ctx, browser, append(args, "file://"+path)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, ":CONSOLE") {
			complaints += line
		}
	}
	return stdout.String(), complaints
}
