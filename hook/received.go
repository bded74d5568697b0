package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ResponseError says why the runner would not read a response file.
type ResponseError struct {
	// Field is the path within the response; "" for the response as a whole.
	Field   string
	Problem string
}

func (e *ResponseError) Error() string { return "reading the response file: " + e.Problem }

// received is a response as the runner's classes hold it (HookResponse.cs): null is nil.
type received struct {
	state    json.RawMessage
	isAlpine *bool
	context  *receivedContext
}

type receivedContext struct {
	container    ContainerContext
	hasContainer bool // id or network is set
	services     []receivedService
	noServices   bool // null, which is not the same as nothing
}

type receivedService struct {
	ServiceContext
	null bool
}

// parseResponse reads a response by the rules of Newtonsoft's reader as the runner uses it: an empty file and null
// are no response; unknown members are ignored; letters of names may have any case; numbers and booleans do for
// strings, and strings and numbers for booleans; comments are skipped; more than 64 levels, and text after the first
// value, are errors. Not taken over are its single quotes, names without quotes, trailing commas and NaN.
//
// Only prepare_job has more than a state; elsewhere the rest is not looked at. Errors are of type *ResponseError.
func parseResponse(text []byte, command Command) (*received, error) {
	object := field{raw: bytes.TrimSpace(stripComments(trimBOM(text)))}
	if len(object.raw) == 0 || string(object.raw) == "null" {
		return nil, nil
	}
	var raw struct{ State, IsAlpine, Context json.RawMessage }
	if err := json.Unmarshal(object.raw, &raw); err != nil {
		return nil, responseSyntax(object, err)
	}
	if depth(object.raw) > maxDepth {
		return nil, &ResponseError{Problem: fmt.Sprintf("it is nested deeper than %d levels", maxDepth)}
	}
	d := decoder{}
	r := &received{state: d.object(field{"state", raw.State})}
	if command == PrepareJob {
		r.isAlpine = d.looseBool(field{"isAlpine", raw.IsAlpine})
		r.context = d.receivedContext(field{"context", raw.Context})
	}
	var wrong *InputError
	if errors.As(d.err, &wrong) {
		return nil, &ResponseError{Field: wrong.Field, Problem: wrong.Problem}
	}
	return r, nil
}

func responseSyntax(object field, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return &ResponseError{Problem: fmt.Sprintf("%v at byte %d", err, syntax.Offset)}
	}
	return &ResponseError{Problem: "it must be an object, not " + object.kind()}
}

// looseBool reads a boolean, the word for one in a string, or a number that is 0 or not.
func (d *decoder) looseBool(f field) *bool {
	if f.null() {
		return nil
	}
	switch f.kind() {
	case "a boolean":
		return new(f.raw[0] == 't')
	case "a number":
		if number, err := strconv.ParseFloat(string(f.raw), 64); err == nil {
			return new(number != 0)
		}
	case "a string":
		return d.boolWord(f)
	}
	d.mismatch(f, "true or false")
	return nil
}

func (d *decoder) boolWord(f field) *bool {
	word := strings.ToLower(strings.TrimSpace(d.text(f)))
	switch word {
	case "true", "false":
		return new(word == "true")
	case "":
		return nil
	}
	d.mismatch(f, "true or false")
	return nil
}

func (d *decoder) receivedContext(f field) *receivedContext {
	if f.null() {
		return nil
	}
	var raw struct{ Container, Services json.RawMessage }
	d.fill(f, &raw)
	context := &receivedContext{noServices: raw.Services != nil && field{raw: raw.Services}.null()}
	if container := f.member("container", raw.Container); !container.null() {
		context.container, context.hasContainer = d.receivedContainer(container)
	}
	for _, item := range d.items(f.member("services", raw.Services)) {
		context.services = append(context.services, d.receivedService(item))
	}
	return context
}

func (d *decoder) receivedContainer(f field) (c ContainerContext, set bool) {
	var raw struct{ ID, Network json.RawMessage }
	d.fill(f, &raw)
	id, network := f.member("id", raw.ID), f.member("network", raw.Network)
	return ContainerContext{ID: d.scalar(id), Network: d.scalar(network)}, !id.null() || !network.null()
}

func (d *decoder) receivedService(f field) receivedService {
	if f.null() {
		return receivedService{null: true}
	}
	var raw struct{ ID, Network, Ports json.RawMessage }
	d.fill(f, &raw)
	service := receivedService{ServiceContext: ServiceContext{
		ID:      d.scalar(f.member("id", raw.ID)),
		Network: d.scalar(f.member("network", raw.Network)),
	}}
	if ports := f.member("ports", raw.Ports); !ports.null() {
		service.Ports = d.textMap(ports)
	}
	return service
}

// response gives the public form.
func (r *received) response() *Response {
	if r == nil {
		return nil
	}
	response := &Response{IsAlpine: r.isAlpine}
	if r.state != nil {
		response.State = r.state
	}
	if r.context == nil {
		return response
	}
	response.Context = &JobContext{Services: []ServiceContext{}}
	if r.context.hasContainer {
		response.Context.Container = &r.context.container
	}
	for _, service := range r.context.services {
		response.Context.Services = append(response.Context.Services, service.ServiceContext)
	}
	return response
}

// stripComments puts a blank for every // and /* */ comment outside strings. One that does not end stays, to be
// reported by the JSON reader.
func stripComments(text []byte) []byte {
	var out []byte
	for rest := text; ; {
		start := nextComment(rest)
		if start < 0 {
			return append(out, rest...)
		}
		end := commentEnd(rest[start:])
		if end < 0 {
			return append(out, rest...)
		}
		out = append(append(out, rest[:start]...), ' ')
		rest = rest[start+end:]
	}
}

// nextComment finds the first comment outside strings; -1 for none.
func nextComment(text []byte) int {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == '/' && i+1 < len(text) && (text[i+1] == '/' || text[i+1] == '*'):
			return i
		}
	}
	return -1
}

// commentEnd gives the length of the comment that text starts with; -1 if it does not end.
func commentEnd(text []byte) int {
	if text[1] == '*' {
		if end := bytes.Index(text[2:], []byte("*/")); end >= 0 {
			return 2 + end + 2
		}
		return -1
	}
	if end := bytes.IndexAny(text, "\r\n"); end >= 0 {
		return end
	}
	return len(text)
}
