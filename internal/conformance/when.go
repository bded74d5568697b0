package conformance

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// poll is how often conditions are looked at.
const poll = 20 * time.Millisecond

// String says it in words.
func (w *When) String() string {
	var parts []string
	say := func(given bool, format string, args ...any) {
		if given {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	say(w.Started, "the hook has started")
	say(w.Stdout != "", "it has printed %q", w.Stdout)
	say(w.Process != "", "a process has %q in its arguments", w.Process)
	say(w.Requested != "", "the image %s is being pulled", w.Requested)
	say(w.Containers > 0, "the job has %d containers", w.Containers)
	say(w.Networks > 0, "the job has %d networks", w.Networks)
	return strings.Join(parts, ", ")
}

// until waits for a condition, but no longer than until done. It says whether it has come true.
func (sc *scene) until(ctx context.Context, w *When, m *made, done <-chan struct{}) (bool, error) {
	for end := time.Now().Add(limit); ; {
		over := ctx.Err() != nil || isClosed(done) || time.Now().After(end)
		holds, err := sc.holds(ctx, w, m)
		switch {
		case ctx.Err() != nil:
			return false, nil // an engine that was being asked is no trouble then
		case err != nil:
			return false, err
		case holds:
			pause(ctx, done, w.Passed)
			return true, nil
		case over:
			return false, nil
		}
		pause(ctx, done, poll)
	}
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, done <-chan struct{}, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-done:
	case <-time.After(d):
	}
}

// tooEarly is the failure of a call that has ended before what the case waits for.
func tooEarly(what string, w *When) Failure {
	return Failure{What: what, Expected: "the call goes on until " + w.String(), Observed: "it ended before that, or that never came"}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (sc *scene) holds(ctx context.Context, w *When, m *made) (bool, error) {
	switch {
	case w.Started && hookProcess("github_"+sc.token) == 0,
		w.Stdout != "" && !m.stdout.has(w.Stdout),
		w.Process != "" && len(processesWith(w.Process)) == 0,
		w.Requested != "" && sc.suite.open.Requests(w.Requested) == 0:
		return false, nil
	}
	if w.Containers == 0 && w.Networks == 0 {
		return true, nil
	}
	have, err := sc.owned.now(ctx)
	return len(have.Containers) >= w.Containers && len(have.Networks) >= w.Networks, err
}

// sendSignals sends a call's signals to the hook's process.
func (sc *scene) sendSignals(ctx context.Context, m *made, done <-chan struct{}) ([]Failure, error) {
	for _, s := range m.Signals {
		switch came, err := sc.until(ctx, &s.When, m, done); {
		case err != nil:
			return nil, err
		case !came:
			return []Failure{tooEarly("SIG"+s.Send, &s.When)}, nil
		}
		if pid := hookProcess("github_" + sc.token); pid != 0 {
			_ = syscall.Kill(pid, signals()[s.Send]) // it fails only if the process has ended meanwhile
		}
	}
	return nil, nil
}

// cancel waits until a call is to be cancelled.
func (sc *scene) cancel(ctx context.Context, m *made, done <-chan struct{}) ([]Failure, error) {
	came, err := sc.until(ctx, m.Cancel, m, done)
	if err != nil || came {
		return nil, err
	}
	return []Failure{tooEarly("cancellation", m.Cancel)}, nil
}

// watch looks all the time for what must never be seen.
func (sc *scene) watch(w *Watch, done <-chan struct{}) []Failure {
	for {
		if w.Arguments != "" && len(processesWith(w.Arguments)) > 0 {
			return []Failure{{What: "arguments of processes during the call", Expected: "never have " + w.Arguments, Observed: "a process that has it"}}
		}
		for _, text := range w.Files {
			if found := filesWith(filepath.Join(sc.runner.Work), text); len(found) > 0 {
				return []Failure{{What: "files below _work during the call", Expected: "never contain " + text, Observed: found[0]}}
			}
		}
		select {
		case <-done:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
	}
}
