package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/report"
)

// sample is the page of a run with everything that a run can have; hostile is in all places that take text.
func sample(t *testing.T, hostile string) string {
	t.Helper()
	c, now := &report.Collector{}, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	emit := func(after time.Duration, e jobevent.Event) {
		now = now.Add(after)
		e.Time = now
		e.Text += hostile
		c.Event(e)
	}
	const second = time.Second
	emit(0, jobevent.Event{Kind: jobevent.RunStarted, Text: "CI"})
	emit(0, jobevent.Event{Kind: jobevent.JobStarted, Job: "build/1", Text: "build (1)"})
	emit(0, jobevent.Event{Kind: jobevent.StepStarted, Job: "build/1", Step: 1, Text: "Initialize containers"})
	emit(2*second, jobevent.Event{Kind: jobevent.Phase, Job: "build/1", Step: 1, Text: "prepare_job", Took: 2 * second})
	emit(0, jobevent.Event{Kind: jobevent.StepEnded, Job: "build/1", Step: 1, Result: jobevent.Success, Took: 2 * second})
	emit(0, jobevent.Event{Kind: jobevent.StepStarted, Job: "build/1", Step: 2, Text: "Run make"})
	emit(0, jobevent.Event{Kind: jobevent.Line, Job: "build/1", Step: 2, Style: "group", Text: "Compiling"})
	emit(0, jobevent.Event{Kind: jobevent.Line, Job: "build/1", Step: 2, Text: "\x1b[32mcc\x1b[0m -o app"})
	emit(0, jobevent.Event{Kind: jobevent.Line, Job: "build/1", Step: 2, Style: "endgroup"})
	emit(0, jobevent.Event{Kind: jobevent.Line, Job: "build/1", Step: 2, Style: "error", Text: "main.c: no"})
	emit(0, jobevent.Event{Kind: jobevent.Annotation, Job: "build/1", Step: 2, Style: "error", Text: "no semicolon",
		Props: map[string]string{"file": "main.c", "line": "7", "title": hostile}})
	emit(0, jobevent.Event{Kind: jobevent.Summary, Job: "build/1", Step: 2, Text: "## Built\n\n- one file"})
	emit(3*second, jobevent.Event{Kind: jobevent.StepEnded, Job: "build/1", Step: 2, Result: jobevent.Failure, Took: 3 * second})
	emit(0, jobevent.Event{Kind: jobevent.StepStarted, Job: "build/1", Step: 3, Text: "Stop containers"})
	emit(0, jobevent.Event{Kind: jobevent.StepEnded, Job: "build/1", Step: 3, Result: jobevent.Success})
	emit(0, jobevent.Event{Kind: jobevent.JobEnded, Job: "build/1", Result: jobevent.Failure, Took: 5 * second,
		Outputs: map[string]string{"version": "1.2" + hostile}})
	emit(0, jobevent.Event{Kind: jobevent.JobStarted, Job: "deploy", Text: "deploy"})
	emit(0, jobevent.Event{Kind: jobevent.JobEnded, Job: "deploy", Result: jobevent.Skipped})
	emit(0, jobevent.Event{Kind: jobevent.RunEnded, Result: jobevent.Failure, Took: 5 * second})
	var out strings.Builder
	if err := c.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPageHasEverything(t *testing.T) {
	page := sample(t, "")
	for _, want := range []string{"build (1)", "deploy", "Initialize containers", "prepare_job", "cc -o app", "main.c:7: no semicolon",
		"## Built", "1.2", "Compiling", `class="badge failure"`, `class="badge skipped"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(page, "\x1b") {
		t.Error("escape sequences of terminals are on the page")
	}
}

// Nothing that a run says becomes a tag, and nothing is fetched.
func TestPageIsSafeAndSelfContained(t *testing.T) {
	page := sample(t, `<script>alert(1)</script><img src=x onerror=alert(1)>"'&`+"\xff\x00")
	if n := strings.Count(page, "<script>"); n != 1 {
		t.Errorf("%d scripts, want the page's own", n)
	}
	for _, bad := range []string{"<img", "http:", "https:", "<link", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is on the page", bad)
		}
	}
}

func TestLongLogsAreCut(t *testing.T) {
	c := &report.Collector{}
	c.Event(jobevent.Event{Kind: jobevent.RunStarted})
	c.Event(jobevent.Event{Kind: jobevent.JobStarted, Job: "a"})
	for range 10_007 {
		c.Event(jobevent.Event{Kind: jobevent.Line, Job: "a", Step: 1, Text: "x"})
	}
	var out strings.Builder
	if err := c.Write(&out); err != nil || !strings.Contains(out.String(), "7 more lines") {
		t.Errorf("%v; the page does not say how many lines are left out", err)
	}
}

// Pulls, starts and waits for health are on the waterfall, as far as the hook tells of them.
func TestWaterfallHasTheHooksPhases(t *testing.T) {
	c, end := &report.Collector{}, time.Date(2026, 1, 2, 3, 4, 7, 0, time.UTC)
	c.Event(jobevent.Event{Time: end.Add(-2 * time.Second), Kind: jobevent.RunStarted})
	c.Event(jobevent.Event{Time: end.Add(-2 * time.Second), Kind: jobevent.JobStarted, Job: "a"})
	c.Event(jobevent.Event{Time: end.Add(-2 * time.Second), Kind: jobevent.StepStarted, Job: "a", Step: 1})
	for _, text := range []string{"      at     took  what", "  0.50 s   1.00 s  pull redis:7", "           2.00 s  in all"} {
		c.Event(jobevent.Event{Time: end, Kind: jobevent.Line, Job: "a", Step: 1, Text: text})
	}
	c.Event(jobevent.Event{Time: end, Kind: jobevent.JobEnded, Job: "a"})
	var out strings.Builder
	if err := c.Write(&out); err != nil {
		t.Fatal(err)
	}
	if page := out.String(); !strings.Contains(page, "pull redis:7") || !strings.Contains(page, "left:25.00%;width:50.00%") {
		t.Errorf("no bar for the pull where it was:\n%s", page)
	}
}
