package hook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DecodePrepareJob decodes the args of prepare_job. Beside the runner's form it accepts jobContainer for container
// (GitHub's documentation), and what is said at DecodeContainerStep.
//
// A container or service with neither image nor dockerfile is an error, and so is a mount without target. The result
// has non-nil slices and maps. Errors are of type *InputError and name the field.
func DecodePrepareJob(raw json.RawMessage) (*PrepareJobArgs, error) {
	d := decoder{}
	args := d.prepareJob(argsField(raw))
	if d.err != nil {
		return nil, d.err
	}
	return args, nil
}

// DecodeScriptStep decodes the args of run_script_step. prependPath may be null, or one string with ':' between
// its entries as runner 2.293 sent it. An empty entryPoint is an error. The result has non-nil slices and maps.
// Errors are of type *InputError and name the field.
func DecodeScriptStep(raw json.RawMessage) (*ScriptStepArgs, error) {
	d := decoder{}
	args := d.scriptStep(argsField(raw))
	if d.err != nil {
		return nil, d.err
	}
	return args, nil
}

// DecodeContainerStep decodes the args of run_container_step. Neither image nor dockerfile is an error.
// Accepted beside the runner's form are mountVolumes for systemMountVolumes (the design record), portMappings as an
// object of source and target ports (GitHub's documentation), any case of letters in names, numbers, booleans and
// null as values of environment variables, and null or nothing for every empty array and object.
// The result has non-nil slices and maps. Errors are of type *InputError and name the field.
func DecodeContainerStep(raw json.RawMessage) (*Container, error) {
	d := decoder{}
	args := d.container(argsField(raw))
	if d.err != nil {
		return nil, d.err
	}
	return &args, nil
}

func argsField(raw json.RawMessage) field {
	return field{"args", bytes.TrimSpace(raw)}
}

// fill unmarshals the members of an object into a struct of raw messages.
func (d *decoder) fill(f field, members any) {
	if f.null() {
		d.mismatch(f, "an object")
		return
	}
	if d.object(f) != nil {
		d.into(f, members, "an object")
	}
}

func (d *decoder) prepareJob(f field) *PrepareJobArgs {
	var raw struct{ Container, JobContainer, Services json.RawMessage }
	d.fill(f, &raw)
	args := &PrepareJobArgs{Services: []Container{}}
	job := f.member("container", raw.Container)
	if job.null() {
		job = f.member("jobContainer", raw.JobContainer)
	}
	if !job.null() {
		container := d.container(job)
		args.Container = &container
	}
	for _, service := range d.items(f.member("services", raw.Services)) {
		args.Services = append(args.Services, d.container(service))
	}
	return args
}

func (d *decoder) scriptStep(f field) *ScriptStepArgs {
	var raw struct {
		EntryPointArgs, EntryPoint, EnvironmentVariables, PrependPath, WorkingDirectory json.RawMessage
	}
	d.fill(f, &raw)
	args := &ScriptStepArgs{
		EntryPointArgs:       d.texts(f.member("entryPointArgs", raw.EntryPointArgs)),
		EntryPoint:           d.text(f.member("entryPoint", raw.EntryPoint)),
		EnvironmentVariables: d.textMap(f.member("environmentVariables", raw.EnvironmentVariables)),
		PrependPath:          d.searchPath(f.member("prependPath", raw.PrependPath)),
		WorkingDirectory:     d.text(f.member("workingDirectory", raw.WorkingDirectory)),
	}
	if args.EntryPoint == "" {
		d.missing(f.member("entryPoint", nil), "a script step needs a program to run")
	}
	return args
}

// searchPath reads an array of folders, or one string of them.
func (d *decoder) searchPath(f field) []string {
	if f.null() || f.raw[0] != '"' {
		return d.texts(f)
	}
	folders := []string{}
	for folder := range strings.SplitSeq(d.text(f), ":") {
		if folder != "" {
			folders = append(folders, folder)
		}
	}
	return folders
}

// containerFields are all names that a container's fields are known by.
type containerFields struct {
	Image, Dockerfile, EntryPointArgs, EntryPoint, WorkingDirectory, CreateOptions, Registry json.RawMessage
	EnvironmentVariables, PortMappings, SystemMountVolumes, MountVolumes, UserMountVolumes   json.RawMessage
	ContextName                                                                              json.RawMessage
}

// systemMounts picks the design record's name if the runner's is not there.
func (raw *containerFields) systemMounts(f field) field {
	if m := f.member("mountVolumes", raw.MountVolumes); !m.null() && f.member("", raw.SystemMountVolumes).null() {
		return m
	}
	return f.member("systemMountVolumes", raw.SystemMountVolumes)
}

func (d *decoder) container(f field) Container {
	var raw containerFields
	d.fill(f, &raw)
	c := Container{
		Image:                d.text(f.member("image", raw.Image)),
		Dockerfile:           d.text(f.member("dockerfile", raw.Dockerfile)),
		EntryPointArgs:       d.texts(f.member("entryPointArgs", raw.EntryPointArgs)),
		EntryPoint:           d.text(f.member("entryPoint", raw.EntryPoint)),
		WorkingDirectory:     d.text(f.member("workingDirectory", raw.WorkingDirectory)),
		CreateOptions:        d.text(f.member("createOptions", raw.CreateOptions)),
		Registry:             d.registry(f.member("registry", raw.Registry)),
		EnvironmentVariables: d.textMap(f.member("environmentVariables", raw.EnvironmentVariables)),
		SystemMountVolumes:   d.mounts(raw.systemMounts(f)),
		UserMountVolumes:     d.mounts(f.member("userMountVolumes", raw.UserMountVolumes)),
		ContextName:          d.text(f.member("contextName", raw.ContextName)),
	}
	c.PortMappings, c.PortsFromObject = d.ports(f.member("portMappings", raw.PortMappings))
	if c.Image == "" && c.Dockerfile == "" {
		d.missing(f.member("image", nil), "a container needs an image or a dockerfile")
	}
	return c
}

func (d *decoder) registry(f field) *Registry {
	if f.null() {
		return nil
	}
	var raw struct{ Username, Password, ServerURL json.RawMessage }
	d.fill(f, &raw)
	return &Registry{
		Username:  d.text(f.member("username", raw.Username)),
		Password:  d.text(f.member("password", raw.Password)),
		ServerURL: d.text(f.member("serverUrl", raw.ServerURL)),
	}
}

// ports reads an array of port mappings, or an object of source and target ports, which it orders by source.
func (d *decoder) ports(f field) (mappings []string, fromObject bool) {
	if f.null() || f.raw[0] != '{' {
		return d.texts(f), false
	}
	targets := d.textMap(f)
	mappings = []string{}
	for _, source := range slices.Sorted(maps.Keys(targets)) {
		mappings = append(mappings, source+":"+targets[source])
	}
	return mappings, true
}

func (d *decoder) mounts(f field) []MountVolume {
	mounts := []MountVolume{}
	for _, item := range d.items(f) {
		mounts = append(mounts, d.mount(item))
	}
	return mounts
}

func (d *decoder) mount(f field) MountVolume {
	var raw struct{ UserProvidedValue, SourceVolumePath, TargetVolumePath, ReadOnly json.RawMessage }
	d.fill(f, &raw)
	m := MountVolume{
		UserProvidedValue: d.text(f.member("userProvidedValue", raw.UserProvidedValue)),
		SourceVolumePath:  d.text(f.member("sourceVolumePath", raw.SourceVolumePath)),
		TargetVolumePath:  d.text(f.member("targetVolumePath", raw.TargetVolumePath)),
		ReadOnly:          d.flag(f.member("readOnly", raw.ReadOnly)),
	}
	if m.TargetVolumePath == "" {
		d.missing(f.member("targetVolumePath", nil), "a mount needs a path in the container")
	}
	return m
}

// missing reports an empty value that has to be there.
func (d *decoder) missing(f field, why string) {
	d.fail(&InputError{Field: f.path, Problem: fmt.Sprintf("%s is empty: %s", f.path, why)})
}
