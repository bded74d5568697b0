package hook

import (
	"errors"
	"fmt"
)

// Cause says at which point a command went wrong, seen from the runner.
type Cause string

// The causes of a CallError.
const (
	// CauseHookFile: HookPath does not name a file that the runner would start.
	CauseHookFile Cause = "hook file"
	// CauseStart: there is no shell for the hook, or it cannot be started.
	CauseStart Cause = "start"
	// CauseExit: the status was not 0. The runner does not know whether the user's command or the hook failed.
	CauseExit Cause = "exit status"
	// CauseCanceled: the context of the call was cancelled. The status does not count then.
	CauseCanceled Cause = "canceled"
	// CauseResponse: the response file is missing, cannot be read, or lacks what the runner asks for.
	CauseResponse Cause = "response"
	// CauseCrash: the response is readable, but the runner runs into an exception of .NET over it, outside the code
	// that words its errors. The state of the response has been taken over, if there is a response.
	CauseCrash Cause = "crash"
)

// wrapper is all that the user of a runner sees of most failures.
const wrapper = "Executing the custom container implementation failed. Please contact your self hosted runner administrator."

// CallError is the failure of a command, with the texts of runner 2.336.0.
type CallError struct {
	Command Command
	Cause   Cause
	// Wrapper is the text in the job's log; "" for CauseCrash, where it is the text of Inner.
	Wrapper string
	// Inner is the cause, which the runner writes to its own log and, with debug logging, to the job's. Its wording is
	// the runner's, but for JSON that cannot be read and programs that cannot be started. A *ResponseError is one of
	// these causes.
	Inner error
	// Detail says what in the response the runner does not survive, for CauseCrash.
	Detail string
	// ExitCode is the status of the process, 0 if there was none. Before Wrapper the log of a failed command says
	// "Process completed with exit code N."
	ExitCode int
}

// Error gives the text that the user of the runner sees, and the cause after it.
func (e *CallError) Error() string {
	if e.Wrapper == "" {
		return e.Inner.Error()
	}
	return e.Wrapper + " " + e.Inner.Error()
}

func (e *CallError) Unwrap() error { return e.Inner }

// runnerText is an error in the runner's own words.
type runnerText string

func (e runnerText) Error() string { return string(e) }

func textf(format string, args ...any) error { return runnerText(fmt.Sprintf(format, args...)) }

// Exceptions of .NET, for CauseCrash.
const (
	errNullReference runnerText = "Object reference not set to an instance of an object."
	errOutOfRange    runnerText = "Index was out of range. Must be non-negative and less than the size of the collection. (Parameter 'index')"
)

func crash(err runnerText, format string, args ...any) error {
	return &CallError{Cause: CauseCrash, Inner: err, Detail: fmt.Sprintf(format, args...)}
}

func callError(cause Cause, inner error) error {
	return &CallError{Cause: cause, Wrapper: wrapper, Inner: inner}
}

// named fills in the command of a CallError.
func named(err error, command Command) error {
	var call *CallError
	if errors.As(err, &call) {
		call.Command = command
	}
	return err
}

func (c *Client) failed(command Command, exit int) error {
	inner := textf("The hook script at '%s' running command '%s' did not execute successfully", c.HookPath, enumName(command))
	return &CallError{Command: command, Cause: CauseExit, Wrapper: wrapper, Inner: inner, ExitCode: exit}
}

func (c *Client) canceled(command Command, exit int) error {
	inner := runnerText("The operation was canceled.")
	return &CallError{Command: command, Cause: CauseCanceled, Wrapper: wrapper, Inner: inner, ExitCode: exit}
}
