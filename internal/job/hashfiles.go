package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// hashFiles is the function of expressions: the hash of the hashes of the files of the workspace that match, "" if
// none does (HashFilesFunction.cs). It reads the files on the host.
func (x *execution) hashFiles(patterns []string) (string, error) {
	var rules []fileRule
	for _, pattern := range patterns {
		if strings.HasPrefix(pattern, "--") {
			continue // symbolic links to files are followed in any case
		}
		for line := range strings.Lines(pattern) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				rules = append(rules, newFileRule(line, x.dirs.Workspace))
			}
		}
	}
	total, found := sha256.New(), false
	err := filepath.WalkDir(x.dirs.Workspace, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !matches(rules, path) {
			return err
		}
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			return err
		}
		found = true
		return hashFile(total, path)
	})
	if err != nil || !found {
		return "", err
	}
	return hex.EncodeToString(total.Sum(nil)), nil
}

func hashFile(into io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("hashing files: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return fmt.Errorf("hashing %s: %w", path, err)
	}
	_, err = into.Write(hash.Sum(nil))
	return err
}

// fileRule is one pattern of @actions/glob; the last one that matches decides.
type fileRule struct {
	exclude bool
	pattern *regexp.Regexp
}

func matches(rules []fileRule, path string) bool {
	match := false
	for _, rule := range rules {
		if rule.pattern.MatchString(path) {
			match = !rule.exclude
		}
	}
	return match
}

// newFileRule reads a pattern: "*" and "?" stop at "/", "**" does not, a folder stands for all that is in it.
func newFileRule(pattern, workspace string) fileRule {
	rule := fileRule{}
	pattern, rule.exclude = strings.CutPrefix(pattern, "!")
	if !filepath.IsAbs(pattern) {
		pattern = workspace + "/" + strings.TrimPrefix(pattern, "./")
	}
	var re strings.Builder
	for rest := strings.TrimSuffix(pattern, "/"); rest != ""; {
		part, n := wildcard(rest)
		re.WriteString(part)
		rest = rest[n:]
	}
	rule.pattern = regexp.MustCompile("^" + strings.ToValidUTF8(re.String(), ".") + "(/.*)?$")
	return rule
}

// wildcard gives the regular expression for what s begins with, and how long that is.
func wildcard(s string) (string, int) {
	switch {
	case strings.HasPrefix(s, "**/"):
		return "(.*/)?", 3
	case strings.HasPrefix(s, "**"):
		return ".*", 2
	case s[0] == '*':
		return "[^/]*", 1
	case s[0] == '?':
		return "[^/]", 1
	}
	return regexp.QuoteMeta(s[:1]), 1
}
