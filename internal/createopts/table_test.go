package createopts_test

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/gantry-ci/gantry/internal/createopts"
)

func TestTableHasNoNameTwice(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range createopts.Table() {
		names := append([]string{"--" + s.Name}, "-"+s.Short)
		for _, a := range s.Aliases {
			names = append(names, "--"+a)
		}
		for _, n := range names {
			if n == "-" {
				continue
			}
			if seen[n] {
				t.Errorf("%s stands twice in the table", n)
			}
			seen[n] = true
			if got, ok := createopts.Lookup(n); !ok || got.Name != s.Name {
				t.Errorf("Lookup(%s) gives %q", n, got.Name)
			}
		}
	}
}

var helpLine = regexp.MustCompile(`(?m)^ +(?:-(\w), )?--([a-z0-9-]+)(?: (\S+))?`)

// Whatever create flags the engines of this machine print in their help are in the table, with the same short
// name, and take a value exactly if the table says so.
func TestTableKnowsTheInstalledEngines(t *testing.T) {
	for name, engine := range map[string]createopts.Engines{"docker": createopts.Docker, "podman": createopts.Podman} {
		t.Run(name, func(t *testing.T) {
			help, err := exec.Command(name, "create", "--help").CombinedOutput()
			if err != nil {
				t.Skipf("%s is not installed: %v", name, err)
			}
			for _, m := range helpLine.FindAllStringSubmatch(string(help), -1) {
				short, long, value := m[1], m[2], m[3]
				spec, ok := createopts.Lookup("--" + long)
				if !ok {
					t.Errorf("--%s is not in the table", long)
					continue
				}
				if spec.Engines&engine == 0 || spec.Short != short || (spec.Kind == createopts.Bool) != (value == "") {
					t.Errorf("--%s: the table says %+v, the engine -%s and value %q", long, spec, short, value)
				}
			}
		})
	}
}
