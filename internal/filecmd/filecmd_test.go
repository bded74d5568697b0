package filecmd_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/filecmd"
)

func TestPairs(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []filecmd.Pair
	}{
		{"", nil},
		{"a=1\n\nb=2", []filecmd.Pair{{"a", "1"}, {"b", "2"}}},
		{"a=\nb==x=y\n", []filecmd.Pair{{"a", ""}, {"b", "=x=y"}}},
		{"a=b<<c\n", []filecmd.Pair{{"a", "b<<c"}}},
		{"a<<E\none\ntwo\nE\nb=1\n", []filecmd.Pair{{"a", "one\ntwo"}, {"b", "1"}}},
		{"a<<E=F\nx\nE=F\n", []filecmd.Pair{{"a", "x"}}},
		{"a<<E\nE\n", []filecmd.Pair{{"a", ""}}},
		{"a<<E\n\n\nE", []filecmd.Pair{{"a", "\n"}}},
		{"a<<E\n E\nEE\nE\n", []filecmd.Pair{{"a", " E\nEE"}}},
		{"\ufeffa=1\r\n", []filecmd.Pair{{"a", "1\r"}}},
		{" a = 1\n", []filecmd.Pair{{" a ", " 1"}}},
	} {
		got, err := filecmd.Pairs(tc.text)
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", tc.text, err, diff)
		}
	}
}

func TestMistakesAreToldInTheRunnersWords(t *testing.T) {
	for text, want := range map[string]string{
		"word\n":        "Invalid format 'word'",
		"=x\n":          "Invalid format '=x'. Name must not be empty",
		"<<E\n":         "Invalid format '<<E'. Name must not be empty and delimiter must not be empty",
		"a<<\n":         "Invalid format 'a<<'. Name must not be empty and delimiter must not be empty",
		"a<<E\nx\n":     "Invalid value. Matching delimiter not found 'E'",
		"ok=1\na<<E\nx": "Invalid value. Matching delimiter not found 'E'",
	} {
		if _, err := filecmd.Pairs(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := filecmd.Env("node_options=--inspect\n"); err == nil {
		t.Error("NODE_OPTIONS was taken")
	}
}

func TestPaths(t *testing.T) {
	got := filecmd.Paths("/a\n\n/b c\r\n/d")
	if diff := cmp.Diff([]string{"/a", "/b c", "/d"}, got); diff != "" {
		t.Error(diff)
	}
}

// What a step can write with heredocs comes out as it went in.
func FuzzPairs(f *testing.F) {
	f.Add("name", "one\ntwo")
	f.Add("a", "\n\n")
	f.Fuzz(func(t *testing.T, name, value string) {
		if name == "" || strings.ContainsAny(name, "\n=") || strings.Contains(name, "<<") || strings.HasSuffix(name, "<") || strings.HasPrefix(name, "\ufeff") {
			t.Skip()
		}
		delimiter := "EOF_" + strings.Repeat("x", len(value)+1)
		pairs, err := filecmd.Pairs(name + "<<" + delimiter + "\n" + value + "\n" + delimiter + "\n")
		if err != nil || len(pairs) != 1 || pairs[0] != (filecmd.Pair{Name: name, Value: value}) {
			t.Errorf("%q=%q came back as %v, %v", name, value, pairs, err)
		}
	})
}
