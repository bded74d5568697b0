package hook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Result is what a Handler answers with. ExitCode is the exit status of the user's command (0 for commands
// that have none). An error beside 0 means that the hook itself could not do its work; beside any other status it
// explains that status.
type Result struct {
	Response Response
	ExitCode int
}

// Handler does the work of a hook. State is the raw state object, nil for null.
//
// One method is called per process, once, with decoded and validated arguments. Its ctx is the one given to Serve;
// a cancelled job or step reaches it only as far as the caller makes signals cancel that ctx.
type Handler interface {
	PrepareJob(ctx context.Context, args *PrepareJobArgs) (Result, error)
	RunScriptStep(ctx context.Context, args *ScriptStepArgs, state json.RawMessage) (Result, error)
	RunContainerStep(ctx context.Context, args *Container, state json.RawMessage) (Result, error)
	CleanupJob(ctx context.Context, state json.RawMessage) (Result, error)
}

// ServeOptions are what Serve needs from the process.
type ServeOptions struct {
	// Stdin is read to its end if Input is nil.
	Stdin io.Reader
	// Input is the command, if the caller has read it already.
	Input *Input
	// OpenResponse opens the response file in the manner of os.OpenFile. The flags ask for no symbolic link as last
	// component and for no waiting (O_NOFOLLOW, O_NONBLOCK); they have to be passed on. The job can write to the
	// folders above the file too, so a hook should walk below a folder it trusts without following links. Serve
	// itself checks that what was opened is a regular file of one name. The default is os.OpenFile.
	OpenResponse func(path string, flag int, perm os.FileMode) (*os.File, error)
}

// Serve does the command of one hook process: it reads the input, calls the method of h, and writes the response
// file.
//
// The response file has to be writable before the method is called, and it is truncated and written anew after
// every command, whether it succeeded or not: it then says what h answered and nothing else. That way a state that
// a step wrote there is never read by the runner. An empty responseFile is accepted for all commands but
// prepare_job. A response that the runner would not survive (ContainerHookManager.cs dereferences what is missing)
// is completed where the missing part has an obvious value, and is an error else.
//
// The exit status is that of the user's command, also beside an error, with 1 in place of one that no process can
// have; an error without such a status gives 1. Serve prints nothing. Errors about the input are of type *InputError,
// about the response file *ResponseFileError, about the answer *AnswerError; those of h are passed on, joined with
// what went wrong after it.
func Serve(ctx context.Context, opts ServeOptions, h Handler) (exit int, err error) {
	in := opts.Input
	if in == nil {
		if in, err = ReadInput(opts.Stdin); err != nil {
			return 1, err
		}
	}
	file, err := newResponseFile(in, opts.OpenResponse)
	if err != nil {
		return 1, err
	}
	if err := file.check(); err != nil {
		return 1, err
	}
	c := call{Input: in}
	result, err := c.do(ctx, h)
	text, answerErr := c.encode(result.Response, err == nil && result.ExitCode == 0)
	if err := errors.Join(err, answerErr, file.write(text)); err != nil {
		return exitStatus(cmp.Or(result.ExitCode, 1)), err
	}
	return exitStatus(result.ExitCode), nil
}

// exitStatus keeps an impossible status from becoming 0 when the system takes it modulo 256.
func exitStatus(code int) int {
	if code < 0 || code > 255 {
		return 1
	}
	return code
}

// call is one command on its way to a handler.
type call struct {
	*Input
	// Of prepare_job.
	jobContainer bool
	services     int
}

func (c *call) do(ctx context.Context, h Handler) (Result, error) {
	switch c.Command {
	case PrepareJob:
		args, err := DecodePrepareJob(c.Args)
		if err != nil {
			return Result{}, err
		}
		c.jobContainer, c.services = args.Container != nil, len(args.Services)
		return h.PrepareJob(ctx, args)
	case RunScriptStep:
		args, err := DecodeScriptStep(c.Args)
		if err != nil {
			return Result{}, err
		}
		return h.RunScriptStep(ctx, args, c.State)
	case RunContainerStep:
		args, err := DecodeContainerStep(c.Args)
		if err != nil {
			return Result{}, err
		}
		return h.RunContainerStep(ctx, args, c.State)
	case CleanupJob:
		return h.CleanupJob(ctx, c.State)
	}
	return Result{}, &InputError{
		Field: "command", Problem: fmt.Sprintf("command %.40q is unknown", string(c.Command)), Hint: hintCommands,
	}
}
