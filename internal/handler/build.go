package handler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/policy"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// readDockerfile finds the Dockerfile of an action, and the images that it is built from. GitHub's documented
// example names the file by its path in the job container.
func (h *Handler) readDockerfile(args *hook.Container) (path string, baseImages []string, err error) {
	path = args.Dockerfile
	if _, err := os.Stat(path); err != nil {
		var mounts []jobrecord.Mount
		for _, m := range args.SystemMountVolumes {
			mounts = append(mounts, jobrecord.Mount{Source: m.SourceVolumePath, Target: m.TargetVolumePath})
		}
		if host, ok := scriptstep.HostPath(mounts, path); ok {
			path = host
		}
	}
	root, err := openContext(h.Runner.Work, path)
	if err != nil {
		return "", nil, dockerfileVerdict(path, err)
	}
	defer root.Close()
	text, err := dockerfileText(root, filepath.Base(path))
	if err != nil {
		return "", nil, dockerfileVerdict(path, err)
	}
	return path, policy.BaseImages(text), nil
}

func dockerfileVerdict(path string, err error) error {
	var v *verdict.Error
	if errors.As(err, &v) {
		return err
	}
	return verdict.New(verdict.Workflow, "`runs.image` of the action names it", "reading the action's Dockerfile %s: %w", path, err)
}

// build builds the image of a Dockerfile action unless it is there, and returns its tag: a hash of everything in
// the build context, the Dockerfile's folder. So pre, main and post share one image, and the next job too.
//
// What is built is a private copy, and the tag is the copy's hash: a process of the job could change the folder after
// it was hashed, and later jobs would get that image for the unchanged action.
func (h *Handler) build(ctx context.Context, dockerfile string, baseImages []string) (string, error) {
	root, err := openContext(h.Runner.Work, dockerfile)
	if err != nil {
		return "", dockerfileVerdict(dockerfile, err)
	}
	defer root.Close()
	name := filepath.Base(dockerfile)
	hash, err := contextHash(root, name)
	if err != nil {
		return "", contextVerdict(err)
	}
	if has, err := h.Engine.HasImage(ctx, actionTag(hash)); err == nil && has { // if it cannot be told, the image is built
		return actionTag(hash), nil
	}
	dir, err := os.MkdirTemp(h.Store.Dir, buildPrefix+"*") // 0700, where no job can write
	if err != nil {
		return "", contextVerdict(err)
	}
	defer h.say(func() error { return removeCopy(dir) })
	if err := copyContext(dir, root); err != nil {
		return "", contextVerdict(err)
	}
	tag, err := h.buildCopy(ctx, dir, name, baseImages)
	if err != nil {
		return "", fmt.Errorf("the image of %s: %w", dockerfile, err)
	}
	return tag, nil
}

// buildCopy builds from a folder that nobody else can change, if its base images are those that have been allowed.
func (h *Handler) buildCopy(ctx context.Context, dir, name string, baseImages []string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", contextVerdict(err)
	}
	defer root.Close()
	text, err := dockerfileText(root, name)
	if err != nil {
		return "", contextVerdict(err)
	}
	if !slices.Equal(policy.BaseImages(text), baseImages) {
		return "", verdict.New(verdict.Workflow, "does a process of an earlier step still change it?", "the action's %s was changed while its image was about to be built", name)
	}
	hash, err := contextHash(root, name)
	if err != nil {
		return "", contextVerdict(err)
	}
	labels := map[string]string{LabelRunner: h.Runner.ID, LabelRole: roleImage, LabelState: StateID(h.Store.Dir)}
	return actionTag(hash), h.Engine.Build(ctx, engine.BuildSpec{
		Tag: actionTag(hash), Dockerfile: filepath.Join(dir, name), Context: dir, Labels: labels, Timeout: h.Config.Timeouts.Build,
	}, h.Log)
}

func actionTag(hash string) string { return "gantry-action:" + hash[:32] }

func contextVerdict(err error) error {
	if isNoSpace(err) {
		return spaceVerdict(fmt.Errorf("reading the build context: %w", err))
	}
	return verdict.New(verdict.Workflow, "can the runner's user read all files of the action?", "reading the build context: %w", err)
}

// buildPrefix begins the names of copied contexts in the state folder.
const buildPrefix = "build-"

// longestBuild is how long a copied context is surely not in use any more.
const longestBuild = 24 * time.Hour

// forgetCopies deletes copied contexts of hooks that were killed.
func (h *Handler) forgetCopies() error {
	names, err := filepath.Glob(filepath.Join(h.Store.Dir, buildPrefix+"*"))
	if err != nil {
		return fmt.Errorf("listing copies of build contexts: %w", err)
	}
	var all []error
	for _, name := range names {
		if st, err := os.Lstat(name); err == nil && time.Since(st.ModTime()) > longestBuild {
			all = append(all, removeCopy(name))
		}
	}
	return errors.Join(all...)
}

// removeCopy deletes a copied context, in which folders may not be writable.
func removeCopy(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("deleting the copy of a build context: %w", err)
	}
	return nil
}
