package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/process"
)

// owed is the call of cleanup_job that a job owes its hook once it has called prepare_job. It lies in the job's folder,
// where containers cannot write, so that another run can make the call if this process is killed.
type owed struct {
	Hook, Node, TempDir, WorkDir string
	Environ                      []string // GITHUB_* and RUNNER_*
	State                        json.RawMessage
}

func owedFile(root string) string { return filepath.Join(root, ".cleanup-owed") }

// owe remembers the call from now on, with each new state.
func (h *hooks) owe(root string, environ []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.debtIn, h.debt = root, &owed{
		Hook: h.client.HookPath, Node: h.client.Node, TempDir: h.client.TempDir, WorkDir: h.client.WorkDir, Environ: environ,
	}
	return h.writeDebt()
}

// writeDebt writes what is owed, if it is. The caller holds the lock.
func (h *hooks) writeDebt() error {
	if h.debt == nil {
		return nil
	}
	h.debt.State = h.state
	text, err := json.Marshal(h.debt)
	if err == nil {
		err = os.WriteFile(owedFile(h.debtIn), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("noting that cleanup_job is owed: %w", err)
	}
	return nil
}

// paid forgets the call, which has been made.
func (h *hooks) paid() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.debt = nil
	return forget(h.debtIn)
}

func forget(root string) error {
	if err := os.Remove(owedFile(root)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting what hook call is owed: %w", err)
	}
	return nil
}

// Settle does for a job whose process is gone what that has not done: it ends its processes on this machine, and calls
// cleanup_job if that is still owed. root is the job's folder, environ is the environment of the hook, whose output
// goes to out. It may be called for a folder of anything else, where it does nothing.
func Settle(ctx context.Context, root string, environ []string, out io.Writer) error {
	for _, orphan := range process.Below(root) {
		orphan.Kill()
	}
	text, err := os.ReadFile(owedFile(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var debt owed
	if err == nil {
		err = json.Unmarshal(text, &debt)
	}
	if err != nil {
		return fmt.Errorf("reading what hook call is owed: %w", err)
	}
	if _, err := os.Stat(debt.WorkDir); err != nil {
		debt.WorkDir = root // a step has removed it
	}
	client := hook.Client{
		HookPath: debt.Hook, Node: debt.Node, TempDir: debt.TempDir, WorkDir: debt.WorkDir, Env: append(append([]string{}, environ...), debt.Environ...),
		Stdout: out, Stderr: out, SysProcAttr: process.Apart(),
	}
	if _, err := client.Call(ctx, hook.CleanupJob, nil, debt.State); err != nil {
		return fmt.Errorf("calling %s: %w", debt.Hook, err)
	}
	return forget(root)
}
