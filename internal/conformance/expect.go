package conformance

import (
	"time"

	"go.yaml.in/yaml/v3"
)

// Expect is what must be observed from outside, after a call. Without anything about the status, it must be 0, and
// the runner must accept the response.
type Expect struct {
	// Status is a number, a list of numbers, or nonzero; any says that it does not matter.
	Status *Status `yaml:"status"`
	Stdout *Text   `yaml:"stdout"`
	Stderr *Text   `yaml:"stderr"`
	// Output is stdout followed by stderr.
	Output *Text `yaml:"output"`
	// Response has paths within the response file, like context.services.0.ports, and what must be there.
	Response map[string]*Value `yaml:"response"`
	// ResponseText is the file itself.
	ResponseText *Text `yaml:"response_text"`
	// Within and AtLeast bound the duration of the call.
	Within  time.Duration `yaml:"within"`
	AtLeast time.Duration `yaml:"at_least"`
	// OutputHeld: other processes may keep the hook's output open. Otherwise they must not.
	OutputHeld bool `yaml:"output_may_be_held"`
	// Files have paths as in File.
	Files map[string]*FileState `yaml:"files"`
	// Containers, Networks and Volumes count what the engine has of this job. They may take some seconds to come true.
	Containers *int `yaml:"containers"`
	Networks   *int `yaml:"networks"`
	Volumes    *int `yaml:"volumes"`
	// Inspect has what the engine's inspect says, by job, service.N or step, and path: State.Running.
	Inspect map[string]map[string]*Value `yaml:"inspect"`
	// Gone are objects of the engine, like "container ID", that must not exist; Exist the others.
	Gone  []string `yaml:"gone"`
	Exist []string `yaml:"exist"`
	// InspectLacks: no container of this job has this anywhere in what inspect says.
	InspectLacks string `yaml:"inspect_lacks"`
	// ProcessesGone is in the arguments of no process of this machine; it may take some seconds.
	ProcessesGone string `yaml:"processes_gone"`
	// ProcessesAlive is in the arguments of a process.
	ProcessesAlive string `yaml:"processes_alive"`
	// Reach are TCP ports of this machine.
	Reach []Reach `yaml:"reach"`
	// Requests says how often the registry of the suite was asked for a repository's manifest, at most.
	Requests map[string]int `yaml:"requests_at_most"`
	// FilesLack: no file below this folder contains this.
	FilesLack map[string]string `yaml:"files_lack"`
}

// FileState is what must be so of a file.
type FileState struct {
	Text   *Text `yaml:"text"`
	Absent bool  `yaml:"absent"`
	// Removable: the runner's user can remove it, with all that is in it. It is removed.
	Removable bool `yaml:"removable"`
	// Only are patterns of the names that a folder may have in it.
	Only []string `yaml:"only"`
}

// Reach is a connection to a port.
type Reach struct {
	Port string `yaml:"port"`
	Send string `yaml:"send"`
	Says string `yaml:"says"`
}

// Status is an expected exit status.
type Status struct {
	Any, NonZero bool
	OneOf        []int
}

// UnmarshalYAML reads 0, [1, 2], nonzero or any.
func (s *Status) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		switch node.Value {
		case "any":
			s.Any = true
			return nil
		case "nonzero":
			s.NonZero = true
			return nil
		}
		var one int
		if err := node.Decode(&one); err != nil {
			return err
		}
		s.OneOf = []int{one}
		return nil
	}
	return node.Decode(&s.OneOf)
}

// success says whether a call may only end well.
func (s *Status) success() bool {
	return s == nil || !s.Any && !s.NonZero && len(s.OneOf) == 1 && s.OneOf[0] == 0
}

// Text is what must be so of a text. A plain scalar is the whole of it.
type Text struct {
	Is       *string  `yaml:"is"`
	Contains []string `yaml:"contains"`
	Lacks    []string `yaml:"lacks"`
	Matches  string   `yaml:"matches"`
	// Ends is the end of the text.
	Ends string `yaml:"ends"`
	// Bytes and SHA256 are of the whole text, also of one too long to keep.
	Bytes  *int64 `yaml:"bytes"`
	SHA256 string `yaml:"sha256"`
	// InOrder are parts that come one after the other.
	InOrder []string `yaml:"in_order"`
	// HasLines are whole lines, in any order.
	HasLines []string `yaml:"has_lines"`
	// Times says how often a part occurs.
	Times map[string]int `yaml:"times"`
}

// UnmarshalYAML reads a scalar or an object without unknown keys.
func (t *Text) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		t.Is = &node.Value
		return nil
	}
	type plain Text
	return strict(node, (*plain)(t))
}

// Value is what must be so of a value in JSON. A plain scalar is the value.
type Value struct {
	Is       yaml.Node `yaml:"is"`
	Not      yaml.Node `yaml:"not"`
	Type     string    `yaml:"type"` // object, array, string, number, boolean, null
	Absent   bool      `yaml:"absent"`
	NotEmpty bool      `yaml:"not_empty"`
	Length   *int      `yaml:"length"`
	// Text is about the value as text: a string as it is, anything else as JSON.
	Text *Text `yaml:"text"`
}

// UnmarshalYAML reads a scalar or an object without unknown keys.
func (v *Value) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		v.Is = *node
		return nil
	}
	type plain Value
	return strict(node, (*plain)(v))
}
