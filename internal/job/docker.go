package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/job/wording"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// runDocker runs a container action (ContainerActionHandler.cs).
func (x *execution) runDocker(ctx context.Context, s stage, inputs []pair) error {
	a := x.use.action.Docker
	args := &hook.Container{
		Image: x.image(a.Image), WorkingDirectory: "/github/workspace", SystemMountVolumes: x.dirs.ActionMounts(),
	}
	if a.Dockerfile != "" {
		args.Dockerfile = filepath.Join(x.use.dir, a.Dockerfile)
		if _, err := os.Stat(args.Dockerfile); err != nil {
			return fmt.Errorf("File not found: '%s'", args.Dockerfile)
		}
	}
	args.EntryPoint = entryPoint(a, s, inputs)
	line, err := x.containerArgs(inputs)
	if err != nil {
		return err
	}
	args.EntryPointArgs = wording.ContainerArgs(line)
	env, err := x.containerEnv(inputs)
	if err != nil {
		return err
	}
	mapping := x.dirs.ActionContainer()
	for i := range env {
		env[i].value = mapping.Translate(env[i].value)
	}
	args.EnvironmentVariables, args.EnvironmentOrder = environment(slices.Concat(x.proxies(), env))
	_, err = x.call(ctx, hook.RunContainerStep, args)
	return err
}

// entryPoint is that of a stage; "" for the image's own.
func entryPoint(a *workflow.DockerAction, s stage, inputs []pair) string {
	switch {
	case s == pre:
		return a.PreEntrypoint
	case s == post:
		return a.PostEntrypoint
	case a.Entrypoint != "":
		return a.Entrypoint
	}
	given, _ := value(inputs, "entryPoint")
	return given
}

// withInputs sees the action's inputs too.
func (x *execution) withInputs(inputs []pair) evaluator {
	e := x.evaluator()
	e.source = x.use.action.Source(x.use.dir)
	e.scope.Contexts["inputs"] = object(inputs, false)
	return e
}

// containerArgs is the command line for the image's entry point.
func (x *execution) containerArgs(inputs []pair) (string, error) {
	a := x.use.action.Docker
	if a.Args == nil {
		line, _ := value(inputs, "args")
		return line, nil
	}
	values, err := x.withInputs(inputs).texts(a.Args)
	return wording.ActionArgs(values), err
}

// containerEnv is the environment: inputs and the context env win over the action's own env.
func (x *execution) containerEnv(inputs []pair) ([]pair, error) {
	own, err := x.withInputs(inputs).list(x.use.action.Docker.Env)
	if err != nil {
		return nil, err
	}
	more := inputVariables(inputs)
	for _, p := range own {
		_, given := x.lookupEnv(p.name)
		if !given && !slices.ContainsFunc(more, func(m pair) bool { return m.name == p.name }) {
			more = append(more, p)
		}
	}
	return x.variables(append(more, pair{"HOME", x.dirs.Home()})), nil
}
