package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/jobevent"
	"github.com/gantry-ci/gantry/internal/schedule"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// world is a run with jobs that are not real: each takes a second, and ends as the test says.
type world struct {
	t   *testing.T
	run *schedule.Run
	// ends says how a job ends, by its key; absent: success without outputs.
	ends map[string]schedule.Outcome
	errs map[string]error

	mu      sync.Mutex
	began   time.Time
	log     []string // "1s test" when a job begins
	now     int      // how many are running
	most    int
	events  []jobevent.Event
	started map[string]schedule.Job
}

func newWorld(t *testing.T, jobs string, others ...string) *world {
	t.Helper()
	fsys := fstest.MapFS{"w.yml": {Data: []byte("on: push\njobs:\n" + jobs)}}
	for i := 0; i < len(others); i += 2 {
		fsys[others[i]] = &fstest.MapFile{Data: []byte(others[i+1])}
	}
	w, findings, err := workflow.Load(fsys, "w.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Severity == workflow.Error {
			t.Fatal(f.Render())
		}
	}
	world := &world{t: t, ends: map[string]schedule.Outcome{}, errs: map[string]error{}, began: time.Now(), started: map[string]schedule.Job{}}
	world.run = &schedule.Run{Workflow: w, Github: expr.NewMap(), Vars: expr.NewMap(), Inputs: expr.NewMap(),
		Start: world.start, Sink: jobevent.Func(world.event)}
	return world
}

func (w *world) event(e jobevent.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *world) start(ctx context.Context, j schedule.Job) (schedule.Outcome, error) {
	w.mu.Lock()
	w.log = append(w.log, fmt.Sprintf("%v %s", time.Since(w.began), j.Key))
	w.started[j.Key] = j
	w.now++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	defer func() { w.mu.Lock(); w.now--; w.mu.Unlock() }()
	select {
	case <-ctx.Done():
		return schedule.Outcome{Result: jobevent.Cancelled}, nil
	case <-time.After(time.Second):
	}
	o, ok := w.ends[j.Key]
	if !ok {
		o.Result = jobevent.Success
	}
	return o, w.errs[j.Key]
}

// play runs the workflow and compares the results of jobs.
func (w *world) play(want string) (jobevent.Result, error) {
	w.t.Helper()
	return w.playIn(w.t.Context(), want)
}

func (w *world) playIn(ctx context.Context, want string) (jobevent.Result, error) {
	w.t.Helper()
	w.began = time.Now()
	result, outcomes, err := w.run.Do(ctx)
	var got []string
	for _, job := range w.run.Workflow.Jobs {
		if o, ok := outcomes[job.ID]; ok {
			got = append(got, job.ID+":"+string(o.Result))
		}
	}
	if text := strings.Join(got, " "); text != want {
		w.t.Errorf("results\n%s, want\n%s", text, want)
	}
	return result, err
}

func (w *world) order(want ...string) {
	w.t.Helper()
	got := slices.Clone(w.log)
	slices.SortStableFunc(got, func(a, b string) int { // by time; within one, goroutines begin in any order
		return strings.Compare(a, b)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("jobs began (-want +got):\n%s", diff)
	}
}

func failing() schedule.Outcome { return schedule.Outcome{Result: jobevent.Failure} }

const step = "\n    runs-on: x\n    steps: [run: 'true']\n"

func TestJobsBeginWhenWhatTheyNeedIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  c:\n    needs: [a, b]"+step+"  a:"+step+"  b:\n    needs: a"+step+"  d:"+step)
		if result, err := w.play("c:success a:success b:success d:success"); result != jobevent.Success || err != nil {
			t.Errorf("%s, %v", result, err)
		}
		w.order("0s a", "0s d", "1s b", "2s c")
	})
}

func TestOneFailureSkipsWhatNeedsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:"+step+"  b:\n    needs: a"+step+"  c:\n    needs: b"+step+
			"  always:\n    needs: b\n    if: always()"+step+
			"  report:\n    needs: b\n    if: failure()"+step+
			"  behind:\n    needs: always"+step)
		w.ends["a"] = failing()
		// behind: a job far before it failed, which a successful one between does not mend
		result, err := w.play("a:failure b:skipped c:skipped always:success report:success behind:skipped")
		if result != jobevent.Failure || err != nil {
			t.Errorf("%s, %v", result, err)
		}
	})
}

func TestConditionsSeeResultsAndOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    outputs: {go: '1'}"+step+
			"  yes:\n    needs: a\n    if: needs.a.outputs.go == 'on' && needs.a.result == 'success'"+step+
			"  no:\n    needs: a\n    if: ${{ needs.a.outputs.go != 'on' }}"+step)
		w.ends["a"] = schedule.Outcome{Result: jobevent.Success, Outputs: map[string]string{"go": "on"}}
		if result, _ := w.play("a:success yes:success no:skipped"); result != jobevent.Success {
			t.Error(result)
		}
		needs, _ := w.started["yes"].Needs.Get("a")
		if outputs, _ := needs.(expr.Object).Get("outputs"); outputs == nil {
			t.Error("the job does not see the outputs of what it needs")
		}
	})
}

func TestMatrixRunsItsCombinations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    name: n ${{ matrix.x }}\n    strategy: {max-parallel: 2, matrix: {x: [1, 2, 3]}}"+step)
		w.play("a:success")
		w.order("0s a/1", "0s a/2", "1s a/3")
		if j := w.started["a/3"]; j.Name != "n 3" || j.Index != 2 || j.Total != 3 || j.MaxParallel != 2 || !j.FailFast {
			t.Errorf("%+v", j)
		}
	})
}

func TestMatrixIsRestricted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    strategy: {matrix: {x: [1, 2], y: [p, q]}}"+step+"  b:"+step)
		w.run.Matrix = map[string]string{"x": "2"}
		w.play("a:success b:success")
		w.order("0s a/3", "0s a/4", "0s b")
		w.run.Matrix = map[string]string{"x": "9"}
		w.play("a:failure b:success")
	})
}

func TestFailFastCancelsTheOthers(t *testing.T) {
	jobs := "  a:\n    strategy: {fail-fast: %t, max-parallel: 1, matrix: {x: [1, 2]}}" + step
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, fmt.Sprintf(jobs, true))
		w.ends["a/1"] = failing()
		w.play("a:failure")
		w.order("0s a/1")
		w = newWorld(t, fmt.Sprintf(jobs, false))
		w.ends["a/1"] = failing()
		w.play("a:failure")
		w.order("0s a/1", "1s a/2")
	})
}

func TestContinueOnErrorCountsAsSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    continue-on-error: ${{ matrix.x == 1 }}\n    strategy: {matrix: {x: [1, 2]}}"+step+
			"  b:\n    needs: a"+step)
		w.ends["a/1"] = failing()
		if result, _ := w.play("a:success b:success"); result != jobevent.Success {
			t.Error(result)
		}
	})
}

func TestMatrixFromAnotherJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:"+step+"  b:\n    needs: a\n    strategy: {matrix: {x: '${{ fromJSON(needs.a.outputs.list) }}'}}"+step)
		w.ends["a"] = schedule.Outcome{Result: jobevent.Success, Outputs: map[string]string{"list": "[5, 6]"}}
		w.play("a:success b:success")
		w.order("0s a", "1s b/1", "1s b/2")
	})
}

func TestAtMostSoManyAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    strategy: {matrix: {x: [1, 2, 3, 4]}}"+step+"  b:"+step)
		w.run.Limit = 2
		w.play("a:success b:success")
		if w.most != 2 {
			t.Errorf("%d ran at the same time", w.most)
		}
	})
}

func TestCancelReachesAllJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:"+step+"  b:"+step+"  c:\n    needs: a\n    if: always()"+step)
		w.run.Limit = 1
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		result, err := w.playIn(ctx, "a:cancelled b:cancelled c:cancelled")
		if result != jobevent.Cancelled || err != nil {
			t.Errorf("%s, %v", result, err)
		}
		w.order("0s a")
	})
}

// cancelled plays a workflow that is cancelled half a second after its start.
func (w *world) cancelled(want string) {
	w.t.Helper()
	cancel := make(chan struct{})
	w.run.Cancel = cancel
	time.AfterFunc(time.Second/2, func() { close(cancel) })
	if result, err := w.play(want); result != jobevent.Cancelled || err != nil {
		w.t.Errorf("%s, %v", result, err)
	}
}

func TestACancelledRunAsksEachJobAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  plain:"+step+
			"  written:\n    if: github.x == ''"+step+
			"  stays:\n    if: always()"+step+
			"  next:\n    needs: plain"+step+
			"  tidy:\n    needs: plain\n    if: always()"+step+
			"  told:\n    needs: plain\n    if: cancelled()"+step+
			"  failed:\n    needs: plain\n    if: failure()"+step+
			"  careful:\n    needs: plain\n    if: ${{ !cancelled() }}"+step)
		w.cancelled("plain:cancelled written:cancelled stays:success next:cancelled tidy:success told:success " +
			"failed:cancelled careful:cancelled")
		w.order("0s plain", "0s stays", "0s written", "500ms tidy", "500ms told")
	})
}

func TestACancelledRunAndMatrices(t *testing.T) {
	const two = "\n    strategy: {matrix: {n: [1, 2]}, max-parallel: 1}"
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  plain:"+two+step+"  stays:\n    if: always()"+two+step)
		w.cancelled("plain:cancelled stays:success")
		w.order("0s plain/1", "0s stays/1", "1s stays/2")
	})
}

func TestACancelledRunAndCalledWorkflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  call:\n    uses: ./called.yml\n  after:\n    needs: call\n    if: always()"+step, "called.yml",
			"on: workflow_call\njobs:\n  plain:"+step+"  tidy:\n    needs: plain\n    if: always()"+step)
		w.cancelled("call:cancelled after:success")
		w.order("0s call/plain", "1.5s after", "500ms call/tidy")
	})
}

func TestErrorsAreMoreThanFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:"+step+"  b:"+step)
		broken := errors.New("no disk")
		w.errs["a"] = broken
		result, err := w.play("a:failure b:success")
		if result != jobevent.Failure || !errors.Is(err, broken) {
			t.Errorf("%s, %v", result, err)
		}
	})
}

func TestMistakesOfTheFileSayWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    strategy: {matrix: {x: '${{ fromJSON(vars.none) }}'}}"+step)
		w.play("a:failure")
		said := slices.ContainsFunc(w.events, func(e jobevent.Event) bool {
			return e.Kind == jobevent.Annotation && strings.HasPrefix(e.Text, "w.yml:4:")
		})
		if !said {
			t.Errorf("no event says where: %+v", w.events)
		}
	})
}

const calledFile = `
on:
  workflow_call:
    inputs: {n: {type: number, default: 7}}
    secrets: {key: {required: true}}
    outputs: {url: {value: '${{ jobs.up.outputs.url }}/${{ inputs.n }}'}}
jobs:
  up:
    outputs: {url: x}
    runs-on: x
    steps: [run: 'true']
  down:
    needs: up
    runs-on: x
    steps: [run: 'true']
`

func TestCalledWorkflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    strategy: {matrix: {x: [1, 2]}}\n    uses: ./c.yml\n    with: {n: '${{ matrix.x }}'}\n"+
			"    secrets: {key: '${{ secrets.own }}'}\n  b:\n    needs: a"+step, "c.yml", calledFile)
		w.run.Secrets = map[string]string{"own": "s3cret", "other": "x"}
		w.ends["a/1/up"] = schedule.Outcome{Result: jobevent.Success, Outputs: map[string]string{"url": "one"}}
		w.ends["a/2/up"] = schedule.Outcome{Result: jobevent.Success, Outputs: map[string]string{"url": "two"}}
		w.run.Limit = 1
		w.play("a:success b:success")
		w.order("0s a/1/up", "1s a/1/down", "2s a/2/up", "3s a/2/down", "4s b")
		up := w.started["a/1/up"]
		if diff := cmp.Diff(map[string]string{"key": "s3cret"}, up.Secrets); diff != "" || up.Name != "a (1) / up" {
			t.Errorf("%q has secrets (-want +got):\n%s", up.Name, diff)
		}
		if n, _ := up.Inputs.Get("n"); n != 1.0 {
			t.Errorf("input n is %v", n)
		}
		a, _ := w.started["b"].Needs.Get("a")
		outputs, _ := a.(expr.Object).Get("outputs")
		if url, _ := outputs.(expr.Object).Get("url"); url != "two/2" {
			t.Errorf("the output is %v", url)
		}
	})
}

func TestAFailedCalledWorkflowIsAFailedJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "  a:\n    uses: ./c.yml\n    secrets: inherit\n  b:\n    needs: a"+step, "c.yml", calledFile)
		w.run.Secrets = map[string]string{"key": "k"}
		w.ends["a/up"] = failing()
		if result, _ := w.play("a:failure b:skipped"); result != jobevent.Failure {
			t.Error(result)
		}
	})
}
