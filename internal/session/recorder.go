package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gantry-ci/gantry/hook"
	"github.com/gantry-ci/gantry/internal/jobrecord"
	"github.com/gantry-ci/gantry/internal/redact"
	"github.com/gantry-ci/gantry/internal/safefs"
)

// Recorder records calls below a folder.
type Recorder struct {
	Dir string
	// Head is what a new session is headed with. Its Started is the time of the call.
	Head Head
	// Worker names the process that made the call. The runner starts one for each job, so it tells the job where
	// the state does not. It becomes part of a file name.
	Worker string
	// Mask, if it is not nil, takes secrets out of a text, beside those that their names tell. It may know more with
	// each call.
	Mask func(text string) string
}

// Started is a call that begins.
type Started struct {
	Input    *hook.Input
	Environ  []string // of the hook process
	WorkDir  string
	Override string
	Time     time.Time
}

// Recording is a call under way.
type Recording struct {
	path  string
	call  Call
	clean redact.Redactor
}

// Begin writes what is known of a call when it starts, so that a call which is killed can be seen too. prepare_job
// opens a session; other calls belong to the newest one of their job, or open one.
func (r Recorder) Begin(s Started) (*Recording, error) {
	rec := &Recording{call: Call{
		Command: s.Input.Command, Started: s.Time, WorkDir: s.WorkDir, Override: s.Override,
		Environment: map[string]string{}, Input: Input{ResponseFile: s.Input.ResponseFile},
	}}
	rec.clean.Mask = r.Mask
	if err := rec.learn(s); err != nil {
		return nil, err
	}
	rec.call.Scripts = scripts(r.Head.Work, s.Input)
	if err := rec.call.redact(&rec.clean); err != nil {
		return nil, err
	}
	dir, err := r.folder(s)
	if err != nil {
		return nil, fmt.Errorf("recording the call: %w", err)
	}
	if err := rec.create(dir); err != nil {
		return nil, fmt.Errorf("recording the call: %w", err)
	}
	return rec, nil
}

// End adds how the call ended. Response is the text of the response file.
func (rec *Recording) End(o Outcome, response []byte) error {
	o.Response = asJSON(response)
	rec.call.Outcome = &o
	err := rec.call.redact(&rec.clean) // of what the call itself has made known, too
	if err := errors.Join(err, writeJSON(rec.path, rec.call), rec.markJob(response)); err != nil {
		return fmt.Errorf("recording the call: %w", err)
	}
	return nil
}

// Folder is the session that the call is part of.
func (rec *Recording) Folder() string { return filepath.Dir(rec.path) }

// Mask takes secrets out of a session that nobody writes to any more: those that became known only after a call.
func Mask(dir string, mask func(text string) string) error {
	paths, err := callFiles(dir)
	if err != nil {
		return err
	}
	for _, path := range paths {
		var c Call
		err := readJSON(path, &c)
		if err == nil {
			err = c.redact(&redact.Redactor{Mask: mask})
		}
		if err == nil {
			err = writeJSON(path, c)
		}
		if err != nil {
			return fmt.Errorf("masking a recorded call: %w", err)
		}
	}
	return nil
}

// asJSON is a response as JSON in any case.
func asJSON(text []byte) json.RawMessage {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	if json.Valid(text) {
		return text
	}
	quoted, err := json.Marshal(string(text))
	if err != nil {
		return nil
	}
	return quoted
}

// learn takes over input and environment, and learns from them what is secret.
func (rec *Recording) learn(s Started) error {
	for into, text := range map[*json.RawMessage]json.RawMessage{
		&rec.call.Input.Args:  s.Input.Args,
		&rec.call.Input.State: s.Input.State,
	} {
		*into = json.RawMessage("null")
		if len(text) > 0 {
			*into = text
		}
		if err := rec.clean.LearnJSON(*into); err != nil {
			return err
		}
	}
	for _, variable := range s.Environ {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "GITHUB_") || strings.HasPrefix(name, "RUNNER_") {
			rec.call.Environment[name] = value
		}
	}
	return nil
}

// redact takes secrets out of a call. It may be done again when more of them are known.
func (c *Call) redact(clean *redact.Redactor) (err error) {
	if c.Input.Args, err = clean.JSON(c.Input.Args, c.isScript); err != nil {
		return err
	}
	if c.Input.State, err = clean.JSON(c.Input.State, nil); err != nil {
		return err
	}
	for name, value := range c.Environment {
		c.Environment[name] = clean.Value(name, value)
	}
	for name, text := range c.Scripts {
		c.Scripts[name] = clean.Text(text)
	}
	if c.Outcome == nil {
		return nil
	}
	c.Outcome.Error = clean.Text(c.Outcome.Error)
	if c.Outcome.Response != nil {
		c.Outcome.Response, err = clean.JSON(c.Outcome.Response, nil)
	}
	return err
}

// isScript says whether an argument is the path of one of the call's scripts. These names are random: a short secret
// that happens to be in one is none there, and the call could not be replayed without its script.
func (c *Call) isScript(arg string) bool {
	name, ok := strings.CutPrefix(strings.Trim(arg, `'"`), scriptFolder)
	_, known := c.Scripts[name]
	return ok && known
}

// scriptFolder is where scripts lie for the job container.
const scriptFolder = "/__w/_temp/"

// longestScript is how much of a script is kept: more is no script.
const longestScript = 1 << 20

// scripts reads what a script step runs from _temp. The job can write there: no link is followed, and what cannot
// be read is left out.
func scripts(work string, in *hook.Input) map[string]string {
	args, err := hook.DecodeScriptStep(in.Args)
	if in.Command != hook.RunScriptStep || err != nil || work == "" {
		return nil
	}
	all := map[string]string{}
	for _, arg := range hook.Argv(args.EntryPointArgs) {
		name, ok := strings.CutPrefix(arg, scriptFolder)
		if !ok || strings.Contains(name, "/") {
			continue
		}
		if text, err := readScript(work, filepath.Join("_temp", name)); err == nil {
			all[name] = text
		}
	}
	return all
}

func readScript(work, rel string) (string, error) {
	file, err := safefs.OpenFile(work, rel, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, errors.New("not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(file, longestScript))
	return string(text), err
}

// folder finds or makes the session's folder.
func (r Recorder) folder(s Started) (string, error) {
	key := r.Head.Runner + "-" + r.Worker
	if s.Input.Command != hook.PrepareJob {
		found, err := r.current(key, s.Input.State)
		if found != "" || err != nil {
			return found, err
		}
	}
	dir := filepath.Join(r.Dir, s.Time.UTC().Format("20060102T150405.000Z")+"-"+key)
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	head := r.Head
	head.Version, head.Started = version, s.Time
	return dir, writeJSON(filepath.Join(dir, headFile), head)
}

// current finds the session of a job: by the job that the state names, else the newest of the worker; "" for none.
func (r Recorder) current(key string, state json.RawMessage) (string, error) {
	if job, ok := jobrecord.StateOf(state); ok {
		found, err := filepath.Glob(filepath.Join(r.Dir, "*", jobMark+job))
		if err != nil || len(found) > 0 {
			return filepath.Dir(firstOf(found)), err
		}
	}
	found, err := filepath.Glob(filepath.Join(r.Dir, "*-"+key))
	slices.Sort(found)
	slices.Reverse(found)
	return firstOf(found), err
}

// jobMark and a job's ID name an empty file in the session of that job.
const jobMark = ".job-"

func firstOf(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return texts[0]
}

// markJob remembers which job prepare_job has made.
func (rec *Recording) markJob(response json.RawMessage) error {
	var said struct{ State json.RawMessage }
	if rec.call.Command != hook.PrepareJob || json.Unmarshal(response, &said) != nil {
		return nil
	}
	job, ok := jobrecord.StateOf(said.State)
	if !ok {
		return nil
	}
	return os.WriteFile(filepath.Join(filepath.Dir(rec.path), jobMark+job), nil, 0o600)
}

// create writes the call under the next free number: steps may run side by side.
func (rec *Recording) create(dir string) error {
	for rec.call.Number = 1; ; rec.call.Number++ {
		free, err := rec.tryNumber(dir)
		if free || err != nil {
			return err
		}
	}
}

// tryNumber writes the call under its number unless there is one already. Only one process at a time looks.
func (rec *Recording) tryNumber(dir string) (free bool, err error) {
	claim := filepath.Join(dir, fmt.Sprintf(".%04d", rec.call.Number))
	file, err := os.OpenFile(claim, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(claim)) }()
	taken, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%04d-*.json", rec.call.Number)))
	if err != nil || len(taken) > 0 {
		return false, err
	}
	rec.path = filepath.Join(dir, fmt.Sprintf("%04d-%s.json", rec.call.Number, rec.call.Command))
	return true, writeJSON(rec.path, rec.call)
}

// writeJSON replaces a file as a whole, mode 0600.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
