package job

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/process"
)

// jobHooks are the scripts that the runner's environment names for the start and the end of every job, which are no
// container hooks (JobHookProvider.cs). The first one runs before containers are prepared, the last one after all else.
func (x *execution) jobHooks() []*task {
	if path := process.Lookup(x.opts.Environ, "ACTIONS_RUNNER_HOOK_JOB_COMPLETED"); path != "" {
		x.state.pushPost(jobHook("Complete runner", "job completed hook", path))
	}
	if path := process.Lookup(x.opts.Environ, "ACTIONS_RUNNER_HOOK_JOB_STARTED"); path != "" {
		return []*task{jobHook("Set up runner", "job started hook", path)}
	}
	return nil
}

func jobHook(name, what, path string) *task {
	return &task{name: name, condition: always(), do: func(ctx context.Context, x *execution) error {
		x.log.line(fmt.Sprintf("A %s has been configured by the self-hosted runner administrator", what))
		return x.runJobHook(ctx, path)
	}}
}

// runJobHook runs the script on the host, where it can set variables as any step.
func (x *execution) runJobHook(ctx context.Context, path string) error {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return fmt.Errorf("File doesn't exist: %s", path)
	}
	if err := x.makeFiles(); err != nil {
		return err
	}
	defer x.readFiles()
	client, out := x.hooks.client, x.newOutput()
	client.HookPath = path
	client.Env = append(x.environ(), variables(x.contextVariables())...)
	client.Stdout, client.Stderr = &out.stdout, &out.stderr
	x.announce(client)
	result, err := client.Run(ctx, nil)
	out.close()
	var failure *hook.CallError // whose own words are about container hooks
	switch {
	case errors.As(err, &failure):
		return failure.Inner
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case result.ExitCode != 0:
		x.log.error(fmt.Sprintf("Process completed with exit code %d.", result.ExitCode))
		return errFailed
	}
	return nil
}
