package handler

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-ci/gantry/hook"
)

// RunnerID is the value of LabelRunner: the first six hex digits of the SHA-256 of the lower-cased text of the
// runner's .runner file, as the runner itself labels its containers (DockerCommandManager.cs). Without such a file
// the runner's name takes its place.
func RunnerID(dirs []string, name string) string {
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, ".runner"))
		if err == nil {
			return shortHash(strings.ToLower(strings.TrimPrefix(string(text), "\ufeff")))
		}
	}
	return shortHash(name)
}

// StateID is the value of LabelState: it ties a job to the folder that holds its record, so that clean-up of
// leftovers never judges jobs of somebody else's runner.
func StateID(stateDir string) string { return shortHash(filepath.Clean(stateDir)) }

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:6]
}

// WorkOf finds the runner's _work folder: where it is mounted from, else above the temp folder of the environment,
// else above the response file. "" if nothing tells.
func WorkOf(in *hook.Input, runnerTemp string) string {
	for _, m := range systemMounts(in) {
		switch m.TargetVolumePath {
		case "/__w":
			return filepath.Clean(m.SourceVolumePath)
		case "/github/runner_temp":
			return filepath.Dir(filepath.Clean(m.SourceVolumePath))
		}
	}
	if filepath.Base(runnerTemp) == "_temp" {
		return filepath.Dir(filepath.Clean(runnerTemp))
	}
	if before, _, ok := strings.Cut(filepath.Clean(in.ResponseFile), "/_temp/"); ok {
		return before
	}
	return ""
}

// systemMounts are those of the job container or of a container step; none if the args cannot be read, which is
// reported when the command is done.
func systemMounts(in *hook.Input) []hook.MountVolume {
	switch in.Command {
	case hook.PrepareJob:
		if args, err := hook.DecodePrepareJob(in.Args); err == nil && args.Container != nil {
			return args.Container.SystemMountVolumes
		}
	case hook.RunContainerStep:
		if args, err := hook.DecodeContainerStep(in.Args); err == nil {
			return args.SystemMountVolumes
		}
	}
	return nil
}
