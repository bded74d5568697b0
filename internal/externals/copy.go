package externals

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/safefs"
)

// copyBelow copies a program to rel below work, where jobs write too. Folders on the way are made; others' are refused,
// and links are not followed. The copy is read back before it takes its name.
func copyBelow(work, rel, source string) error {
	if err := makeFolders(work, path.Dir(rel)); err != nil {
		return err
	}
	src, err := os.Open(source)
	if err != nil {
		return err
	}
	defer src.Close()
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer root.Close()
	temp := rel + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dst, err := safefs.OpenFile(work, temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return err
	}
	err = fill(dst, src)
	if err = errors.Join(err, dst.Close()); err == nil {
		err = root.Rename(temp, rel)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}

// fill copies src to dst and reads it back.
func fill(dst, src *os.File) error {
	written, read := sha256.New(), sha256.New()
	if _, err := io.Copy(io.MultiWriter(dst, written), src); err != nil {
		return err
	}
	if err := dst.Chmod(0o755); err != nil {
		return err
	}
	if _, err := dst.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(read, dst); err != nil {
		return err
	}
	if !bytes.Equal(written.Sum(nil), read.Sum(nil)) {
		return errors.New("the copy differs from what was written")
	}
	return nil
}

// errForeign: somebody else has made a folder where ours are to be.
var errForeign = errors.New("the folder is not the runner's own")

// makeFolders makes the folders on the way to programs, from the first that is missing on. The last ones must be this
// user's and nobody else may write there: those that are not ours to begin with lie above.
func makeFolders(work, rel string) error {
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer root.Close()
	made := ""
	own := false
	for part := range strings.SplitSeq(rel, "/") {
		made = path.Join(made, part)
		own = own || part == Dir
		err := root.Mkdir(made, 0o755)
		if err == nil {
			err = root.Chmod(made, 0o755) // whatever the umask is
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if !own {
			continue
		}
		info, err := root.Lstat(made)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
			return fmt.Errorf("%s: %w", made, errForeign)
		}
	}
	return nil
}
