package agent

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Externals maps the programs below a path of the container, absolute and without "=", to another folder: a step that
// names one which is not there gets the one of the same name in Dir.
type Externals struct {
	Prefix string
	Dir    string
}

func parseExternals(s string) (Externals, error) {
	prefix, dir, ok := strings.Cut(s, "=")
	if !ok || !path.IsAbs(prefix) || path.Clean(prefix) == "/" || !path.IsAbs(dir) {
		return Externals{}, errors.New("externals are PREFIX=DIR, both absolute")
	}
	return Externals{Prefix: path.Clean(prefix), Dir: path.Clean(dir)}, nil
}

// find gives the program that a step's first argument stands for.
func (e Externals) find(program string) string {
	rest, ok := strings.CutPrefix(path.Clean(program), e.Prefix+"/")
	if !ok || e.Prefix == "" {
		return program
	}
	if _, err := os.Stat(program); err == nil {
		return program
	}
	mapped := filepath.Join(e.Dir, rest)
	if _, err := os.Stat(mapped); err != nil {
		return program // what the step asks for is what is missing
	}
	return mapped
}
