package programs_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/programs"
)

func TestACommandLineCanBeTyped(t *testing.T) {
	for want, argv := range map[string][]string{
		"/bin/docker run -d --name=a_b x:1": {"/bin/docker", "run", "-d", "--name=a_b", "x:1"},
		"sh -c 'echo $HOME; ls *'":          {"sh", "-c", "echo $HOME; ls *"},
		`'it'\''s' ''`:                      {"it's", ""},
	} {
		if got := programs.Typed(argv[0], argv[1:]); got != want {
			t.Errorf("%q is %s, want %s", argv, got, want)
		}
	}
}
