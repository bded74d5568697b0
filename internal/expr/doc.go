// Package expr evaluates the expressions of GitHub Actions: `${{ github.ref == 'refs/heads/main' }}`.
//
// The rules are those of GitHub's page "Evaluate expressions in workflows and actions"
// (https://docs.github.com/en/actions/reference/workflows-and-actions/expressions) and, where the page is silent,
// what the runner does. The package is pure: what an expression can see comes in a [Scope], and nothing is logged.
// Error messages name functions, contexts and positions, never evaluated values, because these may be secrets.
//
// A text is parsed once ([ParseTemplate], [ParseCondition]) and evaluated as often as wanted. The methods of Scope
// do both at once.
//
// Every input ends in a value or an error: the length and the nesting of an expression, and what an evaluation may
// make, are bounded as in the runner.
package expr
