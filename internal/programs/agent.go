package programs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gantry-ci/gantry/internal/verdict"
)

// CopyAgent copies the agent program to a new file below root, executable for everybody. What is there already is
// fs.ErrExist.
func CopyAgent(root *os.Root, name, program string) error {
	src, err := os.Open(program)
	if err != nil {
		return verdict.New(verdict.Configuration, "gantry and gantry-agent must lie in the same folder; reinstall with `gantry install`",
			"opening the agent program: %w", err)
	}
	defer src.Close()
	dst, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("copying the agent program: %w", err)
	}
	_, err = io.Copy(dst, src)
	if err := errors.Join(err, dst.Chmod(0o755), dst.Close()); err != nil {
		return fmt.Errorf("copying the agent program: %w", err)
	}
	return nil
}
