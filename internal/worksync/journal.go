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
//
// One that cannot be read or written to its end is removed: who finds none compares both sides as a whole.
type journal struct {
	dir        string
	lock       *os.File
	file       *os.File // nil: there is none
	size, base int64    // now, and when it was written anew last
	last       token
	intended   bool // there are intents behind the last token
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
	var k known
	if err == nil {
		k, err = parse(data)
	}
	if err == nil {
		err = j.goOn(k)
	}
	if err == nil {
		err = t.Load(k.names)
	}
	if err != nil {
		return token{}, j.lose()
	}
	for _, c := range k.intents {
		t.Expect(c)
	}
	return k.last, nil
}

// known is what a journal says.
type known struct {
	names   []byte
	last    token
	intents []tree.Change // behind the last token
	base    int64         // where the first token ends: a new journal ends there
	end     int64         // of the last whole section
}

// parse reads a journal. What was being written when its process was killed does not count.
func parse(data []byte) (k known, err error) {
	for r := (tree.Reader{Data: data}); len(r.Data) > 0; {
		kind := r.Byte()
		section := r.Bytes(int(min(r.Uvarint(), 1<<40)))
		if r.Bad {
			break
		}
		k.end = int64(len(data) - len(r.Data))
		switch kind {
		case sectionNames:
			k.names = append(k.names, section...)
		case sectionToken:
			if k.intents = nil; k.base == 0 {
				k.base = k.end
			}
			err = json.Unmarshal(section, &k.last)
		case sectionIntent:
			for len(section) > 0 && err == nil {
				var c tree.Change
				if c, section, err = tree.Parse(section); err == nil {
					k.intents = append(k.intents, c)
				}
			}
		default:
			err = fmt.Errorf("a section of kind %q", kind)
		}
		if err != nil {
			return k, fmt.Errorf("reading the state of the work folder: %w", err)
		}
	}
	if k.base == 0 {
		return k, errors.New("reading the state of the work folder: it says nothing")
	}
	return k, nil
}

// goOn appends to the journal that was read, from the end of what counts.
func (j *journal) goOn(k known) error {
	f, err := os.OpenFile(filepath.Join(j.dir, journalName), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		err = f.Truncate(k.end)
	}
	j.file, j.size, j.base, j.last, j.intended = f, k.end, k.base, k.last, len(k.intents) > 0
	return err
}

// lose removes a journal that does not say what is known, or not any more. The next save writes it anew.
func (j *journal) lose() error {
	if j.file != nil {
		_ = j.file.Close() // it is of no use
		j.file = nil
	}
	if err := os.Remove(filepath.Join(j.dir, journalName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the state of the work folder: %w", err)
	}
	return nil
}

// save adds what has changed since the last time.
func (j *journal) save(t *tree.Tree, last token) error {
	err := j.add(t, last)
	if err != nil {
		return errors.Join(fmt.Errorf("writing the state of the work folder: %w", err), j.lose())
	}
	return nil
}

func (j *journal) add(t *tree.Tree, last token) error {
	if j.file == nil || j.size > 2*j.base+slack {
		return j.rewrite(t, last)
	}
	before := j.size
	if err := t.Save(sections{j, sectionNames}, false); err != nil {
		return err
	}
	if j.size == before && last == j.last && !j.intended {
		return nil
	}
	return j.saveToken(last)
}

func (j *journal) saveToken(last token) error {
	text, err := json.Marshal(last)
	if err != nil {
		return err
	}
	j.last, j.intended = last, false
	_, err = sections{j, sectionToken}.Write(text)
	return err
}

// intend notes what is about to be written on the host.
func (j *journal) intend(jobs []job) error {
	if j.file == nil {
		return nil // nothing is known that could be mistaken
	}
	j.intended = true
	var buf []byte
	for i, in := range jobs {
		if buf = in.Append(buf); len(buf) < entriesSize && i < len(jobs)-1 {
			continue
		}
		if _, err := (sections{j, sectionIntent}).Write(buf); err != nil {
			return errors.Join(fmt.Errorf("writing the state of the work folder: %w", err), j.lose())
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
		return 0, err
	}
	return len(data), nil
}

// rewrite writes everything that is known, in the place of all changes. After an error nothing can be added to the old
// one: the tree does not give again what it has given.
func (j *journal) rewrite(t *tree.Tree, last token) error {
	name := filepath.Join(j.dir, journalName)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if j.file != nil {
		_ = j.file.Close() // replaced, or lost
	}
	j.file, j.size = f, 0
	err = t.Save(sections{j, sectionNames}, true)
	if err == nil {
		err = j.saveToken(last)
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	j.base = j.size
	return err
}
