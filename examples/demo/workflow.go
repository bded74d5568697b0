package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// workflow is as much of a workflow file as workflow.yml has.
type workflow struct {
	Container struct {
		Image string `yaml:"image"`
	} `yaml:"container"`
	Services map[string]struct {
		Image string   `yaml:"image"`
		Ports []string `yaml:"ports"`
	} `yaml:"services"`
	Steps []step `yaml:"steps"`
}

type step struct {
	Name            string            `yaml:"name"`
	ID              string            `yaml:"id"`
	Run             string            `yaml:"run"`
	Shell           string            `yaml:"shell"`
	Uses            string            `yaml:"uses"`
	With            map[string]string `yaml:"with"`
	ContinueOnError bool              `yaml:"continue-on-error"`
}

// readWorkflow reads the file's only job.
func readWorkflow(path string) (*workflow, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the workflow (run the demo in the project's folder): %w", err)
	}
	var file struct {
		Jobs map[string]*workflow `yaml:"jobs"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	for _, wf := range file.Jobs {
		return wf, nil
	}
	return nil, errors.New("no job in " + path)
}

// action is as much of an action.yml as the demo's has.
type action struct {
	Runs struct {
		Image string   `yaml:"image"`
		Args  []string `yaml:"args"`
	} `yaml:"runs"`
}

func readAction(path string) (*action, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the action: %w", err)
	}
	a := &action{}
	if err := yaml.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return a, nil
}

var expression = regexp.MustCompile(`\$\{\{ *([a-z0-9_.]+) *\}\}`)

// expand replaces ${{ name }} by its value.
func expand(text string, values map[string]string) string {
	return expression.ReplaceAllStringFunc(text, func(found string) string {
		return values[expression.FindStringSubmatch(found)[1]]
	})
}
