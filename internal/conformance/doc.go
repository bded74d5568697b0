// Package conformance judges container hooks: any program that the GitHub Actions runner could call. It plays the
// runner, and looks from outside at what becomes of it: exit statuses, output, response files, files of the work
// folder, processes of the machine, and what the engine's own command line tells.
//
// What a hook must do is data: the folder cases, one promise a file. Everything about them is in
// docs/conformance.md. The package knows nothing of gantry's own hook.
package conformance
