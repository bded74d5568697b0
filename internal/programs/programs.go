// Package programs finds programs where a job cannot put them: a step can prepend folders to the PATH of the hooks that
// come after it.
package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Path lists the directories of the system's programs, as the variable PATH does.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Find gives the absolute path of a program in the directories of path.
func Find(program, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, program)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is in none of %s", program, strings.Join(filepath.SplitList(path), ", "))
}
