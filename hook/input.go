package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// InputError says what is wrong with the JSON object on standard input. It never quotes values, as they may be
// secrets. Errors of the decoding functions are always of this type, except those of reading itself.
type InputError struct {
	// Field is the path of the value, such as args.services[1].image; "" for the input as a whole.
	Field string
	// Problem is a complete message that names Field.
	Problem string
	// Hint is the next step for a user; it may be "".
	Hint string
}

func (e *InputError) Error() string { return e.Problem }

// hintStdin goes with everything that cannot have come from the runner.
const hintStdin = "the hook is meant to be started by the runner, which writes one JSON object to its standard input"

// ReadInput reads all of r and parses it with ParseInput.
func ReadInput(r io.Reader) (*Input, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the command from standard input: %w", err)
	}
	return ParseInput(text)
}

// ParseInput reads the object that the runner sends, or a person who copied an example from GitHub's documentation
// or from the runner's design record: of any size, on one line or on many, after a byte order mark or not, with
// unknown members, and with "job_cleanup" for "cleanup_job". A null state becomes nil, a null responseFile "".
//
// Command is one of the four afterwards, Args an object (or ignored, for cleanup_job), and State an object or nil.
// Args is decoded by DecodePrepareJob, DecodeScriptStep or DecodeContainerStep. Errors are of type *InputError.
// The result may share memory with text.
func ParseInput(text []byte) (*Input, error) {
	object, err := soleObject(text)
	if err != nil {
		return nil, err
	}
	var raw struct{ Command, ResponseFile, Args, State json.RawMessage }
	if err := json.Unmarshal(object, &raw); err != nil {
		return nil, jsonProblem(text, err)
	}
	d := decoder{}
	in := &Input{
		Command:      d.command(field{"command", raw.Command}),
		ResponseFile: d.text(field{"responseFile", raw.ResponseFile}),
		State:        d.object(field{"state", raw.State}),
	}
	if d.err == nil {
		in.Args = d.args(field{"args", raw.Args}, in.Command)
	}
	if d.err != nil {
		return nil, d.err
	}
	return in, nil
}

// soleObject strips what may stand around the object. It does not check that the object is well-formed.
func soleObject(text []byte) ([]byte, error) {
	object := bytes.TrimSpace(trimBOM(text))
	switch {
	case len(object) == 0:
		return nil, &InputError{Problem: "standard input is empty", Hint: hintStdin}
	case object[0] == '{':
		return object, nil
	case json.Valid(object):
		return nil, &InputError{
			Problem: fmt.Sprintf("standard input must be a JSON object, not %s", field{raw: object}.kind()),
			Hint:    hintStdin,
		}
	}
	return nil, jsonProblem(text, nil)
}

func trimBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

// jsonProblem explains why text is not one JSON value; cause is reported if it has no explanation of its own.
func jsonProblem(text []byte, cause error) error {
	body := trimBOM(text)
	skipped := int64(len(text) - len(body))
	dec := json.NewDecoder(bytes.NewReader(body))
	var value json.RawMessage
	err := dec.Decode(&value)
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &InputError{
			Problem: fmt.Sprintf("the JSON on standard input is incomplete: it ends after %d bytes", len(text)),
			Hint:    "was the input cut off, or its writer killed?",
		}
	case errors.As(err, &syntax):
		return &InputError{
			Problem: fmt.Sprintf("standard input is not JSON: %s at byte %d", syntax, skipped+syntax.Offset),
			Hint:    hintStdin,
		}
	case err == nil && cause != nil:
		return &InputError{
			Problem: fmt.Sprintf("there is text after the JSON object on standard input, from byte %d", skipped+dec.InputOffset()),
			Hint:    "send one object only, then close standard input",
		}
	}
	return &InputError{Problem: fmt.Sprintf("standard input is not JSON: %v", errors.Join(err, cause)), Hint: hintStdin}
}

// command reads the name of the command, and gives that of the design record its real name.
func (d *decoder) command(f field) Command {
	switch name := Command(d.text(f)); name {
	case PrepareJob, CleanupJob, RunScriptStep, RunContainerStep:
		return name
	case "job_cleanup":
		return CleanupJob
	case "":
		d.fail(&InputError{Field: f.path, Problem: "command is missing", Hint: hintCommands})
	default:
		d.fail(&InputError{Field: f.path, Problem: fmt.Sprintf("command %.40q is unknown", string(name)), Hint: hintCommands})
	}
	return ""
}

const hintCommands = "the commands are prepare_job, run_script_step, run_container_step and cleanup_job"

// args checks the outer form of args. Nothing is needed of those of cleanup_job.
func (d *decoder) args(f field, command Command) json.RawMessage {
	if command == CleanupJob {
		return f.raw
	}
	if f.null() {
		d.fail(&InputError{Field: f.path, Problem: fmt.Sprintf("args is missing, %s needs it", command), Hint: hintStdin})
		return nil
	}
	return d.object(f)
}
