package conformance

import (
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		rule, text string
		holds      bool
	}{
		{`"a\n"`, "a\n", true},
		{`"a"`, "a\n", false},
		{`{contains: [b, c]}`, "abc", true},
		{`{contains: [b, d]}`, "abc", false},
		{`{lacks: [d]}`, "abc", true},
		{`{lacks: [b]}`, "abc", false},
		{`{has_lines: [b]}`, "a\nb\nc", true},
		{`{has_lines: [b]}`, "abc", false},
		{`{in_order: [a, b]}`, "a b", true},
		{`{in_order: [b, a]}`, "a b", false},
		{`{matches: "^a.c$"}`, "abc", true},
		{`{matches: "^b"}`, "abc", false},
		{`{ends: c}`, "abc", true},
		{`{ends: b}`, "abc", false},
		{`{times: {a: 2}}`, "aba", true},
		{`{times: {a: 1}}`, "aba", false},
		{`{bytes: 3}`, "abc", true},
		{`{bytes: 4}`, "abc", false},
		{`{sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}`, "abc", true},
		{`{sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}`, "abd", false},
	} {
		var rule Text
		if err := decode([]byte(c.rule), &rule); err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		if got := rule.failures("text", plain(c.text)); (len(got) == 0) != c.holds {
			t.Errorf("%s of %q: %+v", c.rule, c.text, got)
		}
	}
}

func TestValues(t *testing.T) {
	var document any
	if err := json.Unmarshal([]byte(`{"a":{"b":[{"c":"x"},true,null,3]},"e":""}`), &document); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, rule string
		holds      bool
	}{
		{"a.b.0.c", "x", true},
		{"a.b.0.c", "y", false},
		{"a.b.1", "true", true},
		{"a.b.1", `"true"`, false},
		{"a.b.3", "3", true},
		{"a.b.2", "{type: 'null'}", true},
		{"a.b", "{type: array, length: 4}", true},
		{"a.b", "{length: 3}", false},
		{"a.x", "{absent: true}", true},
		{"a.b", "{absent: true}", false},
		{"a.x", "{not_empty: true}", false},
		{"e", "{not_empty: true}", false},
		{"a.b.1", "{not: true}", false},
		{"a.b.9", "{not: true}", true},
		{"a.b", `{text: {contains: ['"c":"x"']}}`, true},
	} {
		var rule Value
		var node yaml.Node
		if err := yaml.Unmarshal([]byte(c.rule), &node); err != nil {
			t.Fatal(err)
		}
		if err := rule.UnmarshalYAML(node.Content[0]); err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		value, there := at(document, c.path)
		if got := rule.failures(c.path, value, there); (len(got) == 0) != c.holds {
			t.Errorf("%s of %s: %+v", c.rule, c.path, got)
		}
	}
}

func TestVariables(t *testing.T) {
	values := func(name string) (string, bool) { return "<" + name + ">", name != "unknown" }
	got, err := expandText("a @{b} ${c} @{d.0}", values)
	if err != nil || got != "a <b> ${c} <d.0>" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := expandText("@{unknown}", values); err == nil {
		t.Error("an unknown name was taken")
	}
}

// Of an output that is too long to keep, size and sum are those of the whole.
func TestCollectorKeepsTheEndsOfALongOutput(t *testing.T) {
	c := newCollector("")
	line := strings.Repeat("x", 1023) + "\n"
	c.Write([]byte("first\n"))
	for range 8 << 10 {
		c.Write([]byte(line))
	}
	c.Write([]byte("last\n"))
	got := c.result()
	if got.Size != 8<<20+11 || !strings.HasPrefix(got.Text, "first\n") || !strings.HasSuffix(got.Text, "last\n") || len(got.Text) > 2*keep {
		t.Errorf("size %d, kept %d", got.Size, len(got.Text))
	}
}

func TestMergeOfRequests(t *testing.T) {
	request := object{"a": "x", "o": object{"k": "v", "l": "w"}, "list": []any{"1"}}
	var with yaml.Node
	if err := yaml.Unmarshal([]byte("{a: null, o: {k: !absent '', m: n}, list: [], new: {x: 1}}"), &with); err != nil {
		t.Fatal(err)
	}
	if err := merge(request, with.Content[0]); err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(request)
	if want := `{"a":null,"list":[],"new":{"x":1},"o":{"l":"w","m":"n"}}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What a hook prints before the text from which on its output counts does not count, wherever the text is torn.
func TestCollectorCountsFromATextOn(t *testing.T) {
	for cut := range 14 {
		c := newCollector("begin\n")
		text := "begi\nbegin\nxyz"
		c.Write([]byte(text[:cut]))
		c.Write([]byte(text[cut:]))
		c.Write([]byte("begin\n"))
		if got := c.result(); got.Text != "xyzbegin\n" || got.Size != 9 || got.SHA256 != plain("xyzbegin\n").SHA256 {
			t.Errorf("torn at %d: %+v", cut, got)
		}
	}
	c := newCollector("begin\n")
	c.Write([]byte("never"))
	if got := c.result(); got.Text != "never" {
		t.Errorf("without the text everything is shown: %+v", got)
	}
}
