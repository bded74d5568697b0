package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
)

// runHost does something to the hook's surroundings and checks what must be observed.
func (sc *scene) runHost(ctx context.Context, m *made) ([]Failure, error) {
	seen := &observation{}
	if err := sc.host(ctx, m.Host, seen); err != nil {
		return nil, err
	}
	failures, err := sc.judge(ctx, m.Call, seen)
	for i := range failures {
		failures[i].Call = m.label
	}
	return failures, errors.Join(err, sc.makeFiles(m.Host.Files))
}

// host does something to the hook's surroundings, but for files.
func (sc *scene) host(ctx context.Context, h *Host, seen *observation) error {
	if err := sc.registry(h); err != nil {
		return err
	}
	if h.Note != "" {
		if err := sc.note(ctx, h.Note); err != nil {
			return err
		}
	}
	if h.Listen != "" {
		if err := sc.listen(h.Listen); err != nil {
			return err
		}
	}
	return sc.touch(ctx, h, seen)
}

// registry changes what the suite's registry offers, and how.
func (sc *scene) registry(h *Host) error {
	for repository, times := range h.Fail {
		sc.suite.open.Fail(repository, times)
	}
	for repository, d := range h.Hold {
		sc.suite.open.Hold(repository, d)
	}
	for repository, image := range h.Move {
		if err := sc.suite.open.Add(repository, "1", sc.suite.made[image]); err != nil {
			return err
		}
	}
	return nil
}

// note remembers what the job has on the engine now.
func (sc *scene) note(ctx context.Context, as string) error {
	have, err := sc.owned.now(ctx)
	if err != nil {
		return err
	}
	for kind, names := range map[string][]string{"container": have.Containers, "network": have.Networks, "volume": have.Volumes} {
		for i, name := range names {
			sc.set(fmt.Sprintf("%s.%s.%d", as, kind, i), name)
		}
	}
	return nil
}

// listen takes a port of this machine until the scene ends.
func (sc *scene) listen(port string) error {
	l, err := net.Listen("tcp", net.JoinHostPort("", port))
	if err != nil {
		return fmt.Errorf("taking a port: %w", err)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.listeners = append(sc.listeners, l)
	return nil
}

// touch does something to containers.
func (sc *scene) touch(ctx context.Context, h *Host, seen *observation) (err error) {
	engine := sc.suite.Engine
	if h.Foreign != "" {
		sc.mu.Lock()
		sc.foreign = append(sc.foreign, h.Foreign)
		sc.mu.Unlock()
		if err := engine.Start(ctx, h.Foreign, sc.image("busybox")); err != nil {
			return fmt.Errorf("starting a container of somebody else: %w", err)
		}
	}
	if len(h.Kill) > 0 {
		kill := h.Kill
		if slices.Equal(kill, []string{"all"}) {
			have, err := sc.owned.now(ctx)
			if err != nil {
				return err
			}
			kill = have.Containers
		}
		if err := engine.Kill(ctx, kill...); err != nil {
			return fmt.Errorf("killing containers: %w", err)
		}
	}
	if err := engine.Remove(ctx, Inventory{Containers: h.Remove}); err != nil {
		return fmt.Errorf("removing containers: %w", err)
	}
	if h.Enter != nil {
		if seen.status, err = engine.Enter(ctx, h.Enter.Container, h.Enter.Program...); err != nil {
			return fmt.Errorf("running a program in a container: %w", err)
		}
	}
	return nil
}
