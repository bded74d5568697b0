package install

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/gantry-ci/gantry/internal/runnerdir"
	"github.com/gantry-ci/gantry/internal/verdict"
)

// CheckPath says why the runner could not start a hook at this path; nil if it could. The runner puts the path
// without quotes into a command line that it splits (ScriptHandler.cs).
func CheckPath(path string) error {
	hint := "choose a folder without blanks and quotes in its path, with --hook-dir"
	switch {
	case !filepath.IsAbs(path):
		return verdict.New(verdict.Configuration, hint, "the path of the hook, %q, is not absolute", path)
	case strings.ContainsFunc(path, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`"'\`, r) }):
		return verdict.New(verdict.Configuration, hint, "the runner cannot start a hook at %q: it splits the path at blanks and quotes", path)
	}
	return nil
}

// Within tells whether path is dir or lies in it, with links followed.
func Within(path, dir string) bool {
	rel, err := filepath.Rel(real(dir), real(path))
	return err == nil && filepath.IsLocal(rel)
}

// real follows links as far as the path exists.
func real(path string) string {
	for _, existing := range runnerdir.Above(filepath.Clean(path)) {
		if resolved, err := filepath.EvalSymlinks(existing); err == nil {
			return filepath.Join(resolved, strings.TrimPrefix(path, existing))
		}
	}
	return path
}

// Misgivings are reasons not to keep a hook in a folder: each is a sentence. The folder may not exist yet.
func Misgivings(dir string, r *runnerdir.Runner) []string {
	var all []string
	if Within(dir, r.Work) {
		all = append(all, fmt.Sprintf("%s lies in the runner's work folder: every job can replace the hook", dir))
	}
	for _, above := range runnerdir.Above(real(dir)) {
		info, err := os.Stat(above)
		if err != nil {
			continue
		}
		if who := writers(info, r.UID, r.GID); who != "" {
			all = append(all, fmt.Sprintf("%s can be written by %s: whoever can do that can replace the hook", above, who))
		}
		if !mayEnter(info, r.UID, r.GID) {
			all = append(all, fmt.Sprintf("%s is closed to the runner's user (uid %d): it could not start the hook", above, r.UID))
		}
	}
	return all
}

// writers names who beside root and the runner's user and group can put files into a folder; "" for nobody.
func writers(info fs.FileInfo, uid, gid int) string {
	sys, ok := info.Sys().(*syscall.Stat_t)
	sticky := info.Mode()&fs.ModeSticky != 0
	switch {
	case info.Mode().Perm()&0o002 != 0 && !sticky:
		return "everybody"
	case info.Mode().Perm()&0o020 != 0 && !sticky && ok && sys.Gid != 0 && int(sys.Gid) != gid:
		return fmt.Sprintf("group %d", sys.Gid)
	case ok && sys.Uid != 0 && int(sys.Uid) != uid:
		return fmt.Sprintf("user %d", sys.Uid)
	}
	return ""
}

// mayEnter tells whether a user can reach what is in a folder.
func mayEnter(info fs.FileInfo, uid, gid int) bool {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok || uid == 0 {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case int(sys.Uid) == uid:
		return mode&0o100 != 0
	case int(sys.Gid) == gid:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
