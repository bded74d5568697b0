package jobrecord

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/externals"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// version of the record format; a program that meets another one refuses it.
const version = 1

// Sentinels for decisions.
var (
	// ErrNone: the state names no record of ours, or the record is gone: prepare_job did not succeed, or the job
	// has been cleaned up.
	ErrNone = errors.New("no record of this job")
	// ErrForeign: the record belongs to another _work folder, or its file to another user.
	ErrForeign = errors.New("the state names another job")
	// ErrVersion: the record was written by another version of gantry that is not compatible.
	ErrVersion = errors.New("the job was prepared by an incompatible version of gantry")
)

// Store is a folder of records. The folder is created on demand, mode 0700, and must belong to this user.
type Store struct{ Dir string }

// DefaultDir is where records lie unless configured: getenv is os.Getenv or a stand-in.
func DefaultDir(getenv func(string) string) string {
	switch {
	case getenv("GANTRY_STATE_DIR") != "":
		return getenv("GANTRY_STATE_DIR")
	case getenv("XDG_STATE_HOME") != "":
		return filepath.Join(getenv("XDG_STATE_HOME"), "gantry")
	case getenv("HOME") != "" && getenv("HOME") != "/":
		return filepath.Join(getenv("HOME"), ".local/state/gantry")
	}
	return "/var/lib/gantry"
}

// State is gantry's part of the protocol's state: it names the record, nothing more is believed.
type State struct {
	Gantry int    `json:"gantry"`
	Job    string `json:"job"`
}

// StateOf reads the job's ID from a state object. ok is false for null, a foreign or a malformed state.
func StateOf(raw json.RawMessage) (id string, ok bool) {
	var s State
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || !validID(s.Job) {
		return "", false
	}
	return s.Job, true
}

// Save writes a record, atomically.
func (s Store) Save(r *Record) error {
	r.Version = version
	if err := s.ready(); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the job record: %w", err)
	}
	f, err := os.CreateTemp(s.Dir, ".new-*")
	if err != nil {
		return fmt.Errorf("writing the job record: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path(r.ID))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("writing the job record: %w", err)
	}
	return nil
}

// Load reads the record of a job. Work, if not "", must be the record's _work folder.
func (s Store) Load(id, work string) (*Record, error) {
	if !validID(id) {
		return nil, ErrNone
	}
	f, err := os.OpenFile(s.path(id), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("reading the job record: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || ownerOf(st) != os.Geteuid() {
		return nil, ErrForeign
	}
	var r Record
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return nil, fmt.Errorf("reading the job record %s: %w", f.Name(), err)
	}
	if r.Version != version {
		return nil, ErrVersion
	}
	if r.ID != id || work != "" && filepath.Clean(work) != filepath.Clean(r.Work) {
		return nil, ErrForeign
	}
	return &r, nil
}

// All returns the readable records, in no order.
func (s Store) All() ([]*Record, error) {
	names, err := filepath.Glob(filepath.Join(s.Dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("listing job records: %w", err)
	}
	var all []*Record
	for _, name := range names {
		r, err := s.Load(strings.TrimSuffix(filepath.Base(name), ".json"), "")
		if err == nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// Delete forgets a job, with what has been noted about its programs and its copy of the work folder; a record that is
// gone is fine.
func (s Store) Delete(id string) error {
	if !validID(id) {
		return nil
	}
	err := os.Remove(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err := errors.Join(err, os.RemoveAll(externals.StateDir(s.Dir, id)), os.RemoveAll(worksync.StateDir(s.Dir, id))); err != nil {
		return fmt.Errorf("deleting the job record: %w", err)
	}
	return nil
}

func (s Store) path(id string) string { return filepath.Join(s.Dir, id+".json") }

// ready makes the folder, and refuses one that others could write.
func (s Store) ready() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	st, err := os.Stat(s.Dir)
	if err != nil {
		return fmt.Errorf("checking the state folder: %w", err)
	}
	if ownerOf(st) != os.Geteuid() {
		return fmt.Errorf("the state folder %s belongs to user %d, not to %d", s.Dir, ownerOf(st), os.Geteuid())
	}
	if st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("the state folder %s can be written by other users (mode %v)", s.Dir, st.Mode().Perm())
	}
	return nil
}

func ownerOf(st fs.FileInfo) int {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(sys.Uid)
}

func validID(id string) bool {
	if len(id) != 32 {
		return false
	}
	return strings.Trim(id, "0123456789abcdef") == ""
}
