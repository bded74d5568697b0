package figures_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gantry-ci/gantry/internal/conformance/figures"
)

const report = `{"seconds": 61.4, "results": [
	{"id": "a", "level": "must", "outcome": "pass"},
	{"id": "b", "level": "must", "outcome": "fail"},
	{"id": "c", "level": "should", "outcome": "skipped", "note": "it needs volumes, builds"},
	{"id": "d", "level": "may", "outcome": "fail"},
	{"id": "e", "level": "may", "outcome": "skipped", "note": "it needs builds"}]}`

func TestARowHasWhatWasTried(t *testing.T) {
	r, err := figures.Read([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Row("docker"), "| docker | 1 of 2 | 0 of 0 | 0 of 1 | 2: builds, volumes | 61 s |\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if bad := r.Bad(); len(bad) != 1 || bad[0].ID != "b" {
		t.Errorf("%+v are bad; what may fail and what was not tried are not", bad)
	}
	if _, err := figures.Read([]byte(`{"results": []}`)); err == nil {
		t.Error("a report without results was read")
	}
}

func TestATableIsReplaced(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := figures.Write(page, "x", []string{"| $1 |\n"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	const want = "before\n<!-- x -->\n| engine | must | should | may | skipped, and what they need | took |\n|---|---|---|---|---|---|\n| $1 |\n<!-- /x -->\nafter\n"
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	if err := figures.Write(page, "y", nil); err == nil {
		t.Error("a table without a place was written")
	}
}
