package handler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/engine"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/policy"
	"github.com/gantry-ci/gantry/internal/scriptstep"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// readDockerfile finds the Dockerfile of an action, and the images that it is built from. GitHub's documented
// example names the file by its path in the job container.
func readDockerfile(args *hook.Container) (path string, baseImages []string, err error) {
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
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, verdict.New(verdict.Workflow, "`runs.image` of the action names it", "reading the action's Dockerfile: %w", err)
	}
	return path, policy.BaseImages(string(text)), nil
}

// build builds the image of a Dockerfile action unless it is there, and returns its tag: a hash of everything in
// the build context, the Dockerfile's folder. So pre, main and post share one image, and the next job too.
func (h *Handler) build(ctx context.Context, dockerfile string) (string, error) {
	dir := filepath.Dir(dockerfile)
	hash, err := contextHash(dir, filepath.Base(dockerfile))
	if err != nil {
		return "", verdict.New(verdict.Infrastructure, "", "reading the build context: %w", err)
	}
	tag := "gantry-action:" + hash[:32]
	labels := map[string]string{LabelRunner: h.Runner.ID, LabelRole: roleImage, LabelState: StateID(h.Store.Dir)}
	return tag, h.Engine.Build(ctx, engine.BuildSpec{
		Tag: tag, Dockerfile: dockerfile, Context: dir, Labels: labels, Timeout: h.Config.Timeouts.Build,
	}, h.Log)
}

// contextHash is the hash of a folder's content: names, kinds, permission bits, link targets and bytes, and which
// of the files is the Dockerfile.
func contextHash(dir, dockerfile string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", dockerfile)
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %v\n", name, info.Mode())
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := root.Readlink(name)
			fmt.Fprintf(sum, "%q\n", target)
			return err
		case d.Type().IsRegular():
			return hashFile(sum, root, name, info.Size())
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func hashFile(w io.Writer, root *os.Root, name string, size int64) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d\n", size)
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}
