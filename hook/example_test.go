package hook_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gantry-ci/gantry/hook"
)

func ExampleServe() {
	stdin := strings.NewReader(`{"command":"run_script_step","args":{"entryPoint":"sh","entryPointArgs":["-e","/__w/_temp/step.sh"]}}`)
	exit, err := hook.Serve(context.Background(), hook.ServeOptions{Stdin: stdin}, modeHandler("fail"))
	fmt.Println(exit, err)
	// Output:
	// {"args":{"entryPointArgs":["-e","/__w/_temp/step.sh"],"entryPoint":"sh","environmentVariables":{},"prependPath":[],"workingDirectory":""},"state":null}
	// 7 <nil>
}

func ExampleArgv() {
	// A container action with args: ["hello world", ""].
	fmt.Printf("%q\n", hook.Argv([]string{`"hello`, `world"`, `""`}))
	// Output: ["hello world" ""]
}

func ExampleCheckCommandLine() {
	const options = `--health-cmd "pg_isready --cpus 1`
	var unbalanced *hook.UnbalancedQuoteError
	if errors.As(hook.CheckCommandLine(options), &unbalanced) {
		fmt.Println(options)
		fmt.Println(strings.Repeat(" ", unbalanced.Offset) + "^ this quote is never closed")
	}
	// Output:
	// --health-cmd "pg_isready --cpus 1
	//              ^ this quote is never closed
}
