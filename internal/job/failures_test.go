package job_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job"
)

var update = flag.Bool("update", false, "write the golden logs anew")

// Each file is a job in which something goes wrong, what the hook does in it, and the whole log of it.
func TestLogsOfFailures(t *testing.T) {
	files, err := filepath.Glob("testdata/failures/*.txtar")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := &a.Files[len(a.Files)-1]
			got := failureLog(t, a.Files)
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// failureLog runs the job, and gives its log without what differs from run to run.
func failureLog(t *testing.T, files []txtar.File) string {
	t.Helper()
	b := newBench(t, string(files[0].Data))
	source := map[string]string{}
	for _, f := range files[1:] {
		if name, ok := strings.CutPrefix(f.Name, "source/"); ok {
			source[name] = string(f.Data)
		}
		if command, ok := strings.CutPrefix(f.Name, "hook/"); ok {
			var do instruction
			if err := json.Unmarshal(f.Data, &do); err != nil {
				t.Fatal(err)
			}
			b.on(hook.Command(command), do)
		}
	}
	b.source(source)
	outcome, err := job.Run(t.Context(), b.opts, b.job)
	if err != nil {
		t.Fatal(err)
	}
	log := strings.NewReplacer(b.opts.Hook, "HOOK.sh", filepath.Join(b.opts.Root, "build"), "/home/runner", b.opts.Source, "SOURCE",
		"\x1b[36;1m", "", "\x1b[0m", "").Replace(b.log())
	log = guid.ReplaceAllString(log, "GUID")
	log = regexp.MustCompile(`\S*/(bash|sh) `).ReplaceAllString(log, "/bin/$1 ")
	log = regexp.MustCompile(`after \d+(\.\d+)?m?s,`).ReplaceAllString(log, "after TIME,")
	lines := slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool {
		return strings.HasPrefix(line, "Terminate orphan process")
	})
	return strings.Join(lines, "\n") + "job: " + string(outcome.Result) + "\n"
}
