package expr_test

import (
	"fmt"

	"github.com/gantry-ci/gantry/internal/expr"
)

func Example() {
	github, _ := expr.DecodeJSON(`{"ref": "refs/heads/main", "event": {"labels": [{"name": "bug"}, {"name": "ui"}]}}`)
	scope := expr.Scope{
		Contexts: map[string]expr.Value{"github": github},
		Status:   &expr.Status{Success: true},
	}
	text, _ := scope.EvalString("labels: ${{ join(github.event.labels.*.name, ', ') }}")
	fmt.Println(text)

	holds, usesStatus, _ := scope.EvalBool("github.ref == 'refs/heads/main'")
	fmt.Println(holds, usesStatus)

	_, err := scope.Eval("${{ github.ref == matrix.ref }}")
	fmt.Println(err)
	// Output:
	// labels: bug, ui
	// true false
	// 1:19: there is no context "matrix" here, only github
}
