package ast

import "strings"

// Nearest returns the candidate closest to a mistyped name, or "" if none is
// near enough to be meant: within one edit for up to four letters, two for up
// to eight, else three. A swap of neighbours is one edit. Ties go to the first.
func Nearest(name string, candidates []string) string {
	limit := 1
	switch {
	case len(name) > 8:
		limit = 3
	case len(name) > 4:
		limit = 2
	}
	best, at := limit+1, ""
	lower := strings.ToLower(name)
	for _, c := range candidates {
		if abs(len(c)-len(name)) > limit || len(c) > 256 {
			continue
		}
		// A distance as long as the word itself is no likeness.
		if d := distance(lower, strings.ToLower(c)); d < best && d < max(len(c), len(name)) {
			best, at = d, c
		}
	}
	return at
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// distance is the optimal string alignment distance over bytes.
func distance(a, b string) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
