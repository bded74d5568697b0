// Package fetch gets the files of repositories: actions from a mirror or a server, and the job's own source.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gantry-ci/gantry/internal/job/process"
)

// Fetcher gets actions of repositories. It may be used by several goroutines at once.
type Fetcher struct {
	// Mirror is a folder with OWNER/REPO/REF or OWNER/REPO@REF; "" for none.
	Mirror string
	// ServerURL is a git server, which has the repository at ServerURL/OWNER/REPO; "" for none.
	ServerURL string
	Into      string   // the runner's _actions
	Env       []string // of git
	mu        sync.Mutex
}

// Fetch gives the folder of a repository at a ref: Into/OWNER/REPO/REF. It is made once.
func (f *Fetcher) Fetch(ctx context.Context, owner, repo, ref string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range []string{owner, repo, ref} {
		if name == "" || !filepath.IsLocal(name) {
			return "", fmt.Errorf("%s/%s@%s is no name of an action", owner, repo, ref)
		}
	}
	into := filepath.Join(f.Into, owner, repo, ref)
	if _, err := os.Stat(into); err == nil {
		return into, nil
	}
	found, err := f.fromMirror(owner, repo, ref, into)
	if err == nil && !found {
		err = f.fromServer(ctx, owner, repo, ref, into)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(into))
	}
	return into, nil
}

// candidates are where the mirror can have a repository.
func (f *Fetcher) candidates(owner, repo, ref string) []string {
	if f.Mirror == "" {
		return nil
	}
	return []string{filepath.Join(f.Mirror, owner, repo, ref), filepath.Join(f.Mirror, owner, repo+"@"+ref)}
}

func (f *Fetcher) fromMirror(owner, repo, ref, into string) (bool, error) {
	for _, dir := range f.candidates(owner, repo, ref) {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if _, err := copyTree(dir, into, func(string) bool { return false }); err != nil {
			return true, fmt.Errorf("copying the action %s/%s@%s: %w", owner, repo, ref, err)
		}
		return true, nil
	}
	return false, nil
}

func (f *Fetcher) fromServer(ctx context.Context, owner, repo, ref, into string) error {
	if f.ServerURL == "" {
		return f.missing(owner, repo, ref)
	}
	url := strings.TrimSuffix(f.ServerURL, "/") + "/" + owner + "/" + repo
	if err := os.MkdirAll(into, 0o755); err != nil {
		return fmt.Errorf("making the folder of an action: %w", err)
	}
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"fetch", "--quiet", "--depth", "1", url, ref},
		{"-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"},
	} {
		if err := git(ctx, f.Env, into, args...); err != nil {
			return fmt.Errorf("getting %s/%s@%s from %s: %w", owner, repo, ref, f.ServerURL, err)
		}
	}
	return nil
}

// missing says what can be done about an action that is nowhere.
func (f *Fetcher) missing(owner, repo, ref string) error {
	action := owner + "/" + repo + "@" + ref
	if f.Mirror == "" {
		return fmt.Errorf("the action %s cannot be found: give a folder that has %s/%s/%s (--actions-dir), or a git server (--server-url)",
			action, owner, repo, ref)
	}
	return fmt.Errorf("the action %s is not in %s, neither as %s/%s/%s nor as %s, and no git server is given (--server-url)",
		action, f.Mirror, owner, repo, ref, action)
}

func git(ctx context.Context, env []string, dir string, args ...string) error {
	cmd, err := gitCommand(ctx, env, dir, args...)
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

func gitCommand(ctx context.Context, env []string, dir string, args ...string) (*exec.Cmd, error) {
	program, err := process.Which("git", nil, process.Lookup(env, "PATH"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(append([]string{}, env...), "GIT_TERMINAL_PROMPT=0")
	return cmd, nil
}

// Source is a folder that stands for a repository.
type Source struct {
	Dir    string
	Except string   // a folder that is left out, wherever it is; "" for none
	Env    []string // of git
}

// Copy copies the folder: of a git repository what git knows and what it does not ignore, with .git; else everything.
// It gives the number of files without those of .git.
func (s Source) Copy(ctx context.Context, into string) (int, error) {
	except, err := filepath.Abs(s.Except)
	if err != nil || s.Except == "" {
		except = ""
	}
	skip := func(path string) bool { return except != "" && path == except }
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return 0, fmt.Errorf("finding the source: %w", err)
	}
	files, ok := s.listed(ctx, dir)
	if !ok {
		return copyTree(dir, into, skip)
	}
	n := 0
	for _, file := range files {
		path := filepath.Join(dir, file)
		if except != "" && strings.HasPrefix(path, except+"/") || !exists(path) {
			continue
		}
		if err := copyEntry(path, filepath.Join(into, file)); err != nil {
			return n, err
		}
		n++
	}
	_, err = copyTree(filepath.Join(dir, ".git"), filepath.Join(into, ".git"), skip)
	return n, err
}

// listed are the files that git lists; false if the folder is not the top of a repository.
func (s Source) listed(ctx context.Context, dir string) ([]string, bool) {
	if info, err := os.Stat(filepath.Join(dir, ".git")); err != nil || !info.IsDir() {
		return nil, false
	}
	cmd, err := gitCommand(ctx, s.Env, dir, "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, false
	}
	out, err := cmd.Output()
	if err != nil {
		return nil, false
	}
	return strings.FieldsFunc(string(out), func(c rune) bool { return c == 0 }), true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
