package trace_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/redact"
	"github.com/gantry-ci/gantry/internal/trace"
)

func TestATraceIsPrivateAndWithoutSecrets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "traces")
	clean := &redact.Redactor{}
	clean.Learn("known-secret")
	log, closer, err := trace.Open(dir, "prepare_job", time.Now(), clean)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("engine", "command", "docker create -e API_TOKEN=another1 x known-secret", "took", time.Second)
	log.Info("end", "error", errors.New("with known-secret"))
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v %v", names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"known-secret", "another1"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is in\n%s", secret, text)
		}
	}
	if !strings.Contains(string(text), "docker create") || !strings.Contains(string(text), "took=1s") {
		t.Errorf("the command or its time is missing:\n%s", text)
	}
	if info, err := os.Stat(names[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
