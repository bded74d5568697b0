package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// saveChunk is about how much Save writes at once.
const saveChunk = 64 << 10

// Save writes what both sides have in common, as far as that has changed since the last Save, or all of it. Each Write
// is of whole records. Changes that have not been forgotten are left out: they are to be found again.
func (t *Tree) Save(w io.Writer, all bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := saver{w: w}
	if all {
		for _, n := range t.touched {
			n.touched = false
		}
		t.touched = nil
		clear(t.removed)
		t.top.each(func(n *node) { t.saveNode(&s, n) })
		return s.flush()
	}
	for p := range t.removed {
		if t.gone[p] != 0 {
			continue // still to be told
		}
		if delete(t.removed, p); t.top.find(p) == nil {
			s.record(Change{Path: p}, &node{})
		}
	}
	touched := map[*node]bool{}
	for _, n := range t.touched {
		n.touched = false
		touched[n] = !n.dead
	}
	t.touched = nil
	for _, n := range byPath(touched) { // folders before what is in them
		if touched[n] {
			t.saveNode(&s, n)
		}
	}
	return s.flush()
}

// saveNode saves a node, or keeps it for another time.
func (t *Tree) saveNode(s *saver, n *node) {
	if n.seq > t.forgotten || n.entry.Kind == Gone {
		t.touch(n)
		return
	}
	s.record(Change{Path: n.path(), Entry: n.entry}, n)
}

// touch notes that a node is not as it was saved. Only the host's side saves anything.
func (t *Tree) touch(n *node) {
	if !n.touched && t.opts.Side == Host {
		n.touched = true
		t.touched = append(t.touched, n)
	}
}

func (t *Tree) noteRemoved(n *node) {
	if t.opts.Side == Host {
		t.removed[n.path()] = true
	}
}

// saver writes records until the first error, which it keeps.
type saver struct {
	w   io.Writer
	buf []byte
	err error
}

func (s *saver) record(c Change, n *node) {
	s.buf = appendRecord(s.buf, c, n)
	if len(s.buf) >= saveChunk {
		_ = s.flush() // kept
	}
}

func (s *saver) flush() error {
	if s.err == nil && len(s.buf) > 0 {
		_, s.err = s.w.Write(s.buf)
	}
	s.buf = s.buf[:0]
	return s.err
}

// Records are a Change, the ident, and whether that can be trusted.
func appendRecord(buf []byte, c Change, n *node) []byte {
	buf = c.Append(buf)
	buf = binary.AppendVarint(buf, n.id.mtime)
	buf = binary.AppendVarint(buf, n.id.ctime)
	buf = binary.AppendUvarint(buf, n.id.ino)
	buf = binary.AppendVarint(buf, n.id.size)
	if n.racy {
		return append(buf, 1)
	}
	return append(buf, 0)
}

// Load takes over what Save has given, in the order in which it was saved, before the first Refresh: that finds what is
// different by now. Data that is cut off counts up to there, as it does when a program was killed that was writing it.
func (t *Tree) Load(data []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, load := range []bool{false, true} { // all of it or nothing
		for r := (Reader{Data: data}); len(r.Data) > 0; {
			c := r.Change()
			id := ident{mtime: r.Varint(), ctime: r.Varint(), ino: r.Uvarint(), size: r.Varint()}
			racy := r.Byte() != 0
			if r.Bad {
				break
			}
			if err := c.Check(); err != nil {
				return fmt.Errorf("reading what is known of %s: %w", t.dir, err)
			}
			if load {
				t.load(c, id, racy)
			}
		}
	}
	for _, n := range t.touched {
		n.touched = false
	}
	t.touched = nil
	clear(t.removed)
	t.top.each(func(n *node) {
		if n.folder != nil {
			t.rewatch(n)
		}
	})
	return nil
}

// Expect says, before the first Refresh, that the other side has asked for a change which may have been made by a
// program that was killed. It is no change of this side's.
func (t *Tree) Expect(c Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expected == nil {
		t.expected = map[string]Entry{}
	}
	t.expected[c.Path] = c.Entry
}

func (t *Tree) load(c Change, id ident, racy bool) {
	above, name := "", c.Path
	if i := strings.LastIndexByte(c.Path, '/'); i >= 0 {
		above, name = c.Path[:i], c.Path[i+1:]
	}
	dir := t.top.find(above)
	if dir == nil || dir.folder == nil {
		return // not in what was saved: it is new
	}
	flow := t.book.flow(dir.flow, c.Path)
	old := dir.children[name]
	if old != nil && (c.Kind != Folder || old.folder == nil) {
		t.drop(old, false)
		delete(dir.children, name)
		old = nil
	}
	switch {
	case c.Kind == Gone || !t.opts.Side.looksAt(flow):
	case old != nil:
		old.entry, old.id = c.Entry, id
	default:
		n := t.add(dir, name, c.Entry, id)
		if n.racy = racy; c.Kind == Folder {
			n.folder = newFolder(flow)
		}
	}
}

// rewatch watches a folder that was loaded, and has it listed.
func (t *Tree) rewatch(n *node) {
	t.list[n] = true
	fd, err := t.openFolderOf(n)
	if err != nil {
		if !errors.Is(err, syscall.ENOENT) {
			t.unwatched[n] = true
		}
		return
	}
	defer syscall.Close(fd)
	t.watchFolder(n, fd)
}
