// Package spell finds the word that somebody probably meant.
package spell

// Closest gives the candidate nearest to word by edit distance, where two neighbours that changed places count as
// one edit, or "" when none is near enough to be worth suggesting (more than a third of its letters differ).
// Of several equally near ones the first wins.
func Closest(word string, candidates []string) string {
	best, bestDistance := "", len(word)+1
	for _, c := range candidates {
		limit := max(1, len(c)/3)
		if word == "" || abs(len(c)-len(word)) > limit {
			continue
		}
		if d := distance(word, c); d <= limit && d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance in bytes.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differs(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func differs(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}

func abs(n int) int {
	return max(n, -n)
}
