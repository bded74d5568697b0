package worksync_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gantry-ci/gantry/internal/worksync"
	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// nobody takes root's rights from the test, for which no file is closed otherwise. Call what is returned to get them back.
func nobody(t testing.TB) (again func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		return func() {}
	}
	must(t, syscall.Seteuid(65534))
	again = func() { must(t, syscall.Seteuid(0)) }
	t.Cleanup(again)
	return again
}

// closed writes a file that this user cannot read, in the place of another one.
func closed(t testing.TB, name, text string) {
	t.Helper()
	_ = os.Remove(name)
	write(t, name, text)
	must(t, os.Chmod(name, 0))
}

// notedOf says whether a path is among the notes.
func notedOf(report worksync.Report, path string) bool {
	for _, line := range report.Lines() {
		if strings.HasPrefix(line, "work folder: "+path+" ") {
			return true
		}
	}
	return false
}

// A root's container action leaves its outputs closed, say. The runner would go on without them.
func TestAFileForTheRunnerThatCannotBeReadFailsTheStep(t *testing.T) {
	const output = "_temp/_runner_file_commands/set_output_1"
	for name, config := range modes() {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.config = worksync.Defaults()
			p.config.NoWatch = config.NoWatch
			write(t, filepath.Join(p.host, output), "")
			write(t, filepath.Join(p.host, "r/action.yml"), "old")
			must(t, os.Chmod(filepath.Join(p.host, "r"), 0o777))
			s := p.session(t)
			sync(t, s, tree.Host)
			closed(t, filepath.Join(p.pod, output), "x=y")
			closed(t, filepath.Join(p.pod, "r/action.yml"), "new")
			write(t, filepath.Join(p.pod, "r/other"), "other")
			again := nobody(t)
			report, err := s.Sync(t.Context(), tree.Container)
			_, err2 := s.Sync(t.Context(), tree.Container) // it stays so
			before, err3 := s.Sync(t.Context(), tree.Host) // but is no reason not to begin another step
			again()
			if !errors.Is(err, worksync.ErrUnread) || !errors.Is(err2, worksync.ErrUnread) || err3 != nil {
				t.Errorf("%v, %v, %v", err, err2, err3)
			}
			if !notedOf(report, output) || !notedOf(report, "r/action.yml") || len(before.Notes) > 0 {
				t.Errorf("%+v, %+v", report.Notes, before.Notes)
			}
			if read(t, filepath.Join(p.host, "r/action.yml")) != "old" || read(t, filepath.Join(p.host, output)) != "" {
				t.Error("the host's are not as they were")
			}
			if read(t, filepath.Join(p.host, "r/other")) != "other" {
				t.Error("others have not come")
			}
			must(t, errors.Join(os.Chmod(filepath.Join(p.pod, output), 0o644), os.Chmod(filepath.Join(p.pod, "r/action.yml"), 0o644)))
			sync(t, s, tree.Container)
			p.same(t)
			if read(t, filepath.Join(p.host, output)) != "x=y" {
				t.Error("what can be read again does not come")
			}
		})
	}
}

func TestWhatTheHostCannotReadStaysInTheContainer(t *testing.T) {
	p := newPair(t)
	write(t, filepath.Join(p.host, "f"), "old")
	must(t, os.Chmod(p.pod, 0o777))
	s := p.session(t)
	sync(t, s, tree.Host)
	closed(t, filepath.Join(p.host, "f"), "new")
	again := nobody(t)
	report, err := s.Sync(t.Context(), tree.Host)
	again()
	if err != nil || !notedOf(report, "f") || read(t, filepath.Join(p.pod, "f")) != "old" {
		t.Errorf("%+v, %v", report, err)
	}
	must(t, os.Chmod(filepath.Join(p.host, "f"), 0o644))
	sync(t, s, tree.Host)
	p.same(t)
}

// A journal is lost with what the other side has been told to forget: both are compared as a whole.
func TestALostJournalIsMadeUpFor(t *testing.T) {
	for name, config := range modes() {
		for _, lost := range []string{"removed", "nonsense"} {
			t.Run(name+" "+lost, func(t *testing.T) {
				p := newPair(t)
				p.config = config
				for _, name := range []string{"d/a", "d/b", "gone"} {
					write(t, filepath.Join(p.host, name), "old")
				}
				s := p.session(t)
				sync(t, s, tree.Host)
				write(t, filepath.Join(p.pod, "d/made"), "theirs")
				sync(t, s, tree.Container)
				must(t, s.Close())
				must(t, os.Remove(filepath.Join(p.host, "gone")))
				write(t, filepath.Join(p.host, "d/a"), "new")
				write(t, filepath.Join(p.pod, "d/b"), "new")
				journal := filepath.Join(p.state, "journal")
				if must(t, os.Remove(journal)); lost == "nonsense" {
					write(t, journal, "nonsense")
				}
				s = p.session(t)
				sync(t, s, tree.Container)
				p.same(t)
				if report := sync(t, s, tree.Host); report.Sent.Names+report.Received.Names > 0 {
					t.Errorf("%+v", report)
				}
				if read(t, filepath.Join(p.host, "d/b")) != "new" {
					t.Error("the container's does not count")
				}
			})
		}
	}
}
