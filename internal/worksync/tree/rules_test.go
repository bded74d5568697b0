package tree

import "testing"

func TestTheLastRuleThatMatchesHolds(t *testing.T) {
	book := newRuleBook([]Rule{
		{"_temp/.gantry", None}, {"/_tool", In}, {"node_modules", In}, {"**/*.log", None}, {"*.tmp", None},
		{"a/**/x", Out}, {"a/b?/keep.log", Both}, {"top/*", In}, {"top/out", Out},
	})
	for path, want := range map[string]Flow{
		"plain": Both, "_temp": Both, "_temp/.gantry": None, "_temp/.gantry/s/agent": None, "other/_tool": Both,
		"_tool": In, "_tool/node/20": In, "r/r/node_modules/p/index.js": In, "node_modules": In,
		"x.log": None, "d/e/x.log": None, "d/e/x.tmp": None, "x.tmp": None, "a/x": Out, "a/1/2/x": Out, "a/1/2/y": Both,
		"a/bc/keep.log": Both, "a/b/keep.log": None, "top/a/b": In, "top/out/b": Out, "top": Both, "_tool/x.log": None,
	} {
		if got := book.flowOf(path); got != want {
			t.Errorf("%s flows %s, want %s", path, got, want)
		}
	}
}

func TestRulesThatMeanNothingAreRefused(t *testing.T) {
	for _, r := range []Rule{{"", Both}, {"/", Both}, {"a", ""}, {"a", "up"}, {"a/[", None}, {"../a", None}, {"a//b", None}} {
		if r.Check() == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	for _, r := range []Rule{{"a", Both}, {"/a/", In}, {"**/a[b]/*", Out}, {"a b", None}} {
		if err := r.Check(); err != nil {
			t.Error(err)
		}
	}
}
