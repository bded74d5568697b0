package layout

import (
	"strings"

	"github.com/gantry-ci/gantry/hook"
)

// Mapping translates host paths to those of a container (ContainerInfo.cs). Its zero value translates nothing.
type Mapping struct {
	pairs []pair
	// sources are the host paths that are mounted, those of the user included.
	sources []string
}

type pair struct{ host, container string }

// JobContainer is the mapping of a job container, or a service; mounts are all of its volumes.
func (d Dirs) JobContainer(mounts []hook.MountVolume) Mapping {
	m := Mapping{pairs: []pair{
		{d.WorkflowDir(), "/github/workflow"},
		{d.Home(), "/github/home"},
		{d.Work, "/__w"},
		{d.Tool, "/__t"},
		{d.Externals, "/__e"},
	}}
	for _, mount := range mounts {
		if mount.SourceVolumePath != "" {
			m.sources = append(m.sources, mount.SourceVolumePath)
		}
	}
	return m
}

// ActionContainer is the mapping of a container action (ContainerActionHandler.cs).
func (d Dirs) ActionContainer() Mapping {
	return Mapping{pairs: []pair{
		{d.Workspace, "/github/workspace"},
		{d.FileCommands(), "/github/file_commands"},
		{d.WorkflowDir(), "/github/workflow"},
		{d.Home(), "/github/home"},
		{d.Temp, "/github/runner_temp"},
	}}
}

// Translate gives the container's path of a value that is one of the mapped folders or below one; any other value,
// such as a list of paths, is returned as it is.
func (m Mapping) Translate(value string) string {
	for _, p := range m.pairs {
		if value == p.host {
			return p.container
		}
		if rest, ok := strings.CutPrefix(value, p.host+"/"); ok {
			return p.container + "/" + rest
		}
	}
	return value
}

// Resolve is Translate for a path of a step (StepHost.ResolvePathForStepHost): quotes around it go, and only what
// begins like the source of a mount is translated.
func (m Mapping) Resolve(path string) string {
	trimmed := strings.Trim(path, `"`)
	for _, source := range m.sources {
		if strings.HasPrefix(trimmed, source) {
			return m.Translate(trimmed)
		}
	}
	return path
}

// JobMounts are the system volumes of a job container, in the runner's order (ContainerOperationProvider.cs).
func (d Dirs) JobMounts() []hook.MountVolume {
	m := d.JobContainer(nil)
	return []hook.MountVolume{
		dockerSocket(),
		{SourceVolumePath: d.Work, TargetVolumePath: m.Translate(d.Work)},
		{SourceVolumePath: d.Externals, TargetVolumePath: m.Translate(d.Externals), ReadOnly: true},
		{SourceVolumePath: d.Temp, TargetVolumePath: m.Translate(d.Temp)},
		{SourceVolumePath: d.Actions, TargetVolumePath: m.Translate(d.Actions)},
		{SourceVolumePath: d.Tool, TargetVolumePath: m.Translate(d.Tool)},
		{SourceVolumePath: d.Home(), TargetVolumePath: m.Translate(d.Home())},
		{SourceVolumePath: d.WorkflowDir(), TargetVolumePath: m.Translate(d.WorkflowDir())},
	}
}

// ActionMounts are the system volumes of a container action, in the runner's order (ContainerActionHandler.cs).
func (d Dirs) ActionMounts() []hook.MountVolume {
	return []hook.MountVolume{
		dockerSocket(),
		{SourceVolumePath: d.Temp, TargetVolumePath: "/github/runner_temp"},
		{SourceVolumePath: d.Home(), TargetVolumePath: "/github/home"},
		{SourceVolumePath: d.WorkflowDir(), TargetVolumePath: "/github/workflow"},
		{SourceVolumePath: d.FileCommands(), TargetVolumePath: "/github/file_commands"},
		{SourceVolumePath: d.Workspace, TargetVolumePath: "/github/workspace"},
	}
}

// dockerSocket is listed whether it exists or not.
func dockerSocket() hook.MountVolume {
	return hook.MountVolume{SourceVolumePath: "/var/run/docker.sock", TargetVolumePath: "/var/run/docker.sock"}
}
