// Package sample chooses what a test run tries of more than it has time for. The choice is the same for every commit, so
// that no commit fails for what it did not do, until another seed is given.
package sample

import (
	"cmp"
	"hash/fnv"
	"os"
	"slices"
	"testing"
)

// EnvSeed is the environment variable that makes another choice.
const EnvSeed = "GANTRY_TEST_SEED"

// usual is the seed of a run that is given none.
const usual = "734a77e9fcd1c54fd6c780a6c9ef9504390bfaa7"

// Seed is what EnvSeed says, or the usual one. It is logged.
func Seed(t testing.TB) string {
	t.Helper()
	seed := cmp.Or(os.Getenv(EnvSeed), usual)
	t.Logf("the sample of %s; %s=… tries another", seed, EnvSeed)
	return seed
}

// Shuffled is all, in an order that the seed decides. What something is called, and nothing else, decides its place:
// others beside it do not change who comes before whom.
func Shuffled[T any](seed string, all []T, name func(T) string) []T {
	place := func(one T) uint64 {
		sum := fnv.New64a()
		sum.Write([]byte(seed + "\x00" + name(one)))
		return mixed(sum.Sum64())
	}
	shuffled := slices.Clone(all)
	slices.SortStableFunc(shuffled, func(a, b T) int { return cmp.Compare(place(a), place(b)) })
	return shuffled
}

// mixed spreads a sum over all bits: the last bytes of a text hardly reach the first bits of FNV's.
func mixed(sum uint64) uint64 {
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	sum *= 0xc4ceb9fe1a85ec53
	return sum ^ sum>>33
}

// Cover chooses at least n of all, in their order, so that everything that one of all covers is covered.
func Cover[T any](all []T, n int, covers func(T) []string) []T {
	covered := map[string]bool{}
	taken := make([]bool, len(all))
	take := func(wanted func(T) bool) {
		for i, one := range all {
			if taken[i] || !wanted(one) {
				continue
			}
			taken[i] = true
			n--
			for _, what := range covers(one) {
				covered[what] = true
			}
		}
	}
	take(func(one T) bool {
		return slices.ContainsFunc(covers(one), func(what string) bool { return !covered[what] })
	})
	take(func(T) bool { return n > 0 })
	var chosen []T
	for i, one := range all {
		if taken[i] {
			chosen = append(chosen, one)
		}
	}
	return chosen
}
