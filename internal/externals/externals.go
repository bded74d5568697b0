// Package externals brings programs of the runner into job containers that have no mount for them: the node of
// JavaScript actions lies in the runner's own folder, which may be on another machine or in another image.
//
// Only the program that a step asks for travels, once for each job, and its hash is looked at when it has arrived. The
// agent starts it in the place of the one that is missing (agent.Externals). Standard library only: the step path links
// it.
package externals

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gantry-ci/gantry/internal/agent"
	"github.com/gantry-ci/gantry/internal/safefs"
	"github.com/gantry-ci/gantry/internal/worksync"
)

// Spec says how a job gets programs. prepare_job decides it and keeps it in the job's record.
type Spec struct {
	// Source is the runner's folder of externals, and Prefix where steps look for it in the container: "/__e".
	Source string `json:"source"`
	Prefix string `json:"prefix"`
	// Shared is a folder below the work folder that the container has as Root, where it shares the work folder; "" where
	// programs are sent to Root over the agent's connection.
	Shared string `json:"shared,omitempty"`
	Root   string `json:"root"`
	// State is a folder of this job's that no job can write: what has been brought is noted there.
	State string `json:"state"`
}

// Dir is the folder of programs in an agent's folder (agent.SharedDir), for Shared and Root.
const Dir = "e"

// Options are the arguments of the agent's that belong to a Spec.
func (s Spec) Options() agent.Externals { return agent.Externals{Prefix: s.Prefix, Dir: s.Root} }

// StateDir is the folder of a job below the one of the job records. It goes with the job's record.
func StateDir(records, job string) string { return filepath.Join(records, "externals-"+job) }

// Provide sees to it that a step's program is in the container, if it is one of the runner's: call it before the step.
// One that the runner has not is no error; the step then says what is missing. Work is the runner's work folder, client
// reaches the job container's agent.
func (s Spec) Provide(ctx context.Context, work string, client *agent.Client, program string) error {
	rel, ok := strings.CutPrefix(path.Clean(program), s.Prefix+"/")
	if !ok {
		return nil
	}
	real, err := filepath.EvalSymlinks(filepath.Join(s.Source, rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.bring(ctx, work, client, rel, real)
	}
	if err != nil {
		return fmt.Errorf("bringing the runner's %s into the job container: %w", rel, err)
	}
	return nil
}

func (s Spec) bring(ctx context.Context, work string, client *agent.Client, rel, real string) error {
	source, err := versionOf(os.Stat(real))
	if err != nil {
		return err
	}
	brought := s.brought()
	if s.Shared == "" {
		if brought[rel].Source == source {
			return nil
		}
		if err := worksync.Put(ctx, client, real, s.Root, rel); err != nil {
			return err
		}
		return s.note(brought, rel, record{Source: source})
	}
	copied := filepath.Join(s.Shared, rel)
	there, err := versionIn(work, copied)
	if err == nil && brought[rel] == (record{Source: source, Copy: there}) {
		return nil
	}
	if err := copyBelow(work, copied, real); err != nil {
		return err
	}
	if there, err = versionIn(work, copied); err != nil {
		return err
	}
	return s.note(brought, rel, record{Source: source, Copy: there})
}

// record says what has been brought: the version of the runner's file, and that of its copy on the same machine.
type record struct {
	Source version `json:"source"`
	Copy   version `json:"copy,omitzero"`
}

// version tells a state of a file from every other one. Nobody can set the time of its last change of any kind.
type version struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Size  int64  `json:"size"`
	Ctime int64  `json:"ctime"`
}

func versionOf(info fs.FileInfo, err error) (version, error) {
	if err != nil {
		return version{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return version{}, fmt.Errorf("%s: %w", info.Name(), safefs.ErrKind)
	}
	return version{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size, Ctime: st.Ctim.Nano()}, nil
}

func versionIn(work, rel string) (version, error) {
	f, err := safefs.OpenPath(work, rel)
	if err != nil {
		return version{}, err
	}
	defer f.Close()
	return versionOf(f.Stat())
}

const recordName = "externals.json"

// brought is what has been noted; nothing if nothing has, or it cannot be read: then it is brought once more.
func (s Spec) brought() map[string]record {
	all := map[string]record{}
	text, err := os.ReadFile(filepath.Join(s.State, recordName))
	if err != nil || json.Unmarshal(text, &all) != nil {
		return map[string]record{}
	}
	return all
}

func (s Spec) note(all map[string]record, rel string, r record) error {
	all[rel] = r
	text, err := json.Marshal(all)
	if err == nil {
		err = os.MkdirAll(s.State, 0o700)
	}
	name := filepath.Join(s.State, recordName)
	if err == nil {
		err = os.WriteFile(name+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	return err
}
