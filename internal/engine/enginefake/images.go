package enginefake

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/internal/engine"
)

// Build is part of engine.Engine. It understands FROM, ENTRYPOINT and CMD as lists; the rest has no effect.
func (e *Engine) Build(ctx context.Context, spec engine.BuildSpec, log io.Writer) error {
	if err := e.called(ctx, "Build"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.images[spec.Tag] != nil {
		return nil
	}
	text, err := os.ReadFile(spec.Dockerfile)
	if err != nil {
		return fmt.Errorf("building %s: %w", spec.Tag, err)
	}
	image := &Image{Name: spec.Tag, id: newID(), labels: spec.Labels, created: time.Now()}
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(log, "step %s", line)
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "FROM":
			if base := e.images[value]; base != nil {
				image.Entrypoint, image.Cmd, image.Health = base.Entrypoint, base.Cmd, base.Health
			}
		case "ENTRYPOINT":
			image.Cmd = nil
			err = json.Unmarshal([]byte(value), &image.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(value), &image.Cmd)
		}
		if err != nil {
			return fmt.Errorf("building %s: %s: %w", spec.Tag, word, err)
		}
	}
	e.images[spec.Tag] = image
	return nil
}

// HasImage is part of engine.Engine.
func (e *Engine) HasImage(ctx context.Context, tag string) (bool, error) {
	if err := e.called(ctx, "HasImage"); err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.images[tag] != nil, nil
}

// Images is part of engine.Engine.
func (e *Engine) Images(ctx context.Context, labels map[string]string) ([]engine.Image, error) {
	if err := e.called(ctx, "Images"); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []engine.Image
	for _, name := range slices.Sorted(maps.Keys(e.images)) {
		if i := e.images[name]; carries(i.labels, labels) {
			list = append(list, engine.Image{ID: i.id, Tags: []string{name}, Created: i.created, Labels: i.labels})
		}
	}
	return list, nil
}

// RemoveImages is part of engine.Engine.
func (e *Engine) RemoveImages(ctx context.Context, ids []string) error {
	if err := e.called(ctx, "RemoveImages"); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	used := map[string]bool{}
	for _, c := range e.containers {
		used[c.spec.Image] = true
	}
	maps.DeleteFunc(e.images, func(name string, i *Image) bool { return slices.Contains(ids, i.id) && !used[name] })
	return nil
}
