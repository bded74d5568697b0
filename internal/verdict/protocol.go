package verdict

import (
	"errors"
	"syscall"

	"github.com/gantry-ci/gantry/hook"
)

// Protocol says whose problem an error of hook.Serve or hook.ParseInput is. An error that has a verdict keeps it; nil
// stays nil.
func Protocol(err error) error {
	var v *Error
	var input *hook.InputError
	var response *hook.ResponseFileError
	switch {
	case err == nil, errors.As(err, &v):
		return err
	case errors.As(err, &input):
		hint := input.Hint
		if hint == "" {
			hint = "this is not what a runner sends; if one did, please report it with the runner's version and `gantry version`"
		}
		return New(Configuration, hint, "%w", err)
	case errors.As(err, &response) && errors.Is(err, syscall.ENOSPC):
		return New(Infrastructure, "free disk space on the runner's machine", "%w", err)
	case errors.As(err, &response):
		return New(Configuration, responseHint(response), "%w", err)
	}
	return err
}

// responseHint tells a file that the runner could not have made from one that this user may not write.
func responseHint(err *hook.ResponseFileError) string {
	if err.Denied() {
		return "the runner makes this file below _work/_temp; check the owner and the mode of that folder"
	}
	return "the runner makes this file below _work/_temp; did a step put something else in its place, or in that of a folder above it?"
}
