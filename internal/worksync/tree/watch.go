package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// watchMask are the events that mean a change of what is in a folder. A file that is written through a mapping gives
// none before the last one who has it open for writing closes it (inotify(7)).
const watchMask = syscall.IN_CREATE | syscall.IN_DELETE | syscall.IN_MOVED_FROM | syscall.IN_MOVED_TO |
	syscall.IN_MODIFY | syscall.IN_CLOSE_WRITE | syscall.IN_ATTRIB | syscall.IN_ONLYDIR | inExclUnlink

const inExclUnlink = 0x4000000 // IN_EXCL_UNLINK

// breath is the pause between two looks at the kernel's queue. What happens meanwhile is often the same again, which
// the kernel sums up; and the queue holds much more.
const breath = 5 * time.Millisecond

// watcher collects what the kernel tells of folders.
type watcher struct {
	fd   int
	file *os.File

	mu      sync.Mutex
	folders map[int32]*node
	dirty   map[*node]map[string]bool // names in folders that may have changed
	ended   map[*node]bool            // folders that are no more; one that is there may have their number
	lost    bool                      // the queue was full: anything may have changed
	buf     []byte
}

func newWatcher() (*watcher, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("asking the kernel to tell of changes: %w", err)
	}
	return &watcher{
		fd: fd, file: os.NewFile(uintptr(fd), "inotify"), folders: map[int32]*node{}, dirty: map[*node]map[string]bool{},
		ended: map[*node]bool{}, buf: make([]byte, 64<<10),
	}, nil
}

func (w *watcher) close() error { return w.file.Close() }

// follow empties the kernel's queue for as long as the watcher is open.
func (w *watcher) follow() {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(uintptr) bool { // it ends with the file
		w.mu.Lock()
		w.drain()
		w.mu.Unlock()
		time.Sleep(breath)
		return false
	})
}

// drain takes everything out of the kernel's queue: all that had happened before it was called.
func (w *watcher) drain() {
	for {
		n, err := syscall.Read(w.fd, w.buf)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		w.take(w.buf[:n])
	}
}

// take notes the events in data: struct inotify_event of inotify(7).
func (w *watcher) take(data []byte) {
	for len(data) >= syscall.SizeofInotifyEvent {
		folder := int32(binary.NativeEndian.Uint32(data))
		mask := binary.NativeEndian.Uint32(data[4:])
		length := binary.NativeEndian.Uint32(data[12:])
		name := strings.TrimRight(string(data[syscall.SizeofInotifyEvent:syscall.SizeofInotifyEvent+length]), "\x00")
		data = data[syscall.SizeofInotifyEvent+length:]
		n := w.folders[folder]
		switch {
		case mask&syscall.IN_Q_OVERFLOW != 0:
			w.lost = true
		case n == nil || name == "" || strings.HasPrefix(name, TempPrefix):
		case w.dirty[n] == nil:
			w.dirty[n] = map[string]bool{name: true}
		default:
			w.dirty[n][name] = true
		}
		if n != nil && mask&(syscall.IN_IGNORED|syscall.IN_UNMOUNT) != 0 {
			delete(w.folders, folder)
			w.ended[n] = true
		}
	}
}

// startWatching begins to listen to the kernel. Where that is not to be had, everything is listed each time.
func (t *Tree) startWatching() {
	w, err := newWatcher()
	if err != nil {
		return
	}
	if !w.works(t.dir) {
		_ = w.close() // was only tried
		return
	}
	t.watcher = w
	go w.follow()
}

// works tries whether the kernel really tells of changes in a folder: not every file system and sandbox does. A folder
// that cannot be written cannot be tried.
func (w *watcher) works(dir string) bool {
	if _, err := syscall.InotifyAddWatch(w.fd, dir, syscall.IN_CREATE); err != nil {
		return false
	}
	probe, err := os.CreateTemp(dir, TempPrefix+"*")
	if err != nil {
		return true
	}
	defer os.Remove(probe.Name())
	defer probe.Close()
	n, err := syscall.Read(w.fd, w.buf)
	return err == nil && n > 0
}

// watchFolder has the kernel tell of changes in an opened folder, or else notes that it has to be listed each time.
func (t *Tree) watchFolder(n *node, fd int) {
	if t.watcher == nil {
		t.unwatched[n] = true
		return
	}
	t.watcher.mu.Lock()
	defer t.watcher.mu.Unlock()
	wd, err := syscall.InotifyAddWatch(t.watcher.fd, "/proc/self/fd/"+strconv.Itoa(fd), watchMask)
	if err != nil {
		t.unwatched[n] = true
		return
	}
	n.watch = int32(wd)
	t.watcher.folders[n.watch] = n
}

// unwatchFolder ends what watchFolder began. A folder that was renamed may be watched under its new name already.
func (t *Tree) unwatchFolder(n *node) {
	delete(t.unwatched, n)
	delete(t.list, n)
	if t.watcher == nil || n.watch == noWatch {
		return
	}
	t.watcher.mu.Lock()
	defer t.watcher.mu.Unlock()
	delete(t.watcher.dirty, n)
	delete(t.watcher.ended, n)
	if t.watcher.folders[n.watch] == n {
		delete(t.watcher.folders, n.watch)
		_, _ = syscall.InotifyRmWatch(t.watcher.fd, uint32(n.watch)) // gone with the folder, most often
	}
}

// replaced says that a folder which was watched is no more, even if one with its number is there.
func (t *Tree) replaced(n *node) bool {
	if t.watcher == nil {
		return false
	}
	t.watcher.mu.Lock()
	defer t.watcher.mu.Unlock()
	return t.watcher.ended[n]
}

// takeEvents gives the names that have changed, and has everything listed if the kernel could not keep up.
func (t *Tree) takeEvents() map[*node]map[string]bool {
	if t.watcher == nil {
		return nil
	}
	w := t.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain()
	dirty := w.dirty
	w.dirty = map[*node]map[string]bool{}
	if w.lost {
		w.lost = false
		t.listAll()
	}
	return dirty
}
