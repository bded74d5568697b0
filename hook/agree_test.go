package hook

import (
	"encoding/json"
	"errors"
	"testing"
)

// Whatever a handler answers with: what is written to the response file is accepted by the runner's rules, and its
// parts arrive. A handler whose answer cannot be accepted is told so.
func FuzzWhatServeWritesTheRunnerAccepts(f *testing.F) {
	f.Add(true, 2, 2, "id", "net", "6379", `{"a":1}`)
	f.Add(false, 1, 1, "\"\x00", "", "//", "")
	f.Add(true, 0, 1, "/*", "*/", "\\", "[]")
	f.Add(false, 0, 0, "", "", "", `{"$type":{"x":[[[]]]}}`)
	f.Fuzz(func(t *testing.T, container bool, services, answered int, id, network, port, state string) {
		services, answered = services&7, answered&7
		answer := Response{IsAlpine: &container, Context: &JobContext{Container: &ContainerContext{ID: id, Network: network}}}
		for range answered {
			answer.Context.Services = append(answer.Context.Services, ServiceContext{ID: id, Network: network, Ports: map[string]string{port: port}})
		}
		if state != "" {
			answer.State = json.RawMessage(state)
		}
		c := call{Input: &Input{Command: PrepareJob}, jobContainer: container, services: services}
		text, err := c.encode(answer, true)
		var bad *AnswerError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error %#v, want an AnswerError", err)
		}
		r, readErr := parseResponse(text, PrepareJob)
		switch {
		case readErr != nil:
			t.Fatalf("the runner cannot read %q: %v", text, readErr)
		case err != nil:
			return
		case r == nil || container != (r.isAlpine != nil) || len(r.context.services) != services:
			t.Fatalf("from %q the runner reads %+v", text, r)
		}
		if err := r.context.check(job{container, services}); err != nil {
			t.Errorf("the runner fails over %q: %v", text, err)
		}
	})
}

// Whatever a hook writes: no panic, and a ResponseError or a response.
func FuzzParseResponse(f *testing.F) {
	f.Add(`{"state":{},"isAlpine":" True ","context":{"container":{"id":1},"services":[null,{"ports":{"a":false}}]}}`)
	f.Add("// x\n{/**/} /*")
	f.Add(`{"isAlpine":1e999}`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseResponse([]byte(text), PrepareJob)
		var bad *ResponseError
		if err != nil && !errors.As(err, &bad) {
			t.Errorf("%q: error %#v, want a ResponseError", text, err)
		}
		if err == nil && r != nil {
			r.response()
			_ = r.context.check(job{})
		}
	})
}
