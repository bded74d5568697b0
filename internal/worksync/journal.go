package worksync

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gantry-ci/gantry/internal/worksync/tree"
)

// ErrBusy: another process keeps the work folder in step.
var ErrBusy = errors.New("another process keeps the work folder in step")

// Names in the state folder.
const (
	lockName    = "lock"
	journalName = "journal"
)

// journal is a file with what both sides have in common, for a process that goes on where another one was killed. Its
// sections are one byte of kind, a length and the data. It need not survive the machine: the job does not.
type journal struct {
	dir        string
	lock, file *os.File
	size, base int64 // now, and when it was written anew last
	last       token
}

// The kinds of sections.
const (
	sectionNames  byte = 'N' // tree.Save
	sectionToken  byte = 'T'
	sectionIntent byte = 'I' // what is about to be written on the host
)

// slack is how much longer a journal may grow than what it says.
const slack = 4 << 20

// openJournal makes the folder, and locks it for this process.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for the state of the work folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state of the work folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(fmt.Errorf("locking the state of the work folder: %w", err), lock.Close())
	}
	return &journal{dir: dir, lock: lock}, nil
}

func (j *journal) close() error {
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}

// load gives a tree what is known, and finds what has changed since. What was about to be written, and has been, is no
// change.
func (j *journal) load(t *tree.Tree) (last token, err error) {
	data, err := os.ReadFile(filepath.Join(j.dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return last, nil
	}
	if err != nil {
		return last, fmt.Errorf("reading the state of the work folder: %w", err)
	}
	var names, intents []byte
	for r := (tree.Reader{Data: data}); len(r.Data) > 0; {
		kind := r.Byte()
		section := r.Bytes(int(min(r.Uvarint(), 1<<40)))
		switch {
		case r.Bad: // cut off: it was being written
		case kind == sectionNames:
			names = append(names, section...)
		case kind == sectionToken:
			intents = nil
			err = json.Unmarshal(section, &last)
		case kind == sectionIntent:
			intents = append(intents, section...)
		}
		if err != nil {
			return last, fmt.Errorf("reading the state of the work folder: %w", err)
		}
	}
	if err := t.Load(names); err != nil {
		return last, err
	}
	for r := (tree.Reader{Data: intents}); len(r.Data) > 0 && !r.Bad; {
		if c := r.Change(); !r.Bad {
			t.Expect(c)
		}
	}
	return last, nil
}

// save adds what has changed since the last time.
func (j *journal) save(t *tree.Tree, last token) error {
	if j.file == nil || j.size > 2*j.base+slack {
		return j.rewrite(t, last)
	}
	before := j.size
	if err := t.Save(sections{j, sectionNames}, false); err != nil {
		return err
	}
	if j.size == before && last == j.last {
		return nil
	}
	return j.saveToken(last)
}

func (j *journal) saveToken(last token) error {
	text, err := json.Marshal(last)
	if err != nil {
		return fmt.Errorf("writing the state of the work folder: %w", err)
	}
	j.last = last
	_, err = sections{j, sectionToken}.Write(text)
	return err
}

// intend notes what is about to be written on the host.
func (j *journal) intend(jobs []job) error {
	if j.file == nil {
		return nil // nothing is known yet that could be mistaken
	}
	var buf []byte
	for i, in := range jobs {
		if buf = in.Append(buf); len(buf) < entriesSize && i < len(jobs)-1 {
			continue
		}
		if _, err := (sections{j, sectionIntent}).Write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return nil
}

// sections makes a section of a kind of everything that is written.
type sections struct {
	*journal
	kind byte
}

func (s sections) Write(data []byte) (int, error) {
	n, err := s.file.Write(append(binary.AppendUvarint([]byte{s.kind}, uint64(len(data))), data...))
	if s.size += int64(n); err != nil {
		return 0, fmt.Errorf("writing the state of the work folder: %w", err)
	}
	return len(data), nil
}

// rewrite writes everything that is known, in the place of all changes.
func (j *journal) rewrite(t *tree.Tree, last token) error {
	name := filepath.Join(j.dir, journalName)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("writing the state of the work folder: %w", err)
	}
	old := *j
	j.file, j.size = f, 0
	err = t.Save(sections{j, sectionNames}, true)
	if err == nil {
		err = j.saveToken(last)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		*j = old
		return errors.Join(fmt.Errorf("writing the state of the work folder: %w", err), f.Close())
	}
	if old.file != nil {
		_ = old.file.Close() // replaced
	}
	j.base = j.size
	return nil
}
