package printable_test

import (
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/printable"
)

func TestTextIsOneHarmlessLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"src/größe 日本.go":                   "src/größe 日本.go",
		"two\nlines":                        `"two\nlines"`,
		"\x1b[2Jcleared":                    `"\x1b[2Jcleared"`,
		"no\xffUTF-8":                       `"no\xffUTF-8"`,
		strings.Repeat("x", 301):            strings.Repeat("x", 300) + "…",
		strings.Repeat("x", 299) + "é more": strings.Repeat("x", 299) + "…",
	} {
		if got := printable.Text(text); got != want {
			t.Errorf("%q becomes %s, want %s", text, got, want)
		}
	}
}
