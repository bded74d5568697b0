package conformance

import (
	"testing"
	"testing/fstest"
)

// Every case of the program can be read, and names only what exists.
func TestCases(t *testing.T) {
	all, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, c := range all.Cases {
		used[c.Job] = true
	}
	for name := range all.Jobs {
		if !used[name] {
			t.Errorf("no case uses the job %s", name)
		}
	}
}

const goodCase = `
id: a
title: A title
level: must
area: input
rests_on: {source: A.cs, says: so}
calls:
  - script: "true"
`

// A case that says something wrong is refused, and not half understood.
func TestBadCases(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key":              goodCase + "extra: 1\n",
		"unknown key of a call":    goodCase + "    wit: {a: 1}\n",
		"unknown expectation":      goodCase + "    expect: {exit: 0}\n",
		"unknown key of a text":    goodCase + "    expect: {output: {containz: [a]}}\n",
		"unknown form":             goodCase + "    form: sung\n",
		"unknown signal":           goodCase + "    signals: [{send: FIRE}]\n",
		"unknown need":             goodCase + "needs: [luck]\n",
		"two things in one call":   goodCase + "    cleanup: true\n",
		"prepared without a job":   goodCase + "prepared: {status: 0}\n",
		"unknown job":              goodCase + "job: none\n",
		"another id":               "id: b\n",
		"a call that does nothing": "id: a\ntitle: T\nlevel: must\narea: input\nrests_on: {source: s, says: s}\ncalls: [{env: {A: b}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(text)}}); err == nil {
				t.Error("it was read")
			}
		})
	}
	if _, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(goodCase)}}); err != nil {
		t.Errorf("the good one: %v", err)
	}
}
