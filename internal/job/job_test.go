package job_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/jobevent"
)

func TestAJobOnTheHostNeverCallsTheHook(t *testing.T) {
	b := newBench(t, `
		on: push
		env: {WHERE: workflow, WHO: workflow}
		jobs:
		  build:
		    runs-on: self-hosted
		    env: {WHERE: job}
		    outputs:
		      answer: ${{ steps.one.outputs.answer }}
		      path: ${{ steps.two.outputs.path }}
		    steps:
		      - id: one
		        run: |
		          echo "answer=42" >> "$GITHUB_OUTPUT"
		          echo "LATER=set" >> "$GITHUB_ENV"
		          echo "/first" >> "$GITHUB_PATH"
		          echo "/second" >> "$GITHUB_PATH"
		      - id: two
		        env: {WHO: step}
		        shell: bash
		        run: |
		          echo "$WHERE $WHO $LATER ${{ env.WHO }}"
		          echo "path=${PATH%%:/usr*}" >> "$GITHUB_OUTPUT"
		      - run: exit 3
		        continue-on-error: true
		      - if: failure()
		        run: echo never
		      - name: the last
		        run: "[ \"$PWD\" = \"$GITHUB_WORKSPACE\" ]"
	`)
	outcome := b.run(jobevent.Success)
	if outcome.Outputs["answer"] != "42" {
		t.Errorf("outputs %v", outcome.Outputs)
	}
	b.has("job step set step", "##[error]Process completed with exit code 3.")
	want := []string{"Run echo \"answer=42\" >> \"$GITHUB_OUTPUT\": success", "Run echo \"$WHERE $WHO $LATER step\": success",
		"Run exit 3: success", "Run echo never: skipped", "the last: success"}
	if diff := cmp.Diff(want, b.results()); diff != "" {
		t.Error(diff)
	}
	if calls := b.commands(); calls != nil {
		t.Errorf("calls: %v", calls)
	}
}

func TestAJobContainerIsPreparedUsedAndCleanedUp(t *testing.T) {
	b := newBench(t, `
		on: push
		jobs:
		  build:
		    runs-on: self-hosted
		    container: alpine:3.20
		    steps:
		      - id: a
		        run: echo "x=1" >> "$GITHUB_OUTPUT"
		      - run: echo "got ${{ steps.a.outputs.x }} in ${{ github.workspace }}"
	`)
	b.run(jobevent.Success)
	b.has("got 1 in /__w/repo/repo")
	want := []string{`prepare_job null`, `run_script_step {"n":1}`, `run_script_step {"n":1}`, `cleanup_job {"n":1}`}
	if diff := cmp.Diff(want, b.commands()); diff != "" {
		t.Error(diff)
	}
}
