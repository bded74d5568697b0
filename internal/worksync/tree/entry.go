// Package tree knows what lies in a folder and what changed there since it was asked last, and changes it for others.
//
// It is one side of a work folder that two machines keep in step. What it costs to ask grows with what changed: the
// kernel tells of changes (inotify), and only where it cannot is the folder listed again.
//
// Whoever else writes there may be hostile: no link is followed, nothing is opened that is no regular file or folder,
// and names that come from the other side are looked at before they are used. Linux only; standard library only.
package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
)

// Kind is what a name stands for. Other kinds of files, such as sockets, are not kept in step.
type Kind byte

// The kinds.
const (
	Gone   Kind = 0 // nothing
	File   Kind = 'f'
	Folder Kind = 'd'
	Link   Kind = 'l'
)

// Hash is the SHA-256 of a file's content; zero: nobody has read it yet.
type Hash [sha256.Size]byte

// Known says that the content has been read.
func (h Hash) Known() bool { return h != Hash{} }

// Entry is what a name stands for, as far as both sides have it in common.
type Entry struct {
	Kind Kind
	// Mode are the permission bits. Whoever keeps a copy can read it: files have at least 0400, folders 0700. Bits
	// that give a program the rights of its owner are not among them.
	Mode uint16
	Size int64 // of a file
	Hash Hash  // of a file
	// Target is where a link leads to. Nobody follows it.
	Target string
}

// Same says that two names stand for the same. Files of which one has not been read never do.
func (e Entry) Same(o Entry) bool {
	if e.Kind != o.Kind {
		return false
	}
	switch e.Kind {
	case File:
		return e.Mode == o.Mode && e.SameContent(o)
	case Folder:
		return e.Mode == o.Mode
	}
	return e.Target == o.Target
}

// SameContent says that two files hold the same bytes, as far as is known.
func (e Entry) SameContent(o Entry) bool {
	return e.Kind == File && o.Kind == File && e.Size == o.Size && e.Hash.Known() && e.Hash == o.Hash
}

// Change is a name that stands for something else than before.
type Change struct {
	Path string // below the tree's folder, with slashes
	Entry
}

// Limits of names and links, those of the kernel.
const (
	maxName   = 255
	maxPath   = 4095
	maxTarget = 4095
)

// ErrPath: a name that leads elsewhere than below the folder, or that no file system would take.
var ErrPath = errors.New("not a path below the folder")

// Check refuses a change that nobody can have found in a folder: the other side may be hostile.
func (c Change) Check() error {
	if len(c.Path) > maxPath || strings.ContainsRune(c.Path, 0) || path.Clean("/"+c.Path) != "/"+c.Path || c.Path == "" {
		return fmt.Errorf("%w: %.100q", ErrPath, c.Path)
	}
	for part := range strings.SplitSeq(c.Path, "/") {
		if len(part) > maxName {
			return fmt.Errorf("%w: %.100q", ErrPath, c.Path)
		}
	}
	switch {
	case c.Kind == Gone:
	case c.Kind == File && c.Size >= 0 && c.Mode <= 0o777:
	case c.Kind == Folder && c.Mode <= 0o777:
	case c.Kind == Link && c.Target != "" && len(c.Target) <= maxTarget && !strings.ContainsRune(c.Target, 0):
	default:
		return fmt.Errorf("%.100q is nothing that can be made", c.Path)
	}
	return nil
}

// Append encodes a change behind buf, Parse decodes it.
func (c Change) Append(buf []byte) []byte {
	buf = append(buf, byte(c.Kind))
	buf = appendString(buf, c.Path)
	switch c.Kind {
	case File:
		buf = binary.AppendUvarint(buf, uint64(c.Mode))
		buf = binary.AppendUvarint(buf, uint64(c.Size))
		buf = append(buf, c.Hash[:]...)
	case Folder:
		buf = binary.AppendUvarint(buf, uint64(c.Mode))
	case Link:
		buf = appendString(buf, c.Target)
	}
	return buf
}

func appendString(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

// Parse decodes the change at the start of data, checks it, and gives what follows it.
func Parse(data []byte) (c Change, rest []byte, err error) {
	r := Reader{Data: data}
	c = r.Change()
	if r.Bad {
		return c, nil, errors.New("a change is cut off")
	}
	return c, r.Data, c.Check()
}

// Reader takes values off the start of Data. Bad is set at the first one that is not there; all later ones are zero.
type Reader struct {
	Data []byte
	Bad  bool
}

// Change takes what Change.Append has appended, unchecked.
func (r *Reader) Change() (c Change) {
	c.Kind, c.Path = Kind(r.Byte()), r.String()
	switch c.Kind {
	case File:
		c.Mode, c.Size = uint16(r.Uvarint()), int64(r.Uvarint())
		copy(c.Hash[:], r.Bytes(len(c.Hash)))
	case Folder:
		c.Mode = uint16(r.Uvarint())
	case Link:
		c.Target = r.String()
	}
	return c
}

// Byte takes one byte.
func (r *Reader) Byte() byte {
	if b := r.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// Uvarint takes a number.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Data)
	if n <= 0 {
		r.Bad, r.Data = true, nil
		return 0
	}
	r.Data = r.Data[n:]
	return v
}

// Varint takes a number with a sign.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.Data)
	if n <= 0 {
		r.Bad, r.Data = true, nil
		return 0
	}
	r.Data = r.Data[n:]
	return v
}

// String takes a string.
func (r *Reader) String() string { return string(r.Bytes(int(min(r.Uvarint(), 1<<30)))) }

// Bytes takes n bytes, or gives nil.
func (r *Reader) Bytes(n int) []byte {
	if n > len(r.Data) {
		r.Bad, r.Data = true, nil
		return nil
	}
	b := r.Data[:n]
	r.Data = r.Data[n:]
	return b
}

// ident tells a version of a file from another one without reading it.
type ident struct {
	mtime, ctime int64 // in nanoseconds
	ino          uint64
	size         int64
}

func identOf(st *syscall.Stat_t) ident {
	return ident{mtime: st.Mtim.Nano(), ctime: st.Ctim.Nano(), ino: st.Ino, size: st.Size}
}

// entryOf is what a stat tells of an entry. ok is false for what is not kept in step.
func entryOf(st *syscall.Stat_t) (e Entry, ok bool) {
	perm := uint16(st.Mode & 0o777)
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		return Entry{Kind: File, Mode: perm | 0o400, Size: st.Size}, true
	case syscall.S_IFDIR:
		return Entry{Kind: Folder, Mode: perm | 0o700}, true
	case syscall.S_IFLNK:
		return Entry{Kind: Link}, true
	}
	return Entry{}, false
}

// special names a kind of file that is not kept in step.
func special(st *syscall.Stat_t) string {
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFSOCK:
		return "a socket"
	case syscall.S_IFIFO:
		return "a named pipe"
	}
	return "a device"
}
