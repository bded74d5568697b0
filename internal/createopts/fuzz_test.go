package createopts_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/internal/createopts"
)

// FuzzParse: parsing never panics; a mistake lies within the text and can be shown; and the words of what was
// accepted, quoted again, are understood as the same flags.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`--cpus 1 --health-cmd "a b" -Pp 80:80`, `--hea-cmd x`, `"`, `\\"`, `-v=a:/b --`, "-e A=\t -e \"\"", "a\nb",
		`--mount type=bind,src=/a,dst=/b --network name=a,alias=b`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := createopts.Parse(text)
		var mistake *createopts.Error
		if errors.As(err, &mistake) {
			if mistake.Offset < 0 || mistake.Length < 1 || mistake.Offset+mistake.Length > len(text) {
				t.Errorf("%q: the place %d+%d is outside", text, mistake.Offset, mistake.Length)
			}
			mistake.Render("container.options")
			return
		}
		again, err := createopts.ParseArgs(o.Args)
		if err != nil {
			t.Fatalf("%q gives %q, which is refused: %v", text, o.Args, err)
		}
		if diff := cmp.Diff(o.Flags, again.Flags, ignorePos); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		if diff := cmp.Diff(o.Args, again.Args); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		o.NetworkAliases()
		o.Mounts()
	})
}
