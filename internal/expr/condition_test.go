package expr_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/expr"
)

func TestConditions(t *testing.T) {
	passed, failed := expr.Status{Success: true}, expr.Status{Failure: true}
	cancelled := expr.Status{Cancelled: true}
	for condition, want := range map[string]struct{ passed, failed, cancelled, usesStatus bool }{
		"":                                 {passed: true},
		"  \n":                             {passed: true},
		"true":                             {passed: true},
		"false":                            {},
		"'x'":                              {passed: true},
		"''":                               {},
		"fruits":                           {passed: true},
		"github.ref == 'refs/heads/main'":  {passed: true},
		"${{ github.ref_name == 'main' }}": {passed: true},
		"github.ref_name == 'x'":           {},
		"success()":                        {passed: true, usesStatus: true},
		"${{ success() }}":                 {passed: true, usesStatus: true},
		"failure()":                        {failed: true, usesStatus: true},
		"cancelled()":                      {cancelled: true, usesStatus: true},
		"always()":                         {true, true, true, true},
		"ALWAYS()":                         {true, true, true, true},
		"!cancelled()":                     {passed: true, failed: true, usesStatus: true},
		"${{ !cancelled() }}":              {passed: true, failed: true, usesStatus: true},
		"success() || failure()":           {passed: true, failed: true, usesStatus: true},
		"!success()":                       {failed: true, cancelled: true, usesStatus: true},
		"always() && false":                {usesStatus: true},
		"false && always()":                {usesStatus: true},
		"contains('a', always())":          {usesStatus: true},
		"'always()'":                       {passed: true},
		"true || false":                    {passed: true}, // success() && (true || false)
		"failure() && steps.demo.conclusion == 'failure'": {failed: true, usesStatus: true},

		// What is beside ${{ }} makes a text that is not empty.
		"${{ false }} ":                 {passed: true},
		"${{ false }}\n":                {passed: true},
		"${{ false }} && true":          {passed: true},
		"${{ failure() }} || false":     {true, true, true, true},
		"${{ '' }}${{ '' }}":            {},
		"${{ false && fromJSON('{') }}": {},
	} {
		for _, c := range []struct {
			status expr.Status
			want   bool
		}{{passed, want.passed}, {failed, want.failed}, {cancelled, want.cancelled}} {
			s := testScope(t)
			s.Status = &c.status
			holds, usesStatus, err := s.EvalBool(condition)
			if err != nil || holds != c.want || usesStatus != want.usesStatus {
				t.Errorf("%q with %+v: got %t, %t, %v, want %t, %t", condition, c.status, holds, usesStatus, err, c.want, want.usesStatus)
			}
		}
	}
}

func TestFaultsOfAConditionAreFoundWhenSuccessFails(t *testing.T) {
	s := testScope(t)
	s.Status = &expr.Status{Failure: true}
	for _, condition := range []string{"nope.x", "true ||", "${{ true", "${{ }}", "${{ nope }}", "success", "x y", "a }}"} {
		if holds, _, err := s.EvalBool(condition); err == nil {
			t.Errorf("%s: got %t", condition, holds)
		}
	}
}

func TestWhatSuccessForbidsIsNotEvaluated(t *testing.T) {
	s := testScope(t)
	s.Status = &expr.Status{Failure: true}
	if holds, _, err := s.EvalBool("hashFiles('fail')"); err != nil || holds {
		t.Errorf("got %t, %v", holds, err)
	}
	if holds, _, err := s.EvalBool("always() && hashFiles('fail')"); err == nil {
		t.Errorf("got %t", holds)
	}
}

func TestAConditionNeedsAStatus(t *testing.T) {
	for _, condition := range []string{"", "true", "always()"} {
		if holds, _, err := (expr.Scope{}).EvalBool(condition); err == nil {
			t.Errorf("%q: got %t", condition, holds)
		}
	}
}

func TestAConditionTellsItsContexts(t *testing.T) {
	c, err := expr.ParseCondition("needs.a.result == 'x' && hashFiles('b')")
	if err != nil || len(c.Contexts()) != 1 || c.Contexts()[0] != "needs" || !c.Uses("hashfiles") {
		t.Errorf("got %v, %v", c, err)
	}
}
