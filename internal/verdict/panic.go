package verdict

import (
	"fmt"
	"runtime/debug"
)

// Panicked turns what recover() gave into an error of ours, with the stack as output.
func Panicked(value any) *Error {
	return &Error{
		Whose: Bug, Err: fmt.Errorf("the program has broken off: %v", value), Output: string(debug.Stack()),
		Hint: "please report this, with `gantry version` and the lines above",
	}
}
