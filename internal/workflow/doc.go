// Package workflow reads workflow files and action metadata, and says what is to be done: jobs in their order, the
// combinations of a matrix, steps. It evaluates nothing: what may hold an expression is a [Text], kept as it is
// written with its position, for whoever runs the job.
//
// [Load] checks a file first, with actionlint's parser and rules, and gives back what is wrong as [Finding] values.
// One question decides how bad a finding is: would GitHub refuse the file? Then it is an [Error] and nothing may run.
// So are mistakes of syntax, unknown contexts and functions, contexts in places that do not have them, wrong ids,
// and cycles among jobs. Everything else is a [Warning]: GitHub would start the run, and so does gantry. That
// includes actionlint's findings about types: an expression like steps.tset.outputs.x is empty there, not an error.
//
// The model is read from the YAML itself and not from actionlint's syntax tree, which has no order for env, services
// and matrix rows, no types for matrix values, loses a container's volumes (v1.7.12), and does not know yet what
// GitHub has added since: entrypoint and command of services, and steps in the background (background, wait,
// wait-all, cancel, parallel). Scalars have the values that GitHub gives them, by the core schema of YAML 1.2:
// python: 3.10 is the number 3.1.
//
// Not supported, each with a finding: workflows of other repositories, expressions in keys (${{ insert }}), and
// expressions in place of the lists of ports and volumes.
package workflow
