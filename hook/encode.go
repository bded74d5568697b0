package hook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// encodeInput writes an input in the form of the runner's serializer (HookInput.cs): one line, members in the order
// of the runner's classes, all of them present, null for what is not set, arrays and objects never null, and only
// control characters, quotes and backslashes escaped.
//
// args may be the types of this package or pointers to them, nil for {}, or anything else that encodes to JSON.
func encodeInput(command Command, responseFile string, args any, state json.RawMessage) ([]byte, error) {
	text, err := marshalLine(struct {
		Command      Command         `json:"command"`
		ResponseFile string          `json:"responseFile"`
		Args         any             `json:"args"`
		State        json.RawMessage `json:"state"`
	}{command, responseFile, sentArgs(args), state})
	if err != nil {
		return nil, fmt.Errorf("encoding the input of %s: %w", command, err)
	}
	return text, nil
}

// sentArgs puts the sent types in place of the wire types, which have "" for null.
func sentArgs(args any) any {
	switch args := args.(type) {
	case nil:
		return struct{}{}
	case PrepareJobArgs:
		return sentPrepareJob(&args)
	case *PrepareJobArgs:
		return sentPrepareJob(args)
	case ScriptStepArgs:
		return sentScriptStep(args)
	case *ScriptStepArgs:
		return sentScriptStep(*args)
	case Container:
		return newSentContainer(&args)
	case *Container:
		return newSentContainer(args)
	}
	return args
}

type sentContainer struct {
	Image                *string       `json:"image"`
	Dockerfile           *string       `json:"dockerfile"`
	EntryPointArgs       []string      `json:"entryPointArgs"`
	EntryPoint           *string       `json:"entryPoint"`
	WorkingDirectory     *string       `json:"workingDirectory"`
	CreateOptions        *string       `json:"createOptions"`
	Registry             *Registry     `json:"registry"`
	EnvironmentVariables sentVariables `json:"environmentVariables"`
	PortMappings         []string      `json:"portMappings"`
	SystemMountVolumes   []sentMount   `json:"systemMountVolumes"`
	UserMountVolumes     []sentMount   `json:"userMountVolumes"`
}

type sentMount struct {
	UserProvidedValue *string `json:"userProvidedValue"`
	SourceVolumePath  *string `json:"sourceVolumePath"`
	TargetVolumePath  string  `json:"targetVolumePath"`
	ReadOnly          bool    `json:"readOnly"`
}

func sentPrepareJob(args *PrepareJobArgs) any {
	sent := struct {
		Container *sentContainer  `json:"container"`
		Services  []sentContainer `json:"services"`
	}{Services: make([]sentContainer, len(args.Services))}
	if args.Container != nil {
		container := newSentContainer(args.Container)
		sent.Container = &container
	}
	for i := range args.Services {
		sent.Services[i] = newSentContainer(&args.Services[i])
	}
	return sent
}

type sentScript struct {
	EntryPointArgs       []string      `json:"entryPointArgs"`
	EntryPoint           string        `json:"entryPoint"`
	EnvironmentVariables sentVariables `json:"environmentVariables"`
	PrependPath          []string      `json:"prependPath"`
	WorkingDirectory     string        `json:"workingDirectory"`
}

func sentScriptStep(args ScriptStepArgs) sentScript {
	return sentScript{
		EntryPointArgs:       notNil(args.EntryPointArgs),
		EntryPoint:           args.EntryPoint,
		EnvironmentVariables: sentVariables{args.EnvironmentVariables, args.EnvironmentOrder},
		PrependPath:          notNil(args.PrependPath),
		WorkingDirectory:     args.WorkingDirectory,
	}
}

func newSentContainer(c *Container) sentContainer {
	return sentContainer{
		Image:                orNull(c.Image),
		Dockerfile:           orNull(c.Dockerfile),
		EntryPointArgs:       notNil(c.EntryPointArgs),
		EntryPoint:           orNull(c.EntryPoint),
		WorkingDirectory:     orNull(c.WorkingDirectory),
		CreateOptions:        orNull(c.CreateOptions),
		Registry:             c.Registry,
		EnvironmentVariables: sentVariables{c.EnvironmentVariables, c.EnvironmentOrder},
		PortMappings:         notNil(c.PortMappings),
		SystemMountVolumes:   sentMounts(c.SystemMountVolumes),
		UserMountVolumes:     sentMounts(c.UserMountVolumes),
	}
}

func sentMounts(mounts []MountVolume) []sentMount {
	sent := make([]sentMount, len(mounts))
	for i, m := range mounts {
		sent[i] = sentMount{orNull(m.UserProvidedValue), orNull(m.SourceVolumePath), m.TargetVolumePath, m.ReadOnly}
	}
	return sent
}

// orNull is nil, JSON's null, for "".
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func notNil(texts []string) []string {
	if texts == nil {
		return []string{}
	}
	return texts
}

// sentVariables is an object whose members come in an order.
type sentVariables struct {
	values map[string]string
	order  []string
}

// MarshalJSON writes the members that order names, then the others by their names.
func (v sentVariables) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	done := map[string]bool{}
	for _, name := range slices.Concat(v.order, slices.Sorted(maps.Keys(v.values))) {
		value, ok := v.values[name]
		if !ok || done[name] {
			continue
		}
		done[name] = true
		member, err := marshalLine(map[string]string{name: value})
		if err != nil {
			return nil, err
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(text, bytes.TrimSuffix(member[1:], []byte("}\n"))...)
	}
	return append(text, '}'), nil
}
