package job

import (
	"errors"

	"github.com/gantry-ci/gantry/internal/expr"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// evaluator evaluates texts of one file; its errors say where.
type evaluator struct {
	source workflow.Source
	scope  expr.Scope
}

func (e evaluator) at(t workflow.Text, err error) error {
	var fault *expr.Error
	if !errors.As(err, &fault) || !t.Pos.IsValid() {
		return err
	}
	return e.source.Fault(t.At(fault.Offset), fault.Message)
}

func (e evaluator) value(t workflow.Text) (expr.Value, error) {
	if !t.HasExpr() {
		return t.Raw, nil
	}
	v, err := e.scope.Eval(t.Raw)
	return v, e.at(t, err)
}

func (e evaluator) text(t workflow.Text) (string, error) {
	if !t.HasExpr() {
		return t.Raw, nil
	}
	v, err := e.scope.EvalString(t.Raw)
	return v, e.at(t, err)
}

func (e evaluator) texts(all []workflow.Text) ([]string, error) {
	values := []string{}
	for _, t := range all {
		v, err := e.text(t)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

func (e evaluator) flag(f workflow.Flag) (bool, error) {
	if !f.Text.HasExpr() {
		return f.Value, nil
	}
	v, err := e.value(f.Text)
	return expr.Truthy(v), err
}

func (e evaluator) number(n workflow.Number) (float64, error) {
	if !n.Text.HasExpr() {
		return n.Value, nil
	}
	v, err := e.value(n.Text)
	return expr.Number(v), err
}

// list evaluates variables in their order.
func (e evaluator) list(vars []workflow.Var) ([]pair, error) {
	var pairs []pair
	for _, v := range vars {
		value, err := e.text(v.Value)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pair{v.Name, value})
	}
	return pairs, nil
}

func (e evaluator) vars(v workflow.Vars) ([]pair, error) {
	if !v.Expr.Written() {
		return e.list(v.List)
	}
	value, err := e.value(v.Expr)
	if err != nil {
		return nil, err
	}
	object, ok := value.(expr.Object)
	if !ok {
		return nil, e.source.Fault(v.Expr.Pos, "an object is expected here")
	}
	var pairs []pair
	for _, name := range object.Names() {
		member, _ := object.Get(name)
		pairs = append(pairs, pair{name, expr.Text(member)})
	}
	return pairs, nil
}

// condition says whether an `if` holds; one that is not written is success().
func (e evaluator) condition(t workflow.Text) (bool, error) {
	holds, _, err := e.scope.EvalBool(t.Raw)
	return holds, e.at(t, err)
}
