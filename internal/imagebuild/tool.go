package imagebuild

import (
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/imagebuild/buildguard"
	"github.com/gantry-ci/gantry/internal/programs"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// tool is all that the two builders do not have in common.
type tool struct {
	name    string // for people
	program string
	// probe is a small task that tells whether one way of working works here; nil: there is only one.
	probe func(plan) buildguard.Task
	// task builds and pushes; worked tells how the probe went.
	task func(p plan, worked bool) buildguard.Task
	// pushes tells whether a command of the task that failed, with these last words, was pushing.
	pushes   func(command int, complaint string) bool
	patterns []pattern
}

// plan is what a task is made of.
type plan struct {
	cfg      Config
	env      environment
	path     string // of the program
	dir      string // the folder of the task
	spec     engine.BuildSpec
	image    image
	accounts string // the text of a config.json
}

// Tool tells what would build, and with which program. It asks nobody.
func (b *Builder) Tool() (name, program string, err error) {
	chosen, program, err := b.tool()
	return chosen.name, program, err
}

// tool chooses the builder and finds its program.
func (b *Builder) tool() (tool, string, error) {
	chosen := buildah()
	if b.cfg.Tool == "buildctl" || b.cfg.Tool == "" && b.cfg.Address != "" {
		chosen = buildkit()
	}
	if chosen.program == "buildctl" && b.cfg.Address == "" {
		return tool{}, "", verdict.New(verdict.Configuration, "set kubernetes.build.address in gantry.yaml, or BUILDKIT_HOST in the runner's environment, "+
			"to where buildkitd listens: tcp://buildkitd:1234", "images are to be built with BuildKit, but nobody says where it is")
	}
	if b.cfg.Path != "" {
		if _, err := os.Stat(b.cfg.Path); err != nil {
			return tool{}, "", verdict.New(verdict.Configuration, "correct kubernetes.build.path in gantry.yaml", "looking for %s: %w", chosen.program, err)
		}
		return chosen, b.cfg.Path, nil
	}
	path, err := programs.Find(chosen.program, b.path)
	if err != nil {
		return tool{}, "", verdict.New(verdict.Configuration, chosen.missingHint(), "there is nothing here that builds images: %w", err)
	}
	return chosen, path, nil
}

func (t tool) missingHint() string {
	if t.program == "buildctl" {
		return "put buildctl into the runner's image (it is in the image moby/buildkit, /usr/bin/buildctl), or name it in kubernetes.build.path"
	}
	return "put buildah into the runner's image (Debian and Ubuntu: apt-get install buildah), or let a BuildKit build: put buildctl into the image " +
		"and set kubernetes.build.address"
}

// below joins names to the task's folder.
func (p plan) below(names ...string) string {
	return filepath.Join(append([]string{p.dir}, names...)...)
}

// buildahEnv is the environment of buildah: none of the job's, which could steer it.
func (p plan) buildahEnv() environment {
	env := environment{
		"PATH=" + programs.Path, "HOME=" + p.below("home"), "TMPDIR=" + p.below("tmp"),
		"XDG_RUNTIME_DIR=" + p.below("run"), "LANG=C.UTF-8",
	}
	env = append(env, p.env.only(proxies()...)...)
	env = append(env, p.env.only(certificates()...)...)
	return append(env, p.env.only("CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF")...)
}
