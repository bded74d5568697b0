package tree

import (
	"maps"
	"sync"
	"syscall"
)

// relist lists the folders of which nobody tells what changed in them, several at once, and looks at what is not as it
// was.
func (t *Tree) relist() {
	due := map[*node]bool{}
	maps.Copy(due, t.unwatched)
	maps.Copy(due, t.list)
	clear(t.list)
	if len(due) == 0 {
		return
	}
	folders := byPath(due)
	differ, failed := make([][]string, len(folders)), make([]error, len(folders))
	var next sync.Mutex
	i := 0
	var wg sync.WaitGroup
	for range min(t.opts.Readers, len(folders)) {
		wg.Go(func() {
			buf := make([]byte, 32<<10)
			for {
				next.Lock()
				mine := i
				i++
				next.Unlock()
				if mine >= len(folders) {
					return
				}
				differ[mine], failed[mine] = t.compare(folders[mine], buf)
			}
		})
	}
	wg.Wait()
	for i, n := range folders {
		if failed[i] != nil && !n.dead {
			t.missed(n, n.path(), failed[i])
		}
		t.lookAtNames(n, differ[i])
	}
}

// listAll has every folder listed at the next opportunity.
func (t *Tree) listAll() {
	t.list[t.top] = true
	t.top.each(func(n *node) {
		if n.folder != nil {
			t.list[n] = true
		}
	})
}

// compare lists a folder and gives the names that are not as they were. It changes nothing, and so may run beside
// others of its kind.
func (t *Tree) compare(n *node, buf []byte) (differ []string, err error) {
	fd, err := t.openFolderOf(n)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	seen := 0
	var st syscall.Stat_t
	err = listNames(fd, buf, func(name []byte) {
		known := n.children[string(name)]
		if known == nil {
			differ = append(differ, string(name))
			return
		}
		seen++
		if err := lstatAt(fd, known.name, &st); err != nil || !known.as(&st) {
			differ = append(differ, known.name)
		}
	})
	if err != nil || seen < len(n.children) {
		for name := range n.children {
			differ = append(differ, name) // looking at those that are there costs little
		}
	}
	return differ, err
}

// as says that a name is what it was, as far as that can be told without reading it.
func (n *node) as(st *syscall.Stat_t) bool {
	e, ok := entryOf(st)
	if !ok || e.Kind != n.entry.Kind || n.racy {
		return false
	}
	switch e.Kind {
	case File:
		return e.Mode == n.entry.Mode && identOf(st) == n.id
	case Folder:
		return e.Mode == n.entry.Mode && st.Ino == n.id.ino
	}
	return identOf(st) == n.id
}
