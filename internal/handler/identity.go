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

// WorkOf finds the runner's _work folder: where /__w is mounted from, else above the temp folder of the
// environment, else above the response file. "" if nothing tells.
func WorkOf(in *hook.Input, runnerTemp string) string {
	if args, err := hook.DecodePrepareJob(in.Args); in.Command == hook.PrepareJob && err == nil && args.Container != nil {
		for _, m := range args.Container.SystemMountVolumes {
			if m.TargetVolumePath == "/__w" {
				return filepath.Clean(m.SourceVolumePath)
			}
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
