package ownership

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mountInfo is where the kernel tells which file systems this process sees (proc_pid_mountinfo(5)).
const mountInfo = "/proc/self/mountinfo"

// temp is the folder of the runner's work folder that may be a file system of its own and is the runner's all the same.
const temp = "_temp"

// mounted is one line of mountinfo: the folder root of the file system dev is seen at point.
type mounted struct{ dev, root, point string }

// strangers are the mounts below dir that show something else than what lies there: volumes of a workflow in a
// container, a shared tool cache on the host. Their files are not the runner's business, whosever they are. The result
// names them relative to dir.
func strangers(dir string) (map[string]bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("looking at the mounts: %w", err)
	}
	text, err := os.ReadFile(mountInfo)
	if err != nil {
		return nil, fmt.Errorf("looking at the mounts: %w", err)
	}
	mounts, err := parseMounts(string(text))
	if err != nil {
		return nil, err
	}
	return strangersAmong(mounts, dir), nil
}

// strangersAmong judges mounts in the order in which they were made. A bind mount of what would be there anyway is no
// stranger: the runner mounts parts of its work folder once more.
func strangersAmong(mounts []mounted, dir string) map[string]bool {
	strange := map[string]bool{}
	for i, m := range mounts {
		rel, err := filepath.Rel(dir, m.point)
		if err != nil || rel == "." || !filepath.IsLocal(rel) {
			continue
		}
		above := mounted{}
		for _, other := range mounts[:i] {
			if within(m.point, other.point) && len(other.point) >= len(above.point) {
				above = other
			}
		}
		same := m.dev == above.dev && m.root == filepath.Join(above.root, strings.TrimPrefix(m.point, above.point))
		parent, err := filepath.Rel(dir, above.point)
		strange[rel] = rel != temp && (!same || err == nil && strange[parent])
	}
	return strange
}

// within says whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func parseMounts(text string) ([]mounted, error) {
	var all []mounted
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			return nil, fmt.Errorf("looking at the mounts: %q is no line of %s", line, mountInfo)
		}
		root, errRoot := unescape(fields[3])
		point, errPoint := unescape(fields[4])
		if err := errors.Join(errRoot, errPoint); err != nil {
			return nil, fmt.Errorf("looking at the mounts: %w", err)
		}
		all = append(all, mounted{dev: fields[2], root: root, point: point})
	}
	return all, nil
}

// unescape undoes the kernel's octal escapes of blanks and backslashes.
func unescape(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if len(after) < 3 {
			return "", fmt.Errorf("the escape of %q is cut off", s)
		}
		n, err := strconv.ParseUint(after[:3], 8, 8)
		if err != nil {
			return "", fmt.Errorf("reading %q: %w", s, err)
		}
		b.WriteByte(byte(n))
		s = after[3:]
	}
}
