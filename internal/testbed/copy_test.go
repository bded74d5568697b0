package testbed

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

func TestACopiedProgramCanBeStartedAtOnceWhateverElseIsStarted(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, program).Run() // ends with the test
			}
		})
	}
	dir := t.TempDir()
	for i := range 300 {
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := copyFile(file, program); err != nil {
			t.Fatal(err)
		}
		if err := exec.CommandContext(t.Context(), file).Run(); err != nil {
			t.Fatal(err)
		}
	}
}
