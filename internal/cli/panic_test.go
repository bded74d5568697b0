package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/cli"
)

// broken panics when it is read.
type broken struct{}

func (broken) Read([]byte) (int, error) { panic("out of order") }

func TestAProgramThatBreaksOffSaysWhoseProblemItIs(t *testing.T) {
	var stderr bytes.Buffer
	code := cli.Main(t.Context(), &cli.Process{
		Args: []string{"hook"}, Stdin: broken{}, Stdout: &bytes.Buffer{}, Stderr: &stderr, Environ: []string{"HOME=" + t.TempDir()},
	})
	if code == 0 || !strings.HasPrefix(stderr.String(), "gantry: gantry bug: ") || !strings.Contains(stderr.String(), "hint: ") {
		t.Errorf("status %d:\n%s", code, stderr.String())
	}
}
