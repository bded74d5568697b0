package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/internal/job/fetch"
	"github.com/gantry-ci/gantry/internal/workflow"
)

// checkoutAction is what is known of actions/checkout.
func checkoutAction() *workflow.Action {
	return &workflow.Action{Name: "Checkout", Inputs: []workflow.Input{{Name: "repository"}, {Name: "ref"}, {Name: "path"}}}
}

// checkout stands in for actions/checkout: it copies the folder that stands for the repository.
func (x *execution) checkout(ctx context.Context, inputs []pair) error {
	path, _ := value(inputs, "path")
	into := filepath.Join(x.dirs.Workspace, path)
	if path != "" && !strings.HasPrefix(into+"/", x.dirs.Workspace+"/") {
		return fmt.Errorf("Repository path '%s' is not under '%s'", into, x.dirs.Workspace)
	}
	repository, _ := value(inputs, "repository")
	if repository != "" && !strings.EqualFold(repository, x.member("repository")) {
		return x.checkoutOther(ctx, repository, into, inputs)
	}
	if ref, _ := value(inputs, "ref"); ref != "" && ref != x.member("ref") && ref != x.member("sha") {
		x.log.warning(fmt.Sprintf("gantry takes the files of %s as they are; the ref %s is not checked out", x.opts.Source, ref))
	}
	if x.opts.Source == "" {
		return fmt.Errorf("actions/checkout: no folder is given that stands for the repository %s", x.member("repository"))
	}
	n, err := fetch.Source{Dir: x.opts.Source, Except: x.opts.Root, Env: x.opts.Environ}.Copy(ctx, into)
	if err != nil {
		return fmt.Errorf("actions/checkout: %w", err)
	}
	x.log.line(fmt.Sprintf("gantry stands in for actions/checkout: %d files of %s are in %s", n, x.opts.Source, into))
	return nil
}

// checkoutOther clones another repository.
func (x *execution) checkoutOther(ctx context.Context, repository, into string, inputs []pair) error {
	owner, repo, _ := strings.Cut(repository, "/")
	ref, _ := value(inputs, "ref")
	if ref == "" {
		ref = "HEAD"
	}
	x.log.line(fmt.Sprintf("gantry stands in for actions/checkout: %s at %s", repository, ref))
	dir, err := x.fetcher.Fetch(ctx, owner, repo, ref)
	if err != nil {
		return fmt.Errorf("actions/checkout: %w", err)
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	_, err = fetch.Source{Dir: dir, Env: x.opts.Environ}.Copy(ctx, into)
	return err
}
