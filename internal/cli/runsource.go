package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/internal/verdict"
)

// source is the repository that a workflow is part of.
type source struct {
	root  string // absolute
	files fs.FS  // of root
	file  string // the workflow below root, with slashes
	git   gitFacts
}

// gitFacts are what git says of the checkout; empty where it is none.
type gitFacts struct{ sha, ref, repository, user string }

// findSource finds the workflow that is meant, and its repository.
func (p *Process) findSource(ctx context.Context, workflow string) (*source, error) {
	path, err := p.workflowPath(workflow)
	if err != nil {
		return nil, err
	}
	root := repositoryOf(path, p.Dir)
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return nil, verdict.New(verdict.Bug, "", "finding %s below %s: %w", path, root, err)
	}
	return &source{root: root, files: os.DirFS(root), file: filepath.ToSlash(rel), git: p.askGit(ctx, root)}, nil
}

// workflowPath is the absolute path of the workflow: the named one, or the only one.
func (p *Process) workflowPath(workflow string) (string, error) {
	if workflow != "" {
		path := p.abs(workflow)
		if _, err := os.Stat(path); err != nil {
			return "", &usageError{fmt.Errorf("reading the workflow: %w", err)}
		}
		return path, nil
	}
	dir := filepath.Join(repositoryOf(filepath.Join(p.Dir, "x"), p.Dir), ".github", "workflows")
	var all []string
	for _, pattern := range []string{"*.yml", "*.yaml"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", verdict.New(verdict.Bug, "", "looking for workflows: %w", err)
		}
		all = append(all, found...)
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return "", usagef("there is no workflow in %s; name a file", dir)
	}
	var names []string
	for _, path := range all {
		name, err := filepath.Rel(p.Dir, path)
		if err != nil {
			name = path
		}
		names = append(names, name)
	}
	return "", usagef("there are several workflows; name one of:\n  %s", strings.Join(names, "\n  "))
}

// repositoryOf is the folder of the checkout that a workflow is part of: the one with .git, else the one with
// .github/workflows, else the current one if the workflow is below it, else the workflow's own.
func repositoryOf(workflow, current string) string {
	dir := filepath.Dir(workflow)
	for above := dir; ; above = filepath.Dir(above) {
		if _, err := os.Lstat(filepath.Join(above, ".git")); err == nil {
			return above
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if strings.HasSuffix(dir, filepath.Join(".github", "workflows")) {
		return filepath.Dir(filepath.Dir(dir))
	}
	if below, err := filepath.Rel(current, workflow); err == nil && filepath.IsLocal(below) {
		return current
	}
	return dir
}

// askGit asks git about a checkout. Where there is no git, or none that answers, facts are missing.
func (p *Process) askGit(ctx context.Context, root string) gitFacts {
	if _, err := os.Lstat(filepath.Join(root, ".git")); errors.Is(err, fs.ErrNotExist) {
		return gitFacts{}
	}
	git := func(args ...string) string {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
		cmd.Env = p.Environ
		out, err := cmd.Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	facts := gitFacts{user: git("config", "user.name"), repository: repositoryName(git("config", "remote.origin.url"))}
	facts.sha, facts.ref, _ = strings.Cut(git("rev-parse", "HEAD", "--symbolic-full-name", "HEAD"), "\n")
	if !strings.HasPrefix(facts.ref, "refs/") {
		facts.ref = ""
	}
	return facts
}

// repositoryName is OWNER/REPO of the URL of a remote; "" if it has none.
func repositoryName(url string) string {
	parts := strings.FieldsFunc(strings.TrimSuffix(url, ".git"), func(r rune) bool { return r == '/' || r == ':' })
	if len(parts) < 3 {
		return ""
	}
	return strings.Join(parts[len(parts)-2:], "/")
}
