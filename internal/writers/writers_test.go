package writers_test

import (
	"testing"

	"github.com/gantry-ci/gantry/internal/writers"
)

func TestATailKeepsTheEnd(t *testing.T) {
	k := &writers.Tail{Max: 5}
	for _, text := range []string{"ab", "cdefgh", "", "i"} {
		if n, err := k.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%d %v", n, err)
		}
	}
	if k.String() != "efghi" {
		t.Errorf("%q", k.String())
	}
}
