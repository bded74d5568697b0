package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gantry-ci/gantry/hook"
)

// object is a JSON object on its way to the hook.
type object = map[string]any

// TokenVariable is in the environment of every container that the suite asks for, so that it is found again. One with
// another value than a runner's is not that runner's.
const TokenVariable = "CONFORMANCE_TOKEN"

// wire turns a type of the protocol into an object as the runner words it: null for what is not set, no array and no
// object ever null.
func wire(value any) (object, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("wording a request: %w", err)
	}
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("wording a request: %w", err)
	}
	wordObject(o)
	return o, nil
}

func wordObject(o object) {
	for name, value := range o {
		switch {
		case value == "" && slices.Contains([]string{"image", "dockerfile", "entryPoint", "workingDirectory", "createOptions",
			"userProvidedValue", "sourceVolumePath"}, name):
			o[name] = nil
		case value == nil && slices.Contains([]string{"entryPointArgs", "portMappings", "systemMountVolumes", "userMountVolumes",
			"prependPath", "services"}, name):
			o[name] = []any{}
		case value == nil && name == "environmentVariables":
			o[name] = object{}
		}
		switch child := value.(type) {
		case object:
			if name != "environmentVariables" {
				wordObject(child)
			}
		case []any:
			for _, element := range child {
				if member, ok := element.(object); ok {
					wordObject(member)
				}
			}
		}
	}
}

// merge puts a case's `with` into a request: objects member by member, anything else replaces; !absent removes.
func merge(into object, with *yaml.Node) error {
	if with.IsZero() {
		return nil
	}
	if with.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: with is an object", with.Line)
	}
	for i := 0; i+1 < len(with.Content); i += 2 {
		name, value := with.Content[i].Value, with.Content[i+1]
		inner, isObject := into[name].(object)
		switch {
		case value.Tag == "!absent":
			delete(into, name)
		case value.Kind == yaml.MappingNode && isObject && value.Tag != "!only":
			if err := merge(inner, value); err != nil {
				return err
			}
		default:
			plain := *value
			if plain.Tag == "!only" {
				plain.Tag = ""
			}
			decoded, err := asJSON(&plain)
			if err != nil {
				return err
			}
			into[name] = decoded
		}
	}
	return nil
}

// asJSON gives a node's value as encoding/json would have it.
func asJSON(node *yaml.Node) (any, error) {
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, fmt.Errorf("line %d: %w", node.Line, err)
	}
	plain, err := plainJSON(value)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", node.Line, err)
	}
	return plain, nil
}

// plainJSON gives a value as encoding/json would have it.
func plainJSON(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var plain any
	return plain, json.Unmarshal(text, &plain)
}

// args words the args of a call.
func (s *scene) args(call *Call) (hook.Command, object, error) {
	command, o, err := s.plainArgs(call)
	if err != nil {
		return command, nil, err
	}
	target := o
	if command == hook.PrepareJob {
		if container, ok := o["container"].(object); ok {
			target = container
		}
	}
	return command, o, merge(target, &call.With)
}

func (s *scene) plainArgs(call *Call) (hook.Command, object, error) {
	switch {
	case call.Prepare != nil:
		o, err := s.prepareArgs(call.Prepare)
		return hook.PrepareJob, o, err
	case call.Container != nil:
		o, err := s.stepArgs(call.Container)
		return hook.RunContainerStep, o, err
	case call.Cleanup:
		return hook.CleanupJob, object{}, nil
	}
	o, err := s.scriptArgs(call)
	return hook.RunScriptStep, o, err
}

func (s *scene) prepareArgs(p *Prepare) (object, error) {
	o := object{"container": nil, "services": []any{}}
	if p.Image != "" {
		container, err := wire(s.runner.JobContainer(s.image(p.Image)))
		if err != nil {
			return nil, err
		}
		s.mark(container)
		o["container"] = container
	}
	services := []any{}
	for _, service := range p.Services {
		container, err := wire(hook.Container{Image: s.image(service.Image)})
		if err != nil {
			return nil, err
		}
		s.mark(container)
		if err := merge(container, &service.With); err != nil {
			return nil, err
		}
		services = append(services, container)
	}
	o["services"] = services
	return o, nil
}

// mark puts the token into the environment of a container.
func (s *scene) mark(container object) {
	env, ok := container["environmentVariables"].(object)
	if !ok {
		env = object{}
		container["environmentVariables"] = env
	}
	env[TokenVariable] = s.token
}

func (s *scene) stepArgs(c *ContainerStep) (object, error) {
	step := s.runner.ContainerStep("", c.Args...)
	switch {
	case c.Dockerfile != "":
		step.Dockerfile = s.path(c.Dockerfile)
	default:
		step.Image = s.image(c.Image)
	}
	o, err := wire(step)
	if err != nil {
		return nil, err
	}
	if c.Shell != "" {
		// What a container action's args can carry is limited: the runner drops empty pieces. A file can carry all.
		name, err := s.file("step", c.Shell)
		if err != nil {
			return nil, err
		}
		o["entryPoint"], o["entryPointArgs"] = "/bin/sh", []any{`"-e"`, `"/github/runner_temp/` + name + `"`}
	}
	s.mark(o)
	return o, nil
}

func (s *scene) scriptArgs(call *Call) (object, error) {
	args, err := s.script(deref(call.Script))
	if err != nil {
		return nil, err
	}
	switch {
	case call.Program != nil:
		args.EntryPoint, args.EntryPointArgs = call.Program[0], call.Program[1:]
	case call.Line != "":
		pieces := strings.Split(call.Line, " ")
		args.EntryPoint, args.EntryPointArgs = pieces[0], pieces[1:]
	}
	return wire(args)
}

// forms are wordings of a request that mean the same as the runner's own.
func forms() map[string]func(request object) ([]byte, error) {
	return map[string]func(object) ([]byte, error){
		"pretty": func(r object) ([]byte, error) {
			text, err := json.MarshalIndent(r, "", "  ")
			return append(text, '\n'), err
		},
		"crlf": func(r object) ([]byte, error) {
			text, err := json.MarshalIndent(r, "", "\t")
			return bytes.ReplaceAll(append(text, '\n'), []byte("\n"), []byte("\r\n")), err
		},
		"no newline":       oneLine,
		"trailing blanks":  func(r object) ([]byte, error) { return appended(r, "\n\n  \n") },
		"byte order mark":  func(r object) ([]byte, error) { return prepended("\ufeff", r) },
		"escaped":          escaped,
		"unknown members":  unknownMembers,
		"command last":     commandLast,
		"documented names": documentedNames,
	}
}

func oneLine(r object) ([]byte, error) { return json.Marshal(r) }

func appended(r object, end string) ([]byte, error) {
	text, err := json.Marshal(r)
	return append(text, end...), err
}

func prepended(start string, r object) ([]byte, error) {
	text, err := json.Marshal(r)
	return append([]byte(start), append(text, '\n')...), err
}

// escaped writes every character that is not ASCII as \uXXXX, pairs of surrogates included.
func escaped(r object) ([]byte, error) {
	text, err := json.Marshal(r)
	var out bytes.Buffer
	for _, c := range string(text) {
		switch {
		case c < 0x80:
			out.WriteRune(c)
		case c >= 0x10000:
			c -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, c)
		}
	}
	out.WriteByte('\n')
	return out.Bytes(), err
}

// unknownMembers adds what a later runner may send.
func unknownMembers(r object) ([]byte, error) {
	r["version"] = 2
	r["telemetry"] = object{"enabled": true, "list": []any{nil, 1.5}}
	if args, ok := r["args"].(object); ok {
		args["newFeature"] = object{"a": []any{"b"}}
	}
	return appended(r, "\n")
}

// commandLast writes the members in the opposite order of the runner's.
func commandLast(r object) ([]byte, error) {
	out := bytes.NewBufferString("{")
	for i, name := range []string{"state", "args", "responseFile", "command"} {
		text, err := json.Marshal(r[name])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString(",")
		}
		fmt.Fprintf(out, "%q:%s", name, text)
	}
	out.WriteString("}\n")
	return out.Bytes(), nil
}

// documentedNames words a prepare_job as GitHub's page on customising containers does: ports of services as an
// object, and a contextName.
func documentedNames(r object) ([]byte, error) {
	args, ok := r["args"].(object)
	if !ok {
		return nil, errors.New("the documented form is about prepare_job")
	}
	for i, service := range args["services"].([]any) {
		container := service.(object)
		container["contextName"] = fmt.Sprintf("documented%d", i)
		ports := object{}
		for _, mapping := range container["portMappings"].([]any) {
			host, inner, _ := strings.Cut(fmt.Sprint(mapping), ":")
			ports[host] = inner
		}
		container["portMappings"] = ports
	}
	return appended(r, "\n")
}

// cloneEnv copies an environment.
func cloneEnv(env []string, more map[string]string) []string {
	next := slices.Clone(env)
	for _, name := range slices.Sorted(maps.Keys(more)) {
		next = append(next, name+"="+more[name])
	}
	return next
}
