// Package createopts understands the create flags that a workflow writes in container.options, its ports and its
// volumes: enough to show a mistake with a caret under the place, to judge the flags by policy, and to translate
// them for an engine that has no command line. It is pure: nothing is run, read or looked up.
//
// The text is split by the rules of the runner, which are those of .NET on Unix: blanks and tabs separate words,
// only double quotes group, and single quotes are ordinary characters.
package createopts
