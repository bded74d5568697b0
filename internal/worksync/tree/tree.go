package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Options say what a tree looks at and how.
type Options struct {
	Side  Side
	Rules []Rule
	// Watch has the kernel tell of changes, as far as it can. Without, every Refresh lists all folders.
	Watch bool
	// Readers is how many files are read at once; 0: as many as there are processors.
	Readers int
	// ReadLater is the size from which a new file is not read to find out its hash: it has to be read anyway when it
	// travels. 0: 8 MiB.
	ReadLater int64
	// Reserve is how many bytes others shall still find free on the disk when files have been written here; of a small
	// disk it is a twentieth. What would take of it does not find room (ENOSPC).
	Reserve int64
}

const defaultReadLater = 8 << 20

// deepest is how many folders may lie in each other. No one's sources lie so deep.
const deepest = 200

// TempPrefix begins the names of files that are being written. Trees do not look at them.
const TempPrefix = ".gantry-sync-"

// Note is something that was left out, and why.
type Note struct {
	Path string `json:"path"`
	What string `json:"what"`
	// Unread: it is there, but could not be looked at. What was known of it still counts.
	Unread bool `json:"unread,omitempty"`
}

// Tree is what lies below a folder. Its methods may be called concurrently.
type Tree struct {
	opts Options
	book *ruleBook
	root int // handle of the folder
	dir  string

	mu      sync.Mutex
	top     *node
	watcher *watcher // nil: nothing is watched
	// list are folders that have to be listed once; unwatched are those that have to be listed each time.
	list, unwatched map[*node]bool
	seq, forgotten  uint64 // numbers of the last change, and of the last that the other side has
	log             []logged
	gone            map[string]uint64 // removed names, with the number of that change
	unread          []*node           // files whose content has to be looked at
	notes           map[Note]uint64   // what was left out, with a number like that of a change
	// For Save: what is not as it was saved.
	touched  []*node
	removed  map[string]bool
	temps    map[string]bool  // names of files that are being written
	expected map[string]Entry // see Expect
}

// Open begins to look at a folder. Nothing is known of it until Refresh; all that is found then counts as changed.
func Open(dir string, opts Options) (*Tree, error) {
	if opts.ReadLater == 0 {
		opts.ReadLater = defaultReadLater
	}
	if opts.Readers == 0 {
		opts.Readers = runtime.GOMAXPROCS(0)
	}
	root, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the folder %s: %w", dir, err)
	}
	t := &Tree{
		opts: opts, book: newRuleBook(opts.Rules), root: root, dir: dir,
		top: &node{entry: Entry{Kind: Folder}, folder: newFolder(Both)}, gone: map[string]uint64{},
		list: map[*node]bool{}, unwatched: map[*node]bool{}, removed: map[string]bool{},
		temps: map[string]bool{}, notes: map[Note]uint64{},
	}
	if opts.Watch {
		t.startWatching()
	}
	t.watchFolder(t.top, root)
	t.list[t.top] = true
	return t, nil
}

// Close gives back what the tree holds.
func (t *Tree) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := syscall.Close(t.root)
	if t.watcher != nil {
		err = errors.Join(err, t.watcher.close())
	}
	return err
}

// Watched says whether the kernel tells of all changes. Otherwise asking takes as long as listing what it does not tell
// of.
func (t *Tree) Watched() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.unwatched) == 0
}

// Size is the number of names that are known.
func (t *Tree) Size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	t.top.each(func(*node) { n++ })
	return n
}

// Refresh finds everything that had changed when it was called, and reads what it has to. The notes are of what was left
// out, sorted by path: each until Forget is told that the other side has heard of it.
func (t *Tree) Refresh(ctx context.Context) ([]Note, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.notes, func(n Note, _ uint64) bool { return n.Unread }) // it is tried again
	dirty := t.takeEvents()
	t.relist()
	for _, n := range byPath(dirty) {
		t.lookAtNames(n, slices.Sorted(maps.Keys(dirty[n])))
	}
	if err := t.readFiles(ctx); err != nil {
		return nil, err
	}
	t.expected = nil
	notes := slices.SortedFunc(maps.Keys(t.notes), func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.What, b.What))
	})
	return notes, nil
}

// note keeps a note until Forget.
func (t *Tree) note(n Note) {
	if t.notes[n] == 0 {
		t.seq++
		t.notes[n] = t.seq
	}
}

// Takes says whether changes of a path are accepted from the other side.
func (t *Tree) Takes(path string) bool { return t.opts.Side.Takes(t.book.flowOf(path)) }

// Audit compares everything with what is known of it, as Refresh does where the kernel tells of nothing. It finds what
// the kernel does not tell of: writing through a mapping that is kept, or by another name of a file elsewhere.
func (t *Tree) Audit(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listAll()
	t.relist()
	return t.readFiles(ctx)
}

// byPath sorts folders so that each comes before those in it.
func byPath[V any](set map[*node]V) []*node {
	type named struct {
		path string
		*node
	}
	all := make([]named, 0, len(set))
	for n := range set {
		all = append(all, named{n.path(), n})
	}
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.path, b.path) })
	nodes := make([]*node, len(all))
	for i, n := range all {
		nodes[i] = n.node
	}
	return nodes
}

// openFolderOf opens a known folder.
func (t *Tree) openFolderOf(n *node) (int, error) {
	if n.parent == nil {
		return openAt(t.root, ".", openFolder)
	}
	return openBelow(t.root, n.path(), openFolder)
}

// lookAtNames compares some names in a folder with what is known of them.
func (t *Tree) lookAtNames(n *node, names []string) {
	if n.dead || len(names) == 0 {
		return
	}
	fd, err := t.openFolderOf(n)
	if err != nil {
		t.missed(n, n.path(), err)
		return
	}
	defer syscall.Close(fd)
	for _, name := range names {
		t.look(n, fd, name)
	}
}

// missed notes what cannot be looked at, and has its folder listed again, which gives it another try. If it is just
// gone, its folder will tell.
func (t *Tree) missed(dir *node, path string, err error) {
	if notThere(err) {
		return
	}
	t.note(Note{Path: path, What: fmt.Sprintf("cannot be looked at (%v)", err), Unread: true})
	t.list[dir] = true
}

// look compares a name in an opened folder with what is known of it.
func (t *Tree) look(dir *node, fd int, name string) {
	if strings.HasPrefix(name, TempPrefix) {
		t.sweep(fd, name)
		return
	}
	path, known := dir.below(name), dir.children[name]
	flow := t.book.flow(dir.flow, path)
	if !t.opts.Side.looksAt(flow) {
		return
	}
	var st syscall.Stat_t
	if err := lstatAt(fd, name, &st); err != nil {
		if t.missed(dir, path, err); known != nil && notThere(err) {
			t.remove(known)
		}
		return
	}
	e, ok := entryOf(&st)
	if !ok {
		t.note(Note{Path: path, What: special(&st) + ", which is not copied"})
	}
	if known != nil && (known.entry.Kind != e.Kind || e.Kind == Folder && (known.id.ino != st.Ino || t.replaced(known))) {
		t.remove(known)
		known = nil
	}
	switch e.Kind {
	case Folder:
		t.lookAtFolder(dir, known, fd, name, e, identOf(&st), flow)
	case Link:
		t.lookAtLink(dir, known, fd, name, e, identOf(&st))
	case File:
		t.lookAtFile(dir, known, name, e, identOf(&st))
	}
}

func (t *Tree) lookAtFolder(dir, known *node, fd int, name string, e Entry, id ident, flow Flow) {
	if known != nil {
		if known.id = id; known.entry.Mode != e.Mode {
			known.entry.Mode = e.Mode
			t.logChange(known)
			t.touch(known)
		}
		return
	}
	n := t.add(dir, name, e, id)
	n.folder = newFolder(flow)
	t.logChange(n)
	t.enter(n, fd)
}

// enter watches a new folder and looks at everything in it. In this order nothing is missed.
func (t *Tree) enter(n *node, parent int) {
	if n.depth() > deepest {
		t.note(Note{Path: n.path(), What: fmt.Sprintf("lies deeper than %d folders", deepest)})
		return
	}
	fd, err := openAt(parent, n.name, openFolder)
	if err != nil {
		t.missed(n, n.path(), err)
		t.unwatched[n] = true
		return
	}
	defer syscall.Close(fd)
	t.watchFolder(n, fd)
	var names []string
	if err := listNames(fd, make([]byte, 16<<10), func(name []byte) { names = append(names, string(name)) }); err != nil {
		t.missed(n, n.path(), err)
	}
	for _, name := range names {
		t.look(n, fd, name)
	}
}

func (t *Tree) lookAtLink(dir, known *node, fd int, name string, e Entry, id ident) {
	target, err := readLinkAt(fd, name)
	if err != nil {
		t.missed(dir, dir.below(name), err)
		return
	}
	e.Target = target
	if known == nil {
		known = t.add(dir, name, Entry{}, id)
	}
	known.id = id
	t.settle(known, e)
}

func (t *Tree) lookAtFile(dir, known *node, name string, e Entry, id ident) {
	switch {
	case known == nil:
		n := t.add(dir, name, e, id)
		n.entry.Kind = Gone // until it has been read
		t.readSoon(n)
	case known.id != id || known.racy:
		t.readSoon(known)
	case known.entry.Mode != e.Mode:
		e.Hash = known.entry.Hash
		t.settle(known, e)
	}
}

// add makes a node that is not in the log yet.
func (t *Tree) add(dir *node, name string, e Entry, id ident) *node {
	n := &node{parent: dir, name: name, entry: e, id: id}
	dir.children[name] = n
	t.touch(n)
	return n
}

// settle gives a node its entry, and logs it if that is another one.
func (t *Tree) settle(n *node, e Entry) {
	changed := !n.entry.Same(e)
	n.entry = e
	t.touch(n)
	if changed {
		t.logChange(n)
	}
}

// remove drops a node with everything below it, innermost first.
func (t *Tree) remove(n *node) {
	t.drop(n, true)
	delete(n.parent.children, n.name)
}

func (t *Tree) drop(n *node, log bool) {
	if n.folder != nil {
		for _, c := range n.children {
			t.drop(c, log)
		}
		t.unwatchFolder(n)
	}
	n.dead = true
	if log && n.entry.Kind != Gone {
		t.logGone(n.path())
	}
	t.noteRemoved(n)
}
