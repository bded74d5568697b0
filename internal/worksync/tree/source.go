package tree

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
)

// Source is a file that is read to be sent.
type Source struct {
	Change
	Mtime int64 // in nanoseconds
	file  *os.File
	id    ident
}

// Source opens a file to send it. Close it.
func (t *Tree) Source(path string) (*Source, error) {
	c := Change{Path: path, Entry: Entry{Kind: Gone}}
	if err := c.Check(); err != nil {
		return nil, err
	}
	fd, err := openBelow(t.root, path, syscall.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	s := &Source{Change: c, file: os.NewFile(uintptr(fd), path)}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		s.Close()
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	e, ok := entryOf(&st)
	if !ok || e.Kind != File {
		s.Close()
		return nil, fmt.Errorf("reading %s: %w", path, syscall.ENOENT)
	}
	s.Entry, s.id, s.Mtime = e, identOf(&st), st.Mtim.Nano()
	return s, nil
}

// ReadAt reads from the file, as io.ReaderAt.
func (s *Source) ReadAt(p []byte, off int64) (int, error) { return s.file.ReadAt(p, off) }

// Close closes the file.
func (s *Source) Close() { _ = s.file.Close() } // was only read

// Version tells this state of the file from others: whoever has the beginning of it can go on if it is the same.
func (s *Source) Version() string {
	var b [32]byte
	binary.BigEndian.PutUint64(b[:], uint64(s.id.mtime))
	binary.BigEndian.PutUint64(b[8:], uint64(s.id.ctime))
	binary.BigEndian.PutUint64(b[16:], s.id.ino)
	binary.BigEndian.PutUint64(b[24:], uint64(s.id.size))
	return string(b[:])
}

// Unchanged says that the file is still as it was when it was opened.
func (s *Source) Unchanged() bool {
	var st syscall.Stat_t
	return syscall.Fstat(int(s.file.Fd()), &st) == nil && identOf(&st) == s.id
}

// Sent tells the tree the hash of what was sent of a file, so that it need not read it again.
func (t *Tree) Sent(s *Source, h Hash) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.top.find(s.Path); n != nil && n.entry.Kind == File && n.id == s.id && !n.entry.Hash.Known() {
		n.entry.Hash = h
		t.touch(n)
	}
}
