package main

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		args    []string
		command []string
		fails   bool
	}{
		{[]string{"run", "--only", "docker,podman", "--", "go", "test", "-v"}, []string{"go", "test", "-v"}, false},
		{[]string{"run"}, nil, true},
		{[]string{"run", "--only", "dokcer", "--", "true"}, nil, true},
		{[]string{"up"}, nil, true},
		{[]string{"build", "--only", "kubernetes"}, nil, false},
		{[]string{"down", "--dir", "/tmp/x"}, nil, false},
	} {
		opts, err := parse(c.args)
		if (err != nil) != c.fails || err == nil && !slices.Equal(opts.command, c.command) {
			t.Errorf("parse(%q) = %+v, %v", c.args, opts, err)
		}
	}
}
