// Package sample chooses what a test run tries of more than it has time for. It chooses differently for every commit,
// so that in time everything is tried, and always the same for one commit.
package sample

import (
	"cmp"
	"hash/fnv"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// EnvSeed is the environment variable that repeats another commit's choice.
const EnvSeed = "GANTRY_TEST_SEED"

// Seed is the commit that is tested, or what EnvSeed says. It is logged.
func Seed(t testing.TB) string {
	t.Helper()
	seed := os.Getenv(EnvSeed)
	if seed == "" {
		seed = "no commit"
		if out, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output(); err == nil {
			seed = strings.TrimSpace(string(out))
		}
	}
	t.Logf("the sample of %s; %s=%s repeats it", seed, EnvSeed, seed)
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
