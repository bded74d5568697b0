package sample_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gantry-ci/gantry/internal/testbed/sample"
)

func name(s string) string { return s }

func names(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint("trial-", i))
	}
	return all
}

func TestTheSameSeedChoosesTheSame(t *testing.T) {
	a, b := sample.Shuffled("seed", names(100), name), sample.Shuffled("seed", names(100), name)
	if !slices.Equal(a, b) {
		t.Error("two orders for one seed")
	}
	if slices.Equal(a, sample.Shuffled("other", names(100), name)) {
		t.Error("one order for two seeds")
	}
}

// What is added later does not move the others.
func TestOthersDoNotMatter(t *testing.T) {
	some := sample.Shuffled("seed", names(100), name)
	more := slices.DeleteFunc(sample.Shuffled("seed", names(150), name), func(s string) bool { return !slices.Contains(some, s) })
	if !slices.Equal(some, more) {
		t.Error("the order has changed")
	}
}

// In time everything is tried: each trial has about the same chance with every seed.
func TestEverythingIsTriedInTime(t *testing.T) {
	const seeds, of, take = 400, 100, 10
	tried := map[string]int{}
	for seed := range seeds {
		for _, one := range sample.Shuffled(fmt.Sprint(seed), names(of), name)[:take] {
			tried[one]++
		}
	}
	for _, one := range names(of) {
		if n := tried[one]; n < seeds*take/of/2 || n > seeds*take/of*2 {
			t.Errorf("%s was tried %d times; about %d are fair", one, n, seeds*take/of)
		}
	}
}

func TestEverythingIsCovered(t *testing.T) {
	covers := map[string][]string{"a": {"x"}, "b": {"x"}, "c": {"x", "y"}, "d": {"z"}, "e": nil}
	for n, want := range map[int][]string{0: {"a", "c", "d"}, 4: {"a", "b", "c", "d"}, 9: {"a", "b", "c", "d", "e"}} {
		got := sample.Cover([]string{"a", "b", "c", "d", "e"}, n, func(s string) []string { return covers[s] })
		if !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", n, got, want)
		}
	}
}
