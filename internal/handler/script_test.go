package handler

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// lateEngine tells that the container is gone, and what was known when it was asked.
type lateEngine struct {
	engine.Engine
	asked func()
}

func (e *lateEngine) Inspect(context.Context, string) (engine.Status, error) {
	e.asked()
	return engine.Status{}, engine.ErrNotFound
}

// A step that was handed over has a hook again before the engine is asked, which may take its time: the keeper of the
// work folder ends steps that have none.
func TestAStepIsTakenOverBeforeTheEngineIsAsked(t *testing.T) {
	base := t.TempDir()
	rec := &jobrecord.Record{
		ID: "0123456789abcdef0123456789abcdef", Runner: "runner", Work: filepath.Join(base, "_work"), Created: time.Now(),
		Container: &jobrecord.Container{ID: "container", Token: "token", Agent: &agent.Address{Network: agent.NetworkPipe}},
		Sync:      &worksync.Spec{Root: "/__w", State: base},
	}
	keeper, err := net.Listen("unix", filepath.Join(base, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keeper.Close() })
	var held atomic.Value
	go func() {
		conn, err := keeper.Accept()
		if err != nil {
			return
		}
		var ask struct{ Op, Step string }
		if json.NewDecoder(conn).Decode(&ask) == nil && ask.Op == "hold" {
			held.Store(ask.Step)
		}
		_, _ = io.WriteString(conn, "{}")
	}()
	before := any(nil)
	h := &Handler{
		Config: &config.Config{}, Runner: Runner{ID: "runner", Work: rec.Work}, Store: jobrecord.Store{Dir: filepath.Join(base, "records")},
		Engine: &lateEngine{asked: func() { before = held.Load() }}, Out: io.Discard, Log: io.Discard,
		Resume: &Resume{StepID: "step", Offset: 1},
	}
	if err := h.Store.Save(rec); err != nil {
		t.Fatal(err)
	}
	_, err = h.RunScriptStep(t.Context(), &hook.ScriptStepArgs{EntryPoint: "sh"}, json.RawMessage(`{"gantry":1,"job":"`+rec.ID+`"}`))
	if err == nil || errors.Is(err, context.Canceled) || before != "step" {
		t.Errorf("%v; the step was %v's when the engine was asked", err, before)
	}
}
