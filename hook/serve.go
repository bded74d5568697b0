package hook

import (
	"context"
	"encoding/json"
)

// Result is what a Handler answers with. ExitCode is the exit status of the user's command (0 for commands
// that have none); an error beside it means that the hook itself could not do its work.
type Result struct {
	Response Response
	ExitCode int
}

// Handler does the work of a hook. State is the raw state object, nil for null.
type Handler interface {
	PrepareJob(ctx context.Context, args *PrepareJobArgs) (Result, error)
	RunScriptStep(ctx context.Context, args *ScriptStepArgs, state json.RawMessage) (Result, error)
	RunContainerStep(ctx context.Context, args *Container, state json.RawMessage) (Result, error)
	CleanupJob(ctx context.Context, state json.RawMessage) (Result, error)
}
