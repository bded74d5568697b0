package tree

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// Sentinels for decisions.
var (
	// ErrChanged: what is there has changed since the other side last heard of it.
	ErrChanged = errors.New("it has changed meanwhile")
	// ErrCorrupt: what has arrived is not what was sent.
	ErrCorrupt = errors.New("what has arrived is not what was sent")
)

// Terms say when a change of the other side's may replace what is here.
type Terms struct {
	// Force: always. Else only what has not changed after the change with the number Since.
	Force bool
	Since uint64
}

// Make makes a folder or a link, or removes what is at a path. Making a file is for Create. A folder in which something
// is left is not removed, and that is no error: somebody has put it there whom nobody asked.
func (t *Tree) Make(c Change, terms Terms) error {
	if err := c.Check(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.mayChange(c.Path, terms); err != nil {
		return err
	}
	if err := t.make(c); err != nil {
		return fmt.Errorf("changing %s: %w", c.Path, err)
	}
	return nil
}

func (t *Tree) make(c Change) error {
	dir, err := t.parentOf(c.Path, c.Kind != Gone)
	if c.Kind == Gone && notThere(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer syscall.Close(dir)
	name := path.Base(c.Path)
	switch c.Kind {
	case Gone:
		err = t.unlink(dir, c.Path)
	case Folder:
		err = t.makeFolder(dir, c)
	case Link:
		if err = t.clear(dir, c.Path); err == nil {
			err = symlinkAt(c.Target, dir, name)
		}
	default:
		err = fmt.Errorf("%c is nothing that can be made", c.Kind)
	}
	t.lookAgain(dir, c.Path)
	return err
}

func notThere(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
}

func (t *Tree) mayChange(p string, terms Terms) error {
	if !terms.Force && t.changedSince(p, terms.Since) {
		return fmt.Errorf("leaving %s alone: %w", p, ErrChanged)
	}
	return nil
}

// makeFolder makes a folder, or gives one that is there its mode.
func (t *Tree) makeFolder(dir int, c Change) error {
	name := path.Base(c.Path)
	var st syscall.Stat_t
	if err := lstatAt(dir, name, &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		if err := t.clear(dir, c.Path); err != nil {
			return err
		}
		if err := syscall.Mkdirat(dir, name, 0o700); err != nil {
			return err
		}
	}
	fd, err := openAt(dir, name, openFolder)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	return syscall.Fchmod(fd, uint32(c.Mode)|0o700)
}

// parentOf opens the folder that a path lies in. If it is to be made, whatever is in the way of it goes.
func (t *Tree) parentOf(p string, make bool) (int, error) {
	above := path.Dir(p)
	if above == "." {
		return openAt(t.root, ".", openFolder)
	}
	fd, err := openBelow(t.root, above, openFolder)
	if !make || !notThere(err) {
		return fd, err
	}
	dir, err := t.parentOf(above, true)
	if err != nil {
		return -1, err
	}
	defer syscall.Close(dir)
	if err := t.makeFolder(dir, Change{Path: above, Entry: Entry{Kind: Folder, Mode: 0o755}}); err != nil {
		return -1, err
	}
	t.lookAgain(dir, above)
	return openAt(dir, path.Base(above), openFolder)
}

// clear makes room for something else at a path. Of a folder it removes what is known to be in it, and no more.
func (t *Tree) clear(dir int, p string) error {
	if n := t.top.find(p); n != nil && n.folder != nil {
		if err := t.clearFolder(dir, n); err != nil && !notThere(err) {
			return err
		}
	}
	name := path.Base(p)
	err := unlinkAt(dir, name, 0)
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.EPERM) {
		err = unlinkAt(dir, name, atRemoveDir)
	}
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	if n := t.top.find(p); n != nil {
		t.drop(n, false) // the other side wants it so
		delete(n.parent.children, n.name)
	}
	return nil
}

func (t *Tree) clearFolder(dir int, n *node) error {
	fd, err := openAt(dir, n.name, openFolder)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for name, c := range n.children {
		if c.folder != nil {
			if err := t.clearFolder(fd, c); err != nil && !notThere(err) {
				return err
			}
			err = unlinkAt(fd, name, atRemoveDir)
		} else {
			err = unlinkAt(fd, name, 0)
		}
		if err != nil && !notThere(err) {
			return err
		}
	}
	return nil
}

// unlink removes a file, a link or an empty folder. What is of another kind was never known to the other side.
func (t *Tree) unlink(dir int, p string) error {
	name := path.Base(p)
	var st syscall.Stat_t
	err := lstatAt(dir, name, &st)
	if err == nil {
		e, ok := entryOf(&st)
		switch {
		case !ok:
			return nil
		case e.Kind == Folder:
			err = unlinkAt(dir, name, atRemoveDir)
		default:
			err = unlinkAt(dir, name, 0)
		}
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

// lookAgain brings the tree's knowledge of a path up to date after a change by the other side, which needs not be told.
func (t *Tree) lookAgain(dir int, p string) {
	if parent := t.looksInto(p); parent != nil {
		t.look(parent, dir, path.Base(p))
		t.unlog(p)
	}
}

// looksInto is the known folder of a path that this side looks at; nil for other paths.
func (t *Tree) looksInto(p string) *node {
	above := path.Dir(p)
	if above == "." {
		above = ""
	}
	n := t.top.find(above)
	if n == nil || n.folder == nil || !t.opts.Side.looksAt(t.book.flow(n.flow, p)) {
		return nil
	}
	return n
}

// Writer makes a file: it has another name until it is whole, and takes its own in one step.
type Writer struct {
	t     *Tree
	c     Change
	mtime int64
	terms Terms
	dir   int
	temp  string
	file  *os.File
	hash  hash.Hash
	n     int64 // what has been written,
	room  int64 // and up to where there is room for sure
}

// Create begins to make a file. What is at its path stays until Commit.
func (t *Tree) Create(c Change, mtime int64, terms Terms) (*Writer, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	w := &Writer{t: t, c: c, mtime: mtime, terms: terms, temp: TempPrefix + strings.ToLower(rand.Text()), hash: sha256.New()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.mayChange(c.Path, terms); err != nil {
		return nil, err
	}
	dir, err := t.parentOf(c.Path, true)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", c.Path, err)
	}
	fd, err := openAt(dir, w.temp, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", c.Path, err), syscall.Close(dir))
	}
	w.dir, w.file = dir, os.NewFile(uintptr(fd), c.Path)
	t.temps[w.temp] = true
	return w, nil
}

// roomStep is how much is written before it is looked again whether there is room.
const roomStep = 16 << 20

// findRoom sees to it that the reserve is left.
func (w *Writer) findRoom(n int) error {
	if w.t.opts.Reserve == 0 || w.n+int64(n) <= w.room {
		return nil
	}
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(w.file.Fd()), &st); err != nil {
		return err
	}
	if !spares(&st, w.t.opts.Reserve) {
		return syscall.ENOSPC
	}
	w.room = w.n + max(int64(n), roomStep)
	return nil
}

// spares says whether a disk has more room than the reserve, as far as it says.
func spares(st *syscall.Statfs_t, reserve int64) bool {
	size := uint64(max(st.Bsize, 1))
	return st.Blocks == 0 || st.Bavail > min(uint64(reserve)/size, st.Blocks/20)
}

// Written is how much has been written.
func (w *Writer) Written() int64 { return w.n }

// Write appends to the file. Where there is nothing but zeros, it leaves a hole: a file may be much longer than what it
// takes on the disk.
func (w *Writer) Write(p []byte) (int, error) {
	wrote := 0
	for wrote < len(p) {
		n, zero := run(p[wrote:], w.n)
		if part := p[wrote : wrote+n]; !zero {
			err := w.findRoom(n)
			if err == nil {
				_, err = w.file.WriteAt(part, w.n)
			}
			if err != nil {
				return wrote, fmt.Errorf("writing %s: %w", w.c.Path, err)
			}
		}
		w.hash.Write(p[wrote : wrote+n])
		w.n += int64(n)
		wrote += n
	}
	return wrote, nil
}

// hole is the smallest hole, and what holes are multiples of.
const hole = 16 << 10

// run is how many bytes at the start of p, which belong at an offset, can be written at once, or left out because all are
// zero.
func run(p []byte, offset int64) (n int, zero bool) {
	for n < len(p) {
		next := min(len(p), n+int(hole-(offset+int64(n))%hole))
		if z := zeros(p[n:next]); n == 0 {
			zero = z
		} else if z != zero {
			break
		}
		n = next
	}
	return n, zero
}

// zeros says that all bytes are zero.
func zeros(p []byte) bool { return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1]) }

// Abort removes what has been written. After Commit it does nothing.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	_ = unlinkAt(w.dir, w.temp, 0) // nobody's but ours
	w.release()
}

func (w *Writer) release() {
	_ = w.file.Close() // errors of writing have been seen
	_ = syscall.Close(w.dir)
	w.file = nil
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	delete(w.t.temps, w.temp)
}

// Commit gives the file its mode, its time and its name, if its content has the hash that it was sent with.
func (w *Writer) Commit(sent Hash) error {
	defer w.Abort()
	w.c.Size = w.n
	w.hash.Sum(w.c.Hash[:0])
	if w.c.Hash != sent {
		return fmt.Errorf("writing %s: %w", w.c.Path, ErrCorrupt)
	}
	w.c.Mode |= 0o400
	fd := int(w.file.Fd())
	if err := errors.Join(syscall.Ftruncate(fd, w.n), syscall.Fchmod(fd, uint32(w.c.Mode)), setTimes(fd, w.mtime)); err != nil {
		return fmt.Errorf("writing %s: %w", w.c.Path, err)
	}
	if err := w.rename(); err != nil {
		return fmt.Errorf("writing %s: %w", w.c.Path, err)
	}
	return nil
}

func (w *Writer) rename() error {
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.mayChange(w.c.Path, w.terms); err != nil {
		return err
	}
	name := path.Base(w.c.Path)
	err := syscall.Renameat(w.dir, w.temp, w.dir, name)
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		if err = t.clear(w.dir, w.c.Path); err == nil {
			err = syscall.Renameat(w.dir, w.temp, w.dir, name)
		}
	}
	if err != nil {
		return err
	}
	return t.adopt(w)
}

// adopt makes the file known as it was written, unless somebody has changed it already: then it is looked at again.
func (t *Tree) adopt(w *Writer) error {
	parent := t.looksInto(w.c.Path)
	if parent == nil {
		return nil
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(w.file.Fd()), &st); err != nil {
		return err
	}
	name := path.Base(w.c.Path)
	if old := parent.children[name]; old != nil {
		t.drop(old, false)
	}
	n := t.add(parent, name, w.c.Entry, identOf(&st))
	n.racy = n.id.racy(time.Now())
	if n.id.size != w.c.Size || n.id.mtime != w.mtime {
		n.racy = true
		t.readSoon(n)
	}
	t.unlog(w.c.Path)
	return nil
}

// sweep removes what a writer has left behind that was killed.
func (t *Tree) sweep(dir int, name string) {
	if !t.temps[name] {
		_ = unlinkAt(dir, name, 0) // somebody else's folder of that name stays
	}
}

// Adjust gives a file its mode if it has the content already, and says so. Terms are those of Create.
func (t *Tree) Adjust(c Change, terms Terms) (have bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.top.find(c.Path)
	if n == nil || !n.entry.SameContent(c.Entry) {
		return false, nil
	}
	if n.entry.Mode == c.Mode {
		return true, nil
	}
	if err := t.mayChange(c.Path, terms); err != nil {
		return true, err
	}
	fd, err := openBelow(t.root, c.Path, syscall.O_RDONLY)
	if err != nil {
		return false, nil // something else by now: the whole file is needed
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil || identOf(&st) != n.id {
		return false, nil
	}
	if err := syscall.Fchmod(fd, uint32(c.Mode)|0o400); err != nil {
		return true, fmt.Errorf("changing the mode of %s: %w", c.Path, err)
	}
	if err := syscall.Fstat(fd, &st); err == nil {
		n.entry.Mode, n.id = c.Mode, identOf(&st)
		t.touch(n)
	}
	return true, nil
}
