// Package wording words requests to a container hook as the runner does (ContainerInfo.cs, HookInput.cs).
package wording

import (
	"strings"

	"github.com/gantry-ci/gantry/hook"
)

// Volume reads an entry of `volumes:` (MountVolume.ParseVolumeString). Two parts are source and target, or target and
// "ro"; of the options of three only "ro" counts; more parts are one target.
func Volume(entry string) hook.MountVolume {
	v := hook.MountVolume{UserProvidedValue: entry}
	switch parts := strings.Split(entry, ":"); {
	case len(parts) == 3:
		v.SourceVolumePath, v.TargetVolumePath, v.ReadOnly = parts[0], parts[1], parts[2] == "ro"
	case len(parts) == 2 && parts[1] == "ro":
		v.TargetVolumePath, v.ReadOnly = parts[0], true
	case len(parts) == 2:
		v.SourceVolumePath, v.TargetVolumePath = parts[0], parts[1]
	default:
		v.TargetVolumePath = entry
	}
	return v
}

// Volumes are the entries of `volumes:`.
func Volumes(entries []string) []hook.MountVolume {
	all := []hook.MountVolume{}
	for _, entry := range entries {
		if entry != "" {
			all = append(all, Volume(entry))
		}
	}
	return all
}

// Ports are the entries of `ports:`, each once.
func Ports(entries []string) []string {
	all := []string{}
	seen := map[string]bool{}
	for _, entry := range entries {
		if entry != "" && !seen[entry] {
			seen[entry] = true
			all = append(all, entry)
		}
	}
	return all
}

// Registry gives the credentials for an image; nil without a user.
func Registry(image, username, password string) *hook.Registry {
	if username == "" {
		return nil
	}
	return &hook.Registry{Username: username, Password: password, ServerURL: Server(image)}
}

// Server is the registry of an image if its name says so, and "" for Docker Hub (DockerUtil.ParseRegistryHostnameFromImageName).
func Server(image string) string {
	parts := strings.Split(image, "/")
	if len(parts) > 1 && strings.ContainsAny(parts[0], ".:") {
		return parts[0]
	}
	return ""
}

// ForGitHubPackages says whether the runner logs in to the image's registry with the job's own token.
func ForGitHubPackages(image string) bool {
	server := Server(image)
	return server == "ghcr.io" || server == "containers.pkg.github.com"
}

// Image takes the prefix docker:// off a container's image.
func Image(image string) string { return strings.TrimPrefix(image, "docker://") }

// ScriptArgs splits a command line as it is sent with run_script_step: at blanks, and empty pieces are kept.
func ScriptArgs(line string) []string {
	pieces := strings.Split(line, " ")
	for i, piece := range pieces {
		pieces[i] = strings.TrimSpace(piece)
	}
	return pieces
}

// ContainerArgs splits a command line as it is sent for a container: at blanks, without empty pieces.
func ContainerArgs(line string) []string {
	pieces := []string{}
	for _, piece := range ScriptArgs(line) {
		if piece != "" {
			pieces = append(pieces, piece)
		}
	}
	return pieces
}

// ActionArgs puts the args of a container action into one command line (ContainerActionHandler.cs).
func ActionArgs(args []string) string {
	var line strings.Builder
	for _, arg := range args {
		line.WriteString(` "` + strings.ReplaceAll(arg, `"`, `\"`) + `"`)
	}
	return line.String()
}
