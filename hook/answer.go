package hook

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// AnswerError says that a handler answered with something that the runner would not accept. It is a mistake in the
// handler's program, not of a user.
type AnswerError struct {
	// Field is the path within the response, such as context.services.
	Field   string
	Problem string
}

func (e *AnswerError) Error() string {
	return fmt.Sprintf("gantry bug: %s of the response %s", e.Field, e.Problem)
}

// maxDepth is the depth at which Newtonsoft's reader, the runner's, gives up.
const maxDepth = 64

// encode gives the text of the response file: one line of JSON, or nothing if there is nothing to say. After a
// successful command everything that the runner needs must be there. If the answer cannot be encoded the text says
// nothing.
func (c *call) encode(answer Response, succeeded bool) ([]byte, error) {
	empty := c.nothing()
	state, err := encodeState(answer.State)
	if err != nil {
		return empty, err
	}
	var wire Response
	if state != nil {
		wire.State = state
	}
	if c.Command == PrepareJob {
		if err := c.complete(&wire, answer); err != nil && succeeded {
			return empty, err
		}
	}
	if wire.State == nil && wire.IsAlpine == nil && wire.Context == nil {
		return empty, nil
	}
	text, err := marshalLine(wire)
	if err != nil {
		return empty, &AnswerError{Field: "context", Problem: err.Error()}
	}
	if depth(text) > maxDepth {
		return empty, &AnswerError{Field: "state", Problem: fmt.Sprintf("is nested too deeply, the runner reads %d levels", maxDepth)}
	}
	return text, nil
}

// nothing is the response that says nothing. The runner dereferences that of prepare_job, so it may not be empty; it
// catches that itself only with a job container.
func (c *call) nothing() []byte {
	if c.Command == PrepareJob && !c.jobContainer {
		return []byte("{}\n")
	}
	return nil
}

// complete takes over what prepare_job answers beside the state. What belongs to a job container is left out without
// one, where the runner ignores or dereferences it.
func (c *call) complete(wire *Response, answer Response) error {
	if c.jobContainer {
		wire.IsAlpine = answer.IsAlpine
	}
	if answer.Context != nil {
		wire.Context = c.jobContext(answer.Context)
	}
	switch {
	case c.jobContainer && wire.IsAlpine == nil:
		return &AnswerError{Field: "isAlpine", Problem: "is missing, and there is a job container"}
	case wire.Context != nil && len(wire.Context.Services) != c.services:
		return &AnswerError{
			Field:   "context.services",
			Problem: fmt.Sprintf("has %d entries for %d services", len(wire.Context.Services), c.services),
		}
	}
	return nil
}

// jobContext copies a context with arrays and objects for what is nil.
func (c *call) jobContext(answer *JobContext) *JobContext {
	wire := &JobContext{Services: make([]ServiceContext, len(answer.Services))}
	if c.jobContainer {
		wire.Container = answer.Container
	}
	for i, service := range answer.Services {
		if service.Ports == nil {
			service.Ports = map[string]string{}
		}
		wire.Services[i] = service
	}
	return wire
}

// encodeState gives the JSON object of a state; nil for none.
func encodeState(state any) (json.RawMessage, error) {
	text, err := marshalLine(state)
	if err != nil {
		return nil, &AnswerError{Field: "state", Problem: "cannot be encoded: " + err.Error()}
	}
	switch text = bytes.TrimSpace(text); text[0] {
	case '{':
		return text, nil
	case 'n':
		return nil, nil
	}
	return nil, &AnswerError{Field: "state", Problem: "must be an object, not " + field{raw: text}.kind()}
}

// marshalLine encodes a value as the runner does: on one line, with <, > and & as they are, and a line feed.
func marshalLine(value any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// depth counts the levels of arrays and objects in valid JSON.
func depth(text []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}
