package tree

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gantry-ci/gantry/internal/wait"
)

// Times and sizes of reading.
const (
	readTries  = 3                     // how often a file is read that changes meanwhile
	readPause  = 10 * time.Millisecond // and the pause between
	readBuffer = 256 << 10
	// coarse is how long two changes may have the same time; coarser the same on file systems that know only seconds.
	coarse  = 50 * time.Millisecond
	coarser = 2 * time.Second
)

// what reading a file has found out.
type found struct {
	entry  Entry
	id     ident
	racy   bool
	torn   bool // it has changed all the time
	failed error
}

// readAtOnce is how many files are read before what was found is taken over.
const readAtOnce = 4096

// readSoon has a file's content looked at.
func (t *Tree) readSoon(n *node) {
	if !n.due {
		n.due = true
		t.unread = append(t.unread, n)
	}
}

// readFiles finds out the hashes of the files that may have changed, several at once. Those that cannot be read are
// tried again the next time.
func (t *Tree) readFiles(ctx context.Context) error {
	results := make([]found, min(readAtOnce, len(t.unread)))
	var again []*node
	for len(t.unread) > 0 {
		files := t.unread[:min(readAtOnce, len(t.unread))]
		t.readSome(ctx, files, results)
		if ctx.Err() != nil {
			t.unread = append(again, t.unread...)
			return context.Cause(ctx) // another time
		}
		t.unread = t.unread[len(files):]
		for i, n := range files {
			if n.due = t.learn(n, results[i]); n.due {
				again = append(again, n)
			}
		}
	}
	t.unread = again
	return nil
}

func (t *Tree) readSome(ctx context.Context, files []*node, results []found) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(t.opts.Readers, len(files)) {
		wg.Go(func() {
			buf := make([]byte, readBuffer)
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return
				}
				results[i] = t.read(ctx, files[i], buf)
			}
		})
	}
	wg.Wait()
}

// learn gives a node what reading it has found. Of a file that is there, but cannot be read, what was known still
// counts, and it is to be tried again.
func (t *Tree) learn(n *node, f found) (again bool) {
	switch {
	case n.dead:
	case notThere(f.failed):
		t.remove(n)
	case f.failed != nil:
		t.note(Note{Path: n.path(), What: fmt.Sprintf("cannot be read (%v)", f.failed), Unread: true})
		return true
	default:
		if f.torn {
			t.note(Note{Path: n.path(), What: "was changed all the time while it was read"})
		}
		n.id, n.racy = f.id, f.racy
		t.settle(n, f.entry)
	}
	return false
}

// read looks at a file's content, unless it is a large one that has to be read anyway when it travels.
func (t *Tree) read(ctx context.Context, n *node, buf []byte) (f found) {
	fd, err := openBelow(t.root, n.path(), syscall.O_RDONLY)
	if err != nil {
		return found{failed: err}
	}
	file := os.NewFile(uintptr(fd), n.name)
	defer file.Close()
	for try := range readTries {
		began := time.Now()
		var st syscall.Stat_t
		if err := syscall.Fstat(fd, &st); err != nil {
			return found{failed: err}
		}
		e, ok := entryOf(&st)
		if !ok || e.Kind != File {
			return found{failed: syscall.ENOENT} // something else has taken its name, and its folder will tell
		}
		f = found{entry: e, id: identOf(&st)}
		if e.Size > t.opts.ReadLater && (n.entry.Kind == Gone || e.Size != n.entry.Size) {
			f.racy = f.id.racy(began)
			return f
		}
		h := sha256.New()
		if _, f.failed = io.CopyBuffer(onlyWriter{h}, until{ctx, io.NewSectionReader(file, 0, e.Size)}, buf); f.failed != nil {
			return f
		}
		h.Sum(f.entry.Hash[:0])
		if err := syscall.Fstat(fd, &st); err != nil {
			return found{failed: err}
		}
		if identOf(&st) == f.id {
			f.racy = f.id.racy(began)
			return f
		}
		f.torn, f.racy = true, true
		if try < readTries-1 && !wait.For(ctx, readPause) {
			return f
		}
	}
	return f
}

// racy says that a change may follow which leaves the same ident.
func (id ident) racy(read time.Time) bool {
	grain := coarse
	if id.mtime%int64(time.Second) == 0 {
		grain = coarser
	}
	return id.mtime > read.Add(-grain).UnixNano()
}

// until is a reader that ends with ctx: a large file may take minutes.
type until struct {
	ctx context.Context
	io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.Reader.Read(p)
}

// onlyWriter hides everything of a writer but Write, so that the buffer given is the one used.
type onlyWriter struct{ io.Writer }
