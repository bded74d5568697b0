package tree

import "maps"

// logged is a line of the log of changes.
type logged struct {
	seq   uint64
	*node        // that has changed,
	gone  string // or the name at which nothing is left
}

// logChange adds a node's present state to the log.
func (t *Tree) logChange(n *node) {
	path := n.path()
	if e, ok := t.expected[path]; ok && e.Same(n.entry) {
		return
	}
	t.seq++
	n.seq = t.seq
	delete(t.gone, path)
	t.log = append(t.log, logged{seq: t.seq, node: n})
}

// logGone adds to the log that nothing is left at a path.
func (t *Tree) logGone(path string) {
	if e, ok := t.expected[path]; ok && e.Kind == Gone {
		return
	}
	t.seq++
	t.gone[path] = t.seq
	t.log = append(t.log, logged{seq: t.seq, gone: path})
}

// unlog takes a path out of the log: the other side knows it.
func (t *Tree) unlog(path string) {
	delete(t.gone, path)
	if n := t.top.find(path); n != nil {
		n.seq = 0
	}
}

// Changes are the names that have changed after the change with number since, each once, in the order of their last
// change; upto is the number of the last of all. 0 stands for an empty folder: all changes that have not been forgotten.
func (t *Tree) Changes(since uint64) (list []Change, upto uint64) {
	upto = t.Each(since, func(c Change) { list = append(list, c) })
	return list, upto
}

// Each calls f for each of the Changes. It must not call the tree.
func (t *Tree) Each(since uint64, f func(Change)) (upto uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.log {
		switch {
		case l.seq <= since || !l.counts(t):
		case l.node != nil:
			f(Change{Path: l.path(), Entry: l.entry})
		default:
			f(Change{Path: l.gone})
		}
	}
	return t.seq
}

// Logged is how many Changes there are at most.
func (t *Tree) Logged() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.log)
}

// counts says whether nothing has happened to the name since.
func (l logged) counts(t *Tree) bool {
	if l.node != nil {
		return l.node.seq == l.seq && !l.dead
	}
	return t.gone[l.gone] == l.seq
}

// Forget drops changes and notes up to the one with that number: the other side has them.
func (t *Tree) Forget(upto uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgotten = max(t.forgotten, upto)
	maps.DeleteFunc(t.notes, func(_ Note, seq uint64) bool { return seq <= upto })
	kept := t.log[:0]
	for _, l := range t.log {
		if l.seq > upto {
			kept = append(kept, l)
		} else if l.node == nil && t.gone[l.gone] == l.seq {
			delete(t.gone, l.gone)
		}
	}
	if t.log = kept; len(kept) == 0 {
		t.log = nil
	}
}

// Again puts a path into the log as if it had just changed: the other side could not take it.
func (t *Tree) Again(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.top.find(path); n != nil && n != t.top && n.entry.Kind != Gone {
		t.logChange(n)
	}
}

// changedSince says whether a path has changed after the change with that number.
func (t *Tree) changedSince(path string, seq uint64) bool {
	if t.gone[path] > seq {
		return true
	}
	n := t.top.find(path)
	return n != nil && n.seq > seq
}

// Is says that a path is known to be as a change would make it.
func (t *Tree) Is(c Change) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.top.find(c.Path)
	if n == nil || n.entry.Kind == Gone {
		return c.Kind == Gone
	}
	return n.entry.Same(c.Entry)
}
