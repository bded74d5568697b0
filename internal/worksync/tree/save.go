package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// Save encodes what both sides have in common, as far as that has changed since the last Save, or all of it. Changes
// that have not been forgotten are left out: they are to be found again.
func (t *Tree) Save(all bool) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var buf []byte
	if all {
		clear(t.touched)
		t.top.each(func(n *node) { t.touched[n.path()] = true })
	}
	paths := make([]string, 0, len(t.touched))
	for p := range t.touched {
		paths = append(paths, p)
	}
	slices.Sort(paths) // folders before what is in them
	for _, p := range paths {
		n := t.top.find(p)
		switch {
		case n == nil && t.gone[p] == 0 && !all:
			buf = appendRecord(buf, Change{Path: p}, &node{})
		case n == nil || n.seq > t.forgotten || n.entry.Kind == Gone:
			continue // still to be told
		default:
			buf = appendRecord(buf, Change{Path: p, Entry: n.entry}, n)
		}
		delete(t.touched, p)
	}
	return buf
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
	r := Reader{Data: data}
	for len(r.Data) > 0 {
		c := r.Change()
		id := ident{mtime: r.Varint(), ctime: r.Varint(), ino: r.Uvarint(), size: r.Varint()}
		racy := r.Byte() != 0
		if r.Bad {
			break
		}
		if err := c.Check(); err != nil {
			return fmt.Errorf("reading what is known of %s: %w", t.dir, err)
		}
		t.load(c, id, racy)
	}
	clear(t.touched)
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
