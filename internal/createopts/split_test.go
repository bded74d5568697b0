package createopts

import (
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/hook"
)

// FuzzSplit: the words and the judgement of quotes are those of the hook package, whose rules are the runner's;
// the places rise, lie within the text, and hold the whole of each word between blanks.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`a "b c" d`, `a\"b \\"c\\" ""`, `"a""b"`, "'a b'\tc", `"open`, "a\nb", `\`, `x" "`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, openQuote := split(text)
		var got []string
		at := 0
		for _, w := range words {
			if w.start < at || w.end <= w.start || w.end > len(text) {
				t.Fatalf("%q: the word %q stands at %d-%d", text, w.text, w.start, w.end)
			}
			if strings.Trim(text[at:w.start], " \t") != "" {
				t.Errorf("%q: %q is in no word", text, text[at:w.start])
			}
			got, at = append(got, w.text), w.end
		}
		if strings.Trim(text[at:], " \t") != "" {
			t.Errorf("%q: %q is in no word", text, text[at:])
		}
		if want := hook.SplitCommandLine(text); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if err := hook.CheckCommandLine(text); (err != nil) != (openQuote >= 0) {
			t.Errorf("%q: open quote at %d, but the hook says %v", text, openQuote, err)
		}
	})
}
