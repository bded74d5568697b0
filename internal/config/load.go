package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Sources say where the configuration comes from.
type Sources struct {
	// Flag is the value of --config, or "". That file must exist, as must the one that $GANTRY_CONFIG names.
	Flag string
	// Candidates are looked at in order if neither names a file; the first that exists is used. See Candidates.
	Candidates []string
	// Environ is an environment of the form of os.Environ.
	Environ []string
}

// Candidates returns the files that are looked for by themselves: gantry.yaml beside the shim, then the system's.
func Candidates(shimDir string) []string {
	return []string{filepath.Join(shimDir, "gantry.yaml"), "/etc/gantry/gantry.yaml"}
}

// Find returns the file that Load reads, or "" if there is none and the defaults hold.
func (s Sources) Find() string {
	if s.Flag != "" {
		return s.Flag
	}
	if named := lookup(s.Environ, envFile); named != "" {
		return named
	}
	for _, candidate := range s.Candidates {
		if _, err := os.Stat(candidate); !errors.Is(err, fs.ErrNotExist) {
			return candidate
		}
	}
	return ""
}

// Load reads the file, overlays the environment, and checks everything. The error, if any, is Problems: all of
// them, each with its place. The Config is complete and never nil, but must not be used beside an error.
func Load(s Sources) (*Config, error) {
	d := &decoder{config: Default(), keys: Keys(), origins: map[string]Place{}}
	if d.file = s.Find(); d.file != "" {
		d.readFile()
	}
	d.environ(s.Environ)
	d.validate()
	if len(d.problems) > 0 {
		return d.config, d.problems
	}
	return d.config, nil
}

// Default returns the configuration of an empty file.
func Default() *Config {
	d := &decoder{config: &Config{}, keys: Keys(), origins: map[string]Place{}}
	for _, k := range d.keys {
		if k.Default != "" {
			d.value(k, plain(k.Default))
		}
	}
	return d.config
}

// Validate returns all that is wrong with the values; keys tell the places.
func (c *Config) Validate() Problems {
	var problems Problems
	for _, k := range Keys() {
		problems = append(problems, k.validate(c)...)
	}
	return problems
}

// validate applies the key's checks to what c holds.
func (k Key) validate(c *Config) Problems {
	var problems Problems
	try := func(check check, path, value string) {
		if check == nil {
			return
		}
		if err := check(value); err != nil {
			problems = append(problems, newProblem(Place{}, path, err))
		}
	}
	switch field := k.field(c).(type) {
	case *[]string:
		for i, item := range *field {
			try(k.value, fmt.Sprintf("%s[%d]", k.Path, i), item)
		}
	case *map[string]string:
		for _, name := range sortedNames(*field) {
			try(k.name, k.Path+"."+name, name)
			try(k.value, k.Path+"."+name, (*field)[name])
		}
	case *Document:
		try(k.value, k.Path, field.File)
	default:
		try(k.value, k.Path, k.text(c))
	}
	return problems
}

// validate adds what is wrong with values that could be read, at their places, and puts all into order.
func (d *decoder) validate() {
	told := map[string]bool{}
	for _, p := range d.problems {
		told[p.Key+p.Place.String()] = true
	}
	for _, p := range d.config.Validate() {
		p.Place = d.origins[p.Key]
		if !told[p.Key+p.Place.String()] {
			d.problems = append(d.problems, p)
		}
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(min(1, len(a.Place.Env)), min(1, len(b.Place.Env))),
			cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Col, b.Place.Col))
	})
}

func (d *decoder) readFile() {
	text, err := os.ReadFile(d.file)
	if err != nil {
		unread := newProblem(Place{File: d.file}, "", fmt.Errorf("reading the configuration: %w", err))
		d.problems = append(d.problems, unread)
		return
	}
	parser := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := parser.Decode(&document); err != nil {
		d.syntax(err)
		return
	}
	switch err := parser.Decode(&second); {
	case err == nil:
		d.problem(&second, "", errors.New("the file holds more than one document"))
	default:
		d.syntax(err)
	}
	d.document(&document)
}

func (d *decoder) document(document *yaml.Node) {
	if len(document.Content) == 0 {
		return
	}
	switch root := resolve(document.Content[0]); {
	case root.Kind == yaml.MappingNode:
		d.mapping(root, "")
	case !isNull(root):
		d.problem(root, "", errors.New(`the file is not a map: write "key: value" lines`))
	}
}

// syntax reports what the YAML parser says.
func (d *decoder) syntax(err error) {
	if errors.Is(err, io.EOF) {
		return // an empty file
	}
	d.problems = append(d.problems, NotYAML(d.file, err))
}
