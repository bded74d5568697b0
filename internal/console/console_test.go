package console_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/console"
	"github.com/gantry-ci/gantry/internal/jobevent"
)

func show(o console.Options, events ...jobevent.Event) string {
	var out strings.Builder
	log := console.New(&out, o)
	for _, e := range events {
		log.Event(e)
	}
	log.Summary()
	return out.String()
}

func run(events ...jobevent.Event) []jobevent.Event {
	all := append([]jobevent.Event{{Kind: jobevent.RunStarted, Text: "ci"}}, events...)
	return append(all, jobevent.Event{Kind: jobevent.RunEnded, Result: jobevent.Failure, Took: 75 * time.Second})
}

func TestOneJobIsShownWithoutPrefix(t *testing.T) {
	got := show(console.Options{}, run(
		jobevent.Event{Kind: jobevent.JobStarted, Job: "test", Text: "Test it"},
		jobevent.Event{Kind: jobevent.StepStarted, Job: "test", Step: 1, Text: "Run make"},
		jobevent.Event{Kind: jobevent.Line, Job: "test", Step: 1, Style: "group", Text: "files"},
		jobevent.Event{Kind: jobevent.Line, Job: "test", Step: 1, Text: "a.c"},
		jobevent.Event{Kind: jobevent.Line, Job: "test", Step: 1, Style: "endgroup"},
		jobevent.Event{Kind: jobevent.Line, Job: "test", Step: 1, Style: "debug", Text: "hidden"},
		jobevent.Event{Kind: jobevent.Line, Job: "test", Step: 1, Style: "error", Text: "bad"},
		jobevent.Event{Kind: jobevent.Annotation, Job: "test", Step: 1, Style: "error", Text: "bad", Props: map[string]string{"file": "a.c", "line": "3"}},
		jobevent.Event{Kind: jobevent.StepEnded, Job: "test", Step: 1, Result: jobevent.Failure, Took: 1500 * time.Millisecond},
		jobevent.Event{Kind: jobevent.JobEnded, Job: "test", Result: jobevent.Failure, Took: 2 * time.Second},
		jobevent.Event{Kind: jobevent.JobStarted, Job: "deploy", Text: "deploy"},
		jobevent.Event{Kind: jobevent.JobEnded, Job: "deploy", Result: jobevent.Skipped},
	)...)
	want := `● Test it
  ▶ Run make
    ▾ files
      a.c
    Error: bad
  ✗ Run make  1.5s
✗ Test it: failure  2.0s
- deploy: skipped

Annotations
  error Test it: a.c:3: bad

   JOB      RESULT   TIME  STEPS FAILED
✗  Test it  failure  2.0s  Run make
-  deploy   skipped

failure in 1m15s
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJobsSideBySideHavePrefixes(t *testing.T) {
	got := show(console.Options{}, run(
		jobevent.Event{Kind: jobevent.JobStarted, Job: "a/1", Text: "a (1)"},
		jobevent.Event{Kind: jobevent.JobStarted, Job: "longer", Text: "longer"},
		jobevent.Event{Kind: jobevent.Line, Job: "a/1", Text: "from a"},
		jobevent.Event{Kind: jobevent.Line, Job: "longer", Text: "from the other"},
	)...)
	for _, want := range []string{"a/1    │   from a\n", "longer │   from the other\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
}

func TestColoursAreOnlyThereWhenAskedFor(t *testing.T) {
	events := run(jobevent.Event{Kind: jobevent.JobStarted, Job: "a", Text: "a"},
		jobevent.Event{Kind: jobevent.Line, Job: "a", Style: "error", Text: "x"})
	if strings.Contains(show(console.Options{}, events...), "\x1b") {
		t.Error("colours without being asked for")
	}
	if !strings.Contains(show(console.Options{Colors: true}, events...), "\x1b[31m") {
		t.Error("no colours")
	}
}

func TestJSONIsOneEventALine(t *testing.T) {
	var out strings.Builder
	sink := console.JSON(&out)
	sink.Event(jobevent.Event{Kind: jobevent.Line, Text: "a\nb <c>"})
	sink.Event(jobevent.Event{Kind: jobevent.RunEnded, Result: jobevent.Success})
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	var e jobevent.Event
	if err := json.Unmarshal([]byte(lines[0]), &e); err != nil || e.Text != "a\nb <c>" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestGroupsThatAreHidden(t *testing.T) {
	events := run(jobevent.Event{Kind: jobevent.JobStarted, Job: "a", Text: "a"},
		jobevent.Event{Kind: jobevent.StepStarted, Job: "a", Step: 1, Text: "s"},
		jobevent.Event{Kind: jobevent.Line, Job: "a", Step: 1, Style: "group", Text: "Run 'hook.sh'"},
		jobevent.Event{Kind: jobevent.Line, Job: "a", Step: 1, Text: "inside"},
		jobevent.Event{Kind: jobevent.Line, Job: "a", Step: 1, Style: "endgroup"},
		jobevent.Event{Kind: jobevent.Line, Job: "a", Step: 1, Text: "outside"})
	got := show(console.Options{Hide: "Run 'hook.sh'"}, events...)
	if strings.Contains(got, "hook.sh") || strings.Contains(got, "inside") || !strings.Contains(got, "outside") {
		t.Errorf("%s", got)
	}
	if got := show(console.Options{Hide: "Run 'hook.sh'", Debug: true}, events...); !strings.Contains(got, "inside") {
		t.Errorf("it is hidden from those who look for mistakes:\n%s", got)
	}
}
