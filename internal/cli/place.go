package cli

import (
	"errors"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/config"
	"github.com/gantry-ci/gantry/internal/install"
	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// place is where a command for people looks: a runner, if one is found, and the environment that its hook has.
type place struct {
	runner  *runnerdir.Runner // nil for none
	environ []string          // of this process, with the runner's above it
	hookDir string            // where the runner's hook lies, else this program
}

// place finds the runner that is meant: by flag, by $GANTRY_RUNNER_DIR, by the current directory, by $RUNNER_TEMP.
// It is an error only if the flag is wrong, or a file cannot be read.
func (p *Process) place(flag string) (*place, error) {
	runner, err := p.findRunner(flag)
	here := filepath.Dir(p.Executable)
	if err != nil || runner == nil {
		return &place{environ: p.Environ, hookDir: here}, err
	}
	env, err := runnerdir.ReadEnv(runner.EnvPath())
	if err != nil {
		return nil, verdict.New(verdict.Configuration, "run this as the runner's user", "%w", err)
	}
	if hook, ok := env.Get(install.HookVariable); ok && filepath.IsAbs(hook) {
		here = filepath.Dir(hook)
	}
	return &place{runner: runner, environ: env.Over(p.Environ), hookDir: here}, nil
}

// work is the runner's work folder; "" without a runner.
func (p *place) work() string {
	if p.runner == nil {
		return ""
	}
	return p.runner.Work
}

// sources say where the hook there looks for its configuration; flag is the value of --config.
func (p *place) sources(flag string) config.Sources {
	return config.Sources{Flag: flag, Candidates: config.Candidates(p.hookDir), Environ: p.environ}
}

func (p *Process) findRunner(flag string) (*runnerdir.Runner, error) {
	if flag != "" {
		runner, err := runnerdir.Open(p.abs(flag))
		if err != nil {
			return nil, verdict.New(verdict.Configuration, "name the folder that the runner was unpacked into, where config.sh and run.sh are", "%w", err)
		}
		return runner, nil
	}
	candidates := []string{p.Getenv("GANTRY_RUNNER_DIR")}
	candidates = append(candidates, runnerdir.Above(p.Dir)...)
	if temp := p.Getenv("RUNNER_TEMP"); temp != "" {
		candidates = append(candidates, runnerdir.Above(temp)...)
	}
	runner, err := runnerdir.Find(candidates...)
	if errors.Is(err, runnerdir.ErrNone) {
		return nil, nil
	}
	return runner, err
}
