// Package testbed gives tests real container engines: Docker, Podman as root, Podman without root, a private registry
// with a password, and a Kubernetes of one node.
//
// The engines are started by the command below, from Debian's own packages, with images made offline; it installs
// what is missing when it runs as root on Debian or Ubuntu, and elsewhere says what to install:
//
//	go run ./internal/testbed/cmd/testbed run -- go test ./...
//	go run ./internal/testbed/cmd/testbed run --only docker -- go test ./internal/engine/docker/
//
// At the desk, engines that stay (source the file, then run go test as often as you like):
//
//	go run ./internal/testbed/cmd/testbed up --dir /tmp/tb
//	. /tmp/tb/env
//	go run ./internal/testbed/cmd/testbed down --dir /tmp/tb
//
// A test asks for what it needs:
//
//	e := testbed.Docker(t) // skipped without the engine; failed when CI=true
//	out, err := e.Command(t.Context(), "run", "--rm", testbed.Busybox, "true").CombinedOutput()
//
// Every engine has the same images: see the constants.
//
// Kubernetes is only started where it is asked for by name, with --only: its program is built from test/kubenode, which
// takes minutes, once. Package kubenode starts it; package kubetest is for its tests. Where none can be started, the
// cluster of $KUBECONFIG is used, with kubectl, and what needs a node of the testbed's own is skipped.
package testbed

// Images that every engine of a testbed has.
const (
	// Busybox has every applet below the usual PATH, and no bash.
	Busybox = "gantry.test/busybox:1"
	// Bash is Busybox and a real, dynamically linked bash.
	Bash = "gantry.test/bash:1"
	// Alpine is Busybox whose /etc/os-release says ID=alpine.
	Alpine = "gantry.test/alpine:1"
	// Scratch has one static program, /hello, its entry point: it prints its arguments, one a line, and exits
	// with the status that the variable EXIT gives. No shell, no /etc.
	Scratch = "gantry.test/scratch:1"
	// NonRoot is Busybox with USER 1234:1234, named app, at home in /home/app.
	NonRoot = "gantry.test/nonroot:1"
	// Redis speaks PING, SET, GET, INCR and DEL on port 6379, which it exposes, and has a health check that
	// succeeds once it listens.
	Redis = "gantry.test/redis:1"
	// Sick runs for ever; its health check always fails.
	Sick = "gantry.test/sick:1"
	// Crash prints two lines and exits with status 3 after 200 ms.
	Crash = "gantry.test/crash:1"
	// Runner is Bash with what the test programs of this machine link, and the user runner, 1001:1001, at home in
	// /home/runner: for the pod of a self-hosted runner.
	Runner = "gantry.test/runner:1"
	// Pause is the first process of Kubernetes' pods.
	Pause = "gantry.test/pause:1"
	// Entry is Busybox with ENTRYPOINT ["/bin/echo","entry"], CMD ["cmd"] and VOLUME /data.
	Entry = "gantry.test/entry:1"
)
