package hangup_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/internal/hangup"
)

func TestAPipeThatLosesItsReaderIsNoticed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fd := int(w.Fd())
	gone := make(chan bool, 1)
	go func() { gone <- hangup.Wait(fd) }()
	if _, err := w.WriteString("unread"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
		t.Fatal("it is said to be gone while it is open")
	case <-time.After(200 * time.Millisecond):
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case known := <-gone:
		if !known {
			t.Error("nothing is known of a pipe")
		}
	case <-time.After(10 * time.Second):
		t.Error("it was not noticed")
	}
}

func TestAFileNeverHangsUp(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	fd := int(f.Fd())
	gone := make(chan bool, 1)
	go func() { gone <- hangup.Wait(fd) }()
	select {
	case <-gone:
		t.Error("a file is said to have lost its reader")
	case <-time.After(200 * time.Millisecond):
	}
}
