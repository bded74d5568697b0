// Package figures is what all of gantry's benchmarks have in common: series of measurements, memory of processes, and the
// tables that docs/performance.md shows.
package figures

import (
	"fmt"
	"slices"
	"time"
)

// Series are measurements of one thing.
type Series []time.Duration

// quantile of the sorted measurements; the nearest one, none is made up.
func (s Series) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// Median is the middle one; 0 if there is none.
func (s Series) Median() time.Duration { return s.quantile(0.5) }

// String is the median and, in brackets, the 10th and 90th percentile, in milliseconds.
func (s Series) String() string {
	return fmt.Sprintf("%s (%s-%s)", ms(s.Median()), ms(s.quantile(0.1)), ms(s.quantile(0.9)))
}

func ms(d time.Duration) string {
	v := float64(d) / float64(time.Millisecond)
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Timed is how long f took.
func Timed(f func() error) (time.Duration, error) {
	begin := time.Now()
	err := f()
	return time.Since(begin), err
}

// InTurns measures all functions once, then all again, n times; so a machine that gets slower or faster does so for
// all of them. The first round does not count.
func InTurns(n int, fs ...func() (time.Duration, error)) ([]Series, error) {
	all := make([]Series, len(fs))
	for round := range n + 1 {
		for i, f := range fs {
			took, err := f()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				all[i] = append(all[i], took)
			}
		}
	}
	return all, nil
}
