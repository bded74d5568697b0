package conformance

import (
	"bytes"
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

// There are cases of every kind of promise, and none of them knows of gantry.
func TestCasesCoverTheContract(t *testing.T) {
	all, err := Cases()
	if err != nil {
		t.Fatal(err)
	}
	ofArea, ofLevel := map[string]int{}, map[Level]int{}
	for _, c := range all.Cases {
		ofArea[c.Area]++
		ofLevel[c.Level]++
		text, err := embedded.ReadFile("cases/" + c.ID + ".yaml")
		if err != nil || bytes.Contains(bytes.ToLower(text), []byte("gantry")) {
			t.Errorf("%s speaks of gantry, or cannot be read: %v", c.ID, err)
		}
	}
	for _, area := range areas() {
		if ofArea[area] < 3 {
			t.Errorf("%d cases of the area %s", ofArea[area], area)
		}
	}
	if len(all.Cases) < 150 || len(ofArea) != len(areas()) || len(ofLevel) != len(levels()) {
		t.Errorf("%d cases, of %d areas and %d levels", len(all.Cases), len(ofArea), len(ofLevel))
	}
}

// What a case looks at, or asks for, it must say that it needs.
func TestNeedsAreDeclared(t *testing.T) {
	for what, needs := range map[string]string{
		"processes":       `calls: [{script: x, expect: {processes_gone: x}}]`,
		"published-ports": `calls: [{script: x, expect: {reach: [{port: "1"}]}}]`,
		"builds":          `calls: [{container: {dockerfile: x}}]`,
		"runners":         `calls: [{runner: other, cleanup: true}]`,
		"networks":        `calls: [{script: x, expect: {gone: [network x]}}]`,
		"volumes":         `calls: [{prepare: {}, with: {userMountVolumes: [{sourceVolumePath: null}]}}]`,
		"host-folders":    `calls: [{prepare: {}, with: {userMountVolumes: [{sourceVolumePath: "@{root}/x"}]}}]`,
	} {
		head := "id: a\ntitle: A title\nlevel: must\narea: input\nrests_on: {source: A.cs, says: so}\n"
		if _, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(head + needs)}}); err == nil {
			t.Errorf("%s need not be declared", what)
		}
		if _, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(head + "needs: [" + what + "]\n" + needs)}}); err != nil {
			t.Errorf("%s: %v", what, err)
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
