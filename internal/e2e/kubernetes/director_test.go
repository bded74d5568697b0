package kubernetes

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/testbed/kubetest"
)

// deeds are what a test in a runner's pod can ask for that is done outside, on the machine. Each gives an answer.
type deeds map[string]func() string

// enter runs the test in the runner's pod, and does what it asks for meanwhile.
func (d deeds) enter(t *testing.T, r *kubetest.Runner, env ...string) {
	t.Helper()
	dir, err := r.HostPath(questions(r))
	if err == nil {
		err = os.Mkdir(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { d.serve(ctx, t, dir) })
	defer serving.Wait()
	defer stop()
	r.Enter(t, env...)
}

// questions is a folder in which a file is a question, by its name, and NAME.answer the answer.
func questions(r *kubetest.Runner) string { return filepath.Join(r.Dir, "questions") }

func (d deeds) serve(ctx context.Context, t *testing.T, dir string) {
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		for name, do := range d {
			if os.Remove(filepath.Join(dir, name)) != nil {
				continue
			}
			answer := filepath.Join(dir, name+".answer")
			if err := os.WriteFile(answer+".new", []byte(do()), 0o644); err != nil {
				t.Error(err)
			}
			if err := os.Rename(answer+".new", answer); err != nil {
				t.Error(err)
			}
		}
	}
}

// ask has a deed done outside, and gives the answer. An error fails the test, and gives "".
func ask(t *testing.T, deed string) string {
	t.Helper()
	question := filepath.Join(questions(kubetest.Self(t)), deed)
	if err := os.WriteFile(question, nil, 0o644); err != nil {
		t.Error(err)
		return ""
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(question + ".answer")
		if err == nil {
			os.Remove(question + ".answer")
			return string(text)
		}
	}
	t.Errorf("nobody outside has done %q", deed)
	return ""
}
