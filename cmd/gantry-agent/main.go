// Command gantry-agent is the lean half of gantry: the first process of job and step containers, and the hook's
// fast path for script steps. It links the standard library only, so that it starts in a few milliseconds and
// runs in images that have nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/ownership"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// version is set by the linker.
var version = "devel"

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "hook":
		return runHook(args[1:])
	case "serve":
		return runServe(args[1:])
	case "pipe":
		return report(runPipe(args[1:]))
	case "stop":
		return report(runStop(args[1:]))
	case "install":
		return report(runInstall(args[1:]))
	case "take-over":
		return report(runTakeOver(args[1:]))
	case "keep":
		return report(runKeep(args[1:]))
	case "supervise":
		return report(agent.Supervise())
	case "clear":
		return report(runClear(args[1:]))
	case "kill":
		return report(agent.Kill(args[1:]))
	case "restore":
		return runRestore(args[1:])
	case "probe":
		return report(runProbe(args[1:]))
	case "version":
		fmt.Println(version)
		return 0
	}
	fmt.Fprintln(os.Stderr, "gantry-agent: this program is started by gantry and by its hook shim; see `gantry --help`")
	return 2
}

// How long the agent of a step container waits for the hook that started it, where no lease tells that the hook has
// been killed.
const (
	firstClaim = 3 * time.Second
	firstStep  = time.Minute
)

func runServe(args []string) int {
	config, err := agent.ParseServe(args)
	if err != nil {
		return report(err)
	}
	if err := os.MkdirAll(path.Dir(config.SocketPath()), 0o755); err != nil {
		return report(fmt.Errorf("making the agent's folder: %w", err))
	}
	listener, err := config.Listener()
	if err != nil {
		return report(err)
	}
	sigchld := make(chan os.Signal, 1)
	signal.Notify(sigchld, syscall.SIGCHLD)
	go agent.Reap(sigchld)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	exit, err := agent.NewServer(agent.ServerOptions{
		Socket:     config.SocketPath(),
		Listener:   listener,
		Env:        agent.WithoutLabels(os.Environ()),
		Version:    version,
		Once:       config.Once,
		Main:       ownProgram(config),
		FirstClaim: firstClaim,
		FirstStep:  firstStep,
		Lease:      config.LeasePath(),
		Externals:  config.Externals,
		Services:   map[string]agent.Service{worksync.Operation: syncService()},
		Furnish:    func() []agent.Undone { return config.Furnish("/etc/hosts") },
	}).Serve(ctx)
	switch {
	case errors.Is(err, agent.ErrStopped):
		agent.LastWords(err.Error())
		return 0
	case err != nil:
		return report(err)
	case exit.Error != "":
		agent.LastWords(exit.Error)
	}
	return exit.Code
}

// ownProgram is where the container's own program prints: the container's log.
func ownProgram(config agent.ServeConfig) *os.File {
	if !config.Main {
		return nil
	}
	return os.Stdout
}

// runPipe is a way to the agent that serves in the same container: pipe [--dir DIR].
func runPipe(args []string) error {
	config, err := agent.ParseServe(args) // it knows where the agent listens
	if err != nil {
		return err
	}
	return agent.Pipe(os.Stdin, os.Stdout, config.SocketPath())
}

// runStop ends the container, for whoever can start a program in it: stop [--dir DIR].
func runStop(args []string) error {
	config, err := agent.ParseServe(args)
	if err != nil {
		return err
	}
	f, err := os.Create(config.StopPath())
	if err != nil {
		return fmt.Errorf("stopping the container: %w", err)
	}
	return f.Close()
}

// runInstall copies this program: install [--hand-over] TARGET. In a pod of its own the agent comes to the job's containers
// so. With --hand-over it waits for `take-over`, for a container whose postStart hook that is.
func runInstall(args []string) error {
	handOver := len(args) > 0 && args[0] == "--hand-over"
	if handOver {
		args = args[1:]
	}
	if len(args) != 1 {
		return fmt.Errorf("install wants the name of the copy, not %q", args)
	}
	if handOver {
		return agent.HandOver("/proc/self/exe", args[0])
	}
	return agent.Install("/proc/self/exe", args[0])
}

// runTakeOver waits until `install --hand-over` has made its copy: take-over TARGET.
func runTakeOver(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("take-over wants the name of the copy, not %q", args)
	}
	return agent.TakeOver(args[0])
}

// runClear removes a folder with all that is in it: clear FOLDER.
func runClear(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("clear wants a folder, not %q", args)
	}
	return os.RemoveAll(args[0])
}

// runRestore gives everything below a folder to the owner of this program: restore FOLDER. That is the runner's user,
// who has copied it, whatever number that user has in this container.
func runRestore(args []string) int {
	if len(args) != 1 {
		return report(fmt.Errorf("restore wants a folder, not %q", args))
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return report(fmt.Errorf("finding the owner of this program: %w", err))
	}
	owner, ok := self.Sys().(*syscall.Stat_t)
	if !ok {
		return report(errors.New("the owner of this program cannot be told"))
	}
	n, err := ownership.Restore(args[0], int(owner.Uid), int(owner.Gid))
	fmt.Println(n)
	return report(err)
}

func report(err error) int {
	if err == nil {
		return 0
	}
	io.WriteString(os.Stderr, "gantry-agent: "+err.Error()+"\n")
	return 1
}
