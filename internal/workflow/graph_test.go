package workflow_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/workflow"
)

const diamond = `on: push
jobs:
  last: {needs: [Left, right], runs-on: x, steps: [{run: echo}]}
  first: {runs-on: x, steps: [{run: echo}]}
  left: {needs: first, runs-on: x, steps: [{run: echo}]}
  right: {needs: first, runs-on: x, steps: [{run: echo}]}
  alone: {runs-on: x, steps: [{run: echo}]}
`

func ids(jobs []*workflow.Job) string {
	var all []string
	for _, job := range jobs {
		all = append(all, job.ID)
	}
	return strings.Join(all, " ")
}

func TestOrderPutsNeedsFirst(t *testing.T) {
	var got []string
	for _, level := range loadFine(t, diamond).Order() {
		got = append(got, ids(level))
	}
	if want := []string{"first alone", "left right", "last"}; !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
}

func TestSelectTakesNeedsAlong(t *testing.T) {
	w := loadFine(t, diamond)
	for selected, want := range map[string]string{
		"":            "last first left right alone",
		"LEFT":        "first left",
		"last":        "last first left right",
		"alone right": "first right alone",
	} {
		jobs, err := w.Select(strings.Fields(selected)...)
		if err != nil || ids(jobs) != want {
			t.Errorf("%q selects %q, %v; want %q", selected, ids(jobs), err, want)
		}
	}
	if _, err := w.Select("nope"); err == nil || !strings.Contains(err.Error(), "first, left") {
		t.Errorf("error %v, want the ids that there are", err)
	}
}

// A workflow with a circle can still be listed.
func TestOrderEndsDespiteACircle(t *testing.T) {
	w, _ := load(t, "on: push\njobs:\n  a: {needs: b, runs-on: x, steps: [{run: echo}]}\n  b: {needs: a, runs-on: x, steps: [{run: echo}]}\n")
	if n := len(slices.Concat(w.Order()...)); n != 2 {
		t.Errorf("%d jobs in the order, want 2", n)
	}
}
