package conformance

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// poll is how often conditions are looked at.
const poll = 20 * time.Millisecond

// errNever says that a condition never came true.
var errNever = errors.New("it never came true")

// untilOr waits for a condition, or the end of the call. A condition that has not come true by then is no trouble:
// what was expected of the call tells.
func (sc *scene) untilOr(ctx context.Context, w *When, m *made, done <-chan struct{}) error {
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-done:
			stop()
		case <-waiting.Done():
		}
	}()
	err := sc.until(waiting, w, m)
	if waiting.Err() != nil || errors.Is(err, errNever) {
		return nil // an engine that was being asked is no trouble then
	}
	return err
}

// until waits for a condition.
func (sc *scene) until(ctx context.Context, w *When, m *made) error {
	for end := time.Now().Add(limit); ; {
		holds, err := sc.holds(ctx, w, m)
		if err != nil {
			return err
		}
		if holds {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("waiting for %+v: %w", *w, errNever)
		}
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
	return sleep(ctx, w.Passed)
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
func (sc *scene) sendSignals(ctx context.Context, m *made, done <-chan struct{}) error {
	for _, s := range m.Signals {
		if err := sc.untilOr(ctx, &s.When, m, done); err != nil {
			return err
		}
		if pid := hookProcess("github_" + sc.token); pid != 0 {
			_ = syscall.Kill(pid, signals()[s.Send]) // it fails only if the process has ended meanwhile
		}
	}
	return nil
}

// watch looks all the time for what must never be seen.
func (sc *scene) watch(w *Watch, done <-chan struct{}) []Failure {
	for {
		if w.Arguments != "" && len(processesWith(w.Arguments)) > 0 {
			return []Failure{{What: "arguments of processes during the call", Expected: "never have " + w.Arguments, Observed: "a process that has it"}}
		}
		if w.Files != "" {
			if found := filesWith(filepath.Join(sc.runner.Work), w.Files); len(found) > 0 {
				return []Failure{{What: "files below _work during the call", Expected: "never contain " + w.Files, Observed: found[0]}}
			}
		}
		select {
		case <-done:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// runHost does something to the hook's surroundings and checks what must be observed.
func (sc *scene) runHost(ctx context.Context, m *made) ([]Failure, error) {
	seen := &observation{}
	err := sc.host(ctx, m.Host)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && !m.Expect.IsZero():
		seen.status, seen.stderr = exit.ExitCode(), plain(err.Error())
	case err != nil:
		return nil, err
	}
	failures, err := sc.judge(ctx, m.Call, seen)
	for i := range failures {
		failures[i].Call = m.label
	}
	return failures, errors.Join(err, sc.makeFiles(m.Host.Files))
}

// host does something to the hook's surroundings.
func (sc *scene) host(ctx context.Context, h *Host) error {
	for repository, times := range h.Fail {
		sc.suite.open.Fail(repository, times)
	}
	for repository, image := range h.Move {
		if err := sc.suite.open.Add(repository, "1", sc.suite.made[image]); err != nil {
			return err
		}
	}
	for repository, d := range h.Hold {
		sc.suite.open.Hold(repository, d)
	}
	if h.Note != "" {
		have, err := sc.owned.now(ctx)
		if err != nil {
			return err
		}
		for i, id := range have.Containers {
			sc.set(fmt.Sprintf("%s.container.%d", h.Note, i), id)
		}
		for i, name := range have.Networks {
			sc.set(fmt.Sprintf("%s.network.%d", h.Note, i), name)
		}
		for i, name := range have.Volumes {
			sc.set(fmt.Sprintf("%s.volume.%d", h.Note, i), name)
		}
	}
	if h.Kill {
		have, err := sc.owned.now(ctx)
		if err != nil {
			return err
		}
		_, err = sc.suite.Engine.run(ctx, append([]string{"kill"}, have.Containers...)...)
		return err
	}
	if len(h.Engine) > 0 {
		_, err := sc.suite.Engine.run(ctx, h.Engine...)
		return err
	}
	return nil
}
