package options

import "strings"

// Suggest returns `, did you mean "x"?` for the nearest of names, or "" if none is near.
func Suggest(name string, names []string) string {
	if n := Nearest(name, names); n != "" {
		return `, did you mean "` + n + `"?`
	}
	return ""
}

// Nearest returns the name with the smallest edit distance to name, ignoring
// case, or "" if none is within a third of its length. The first of equals wins.
func Nearest(name string, names []string) string {
	best, bestDist := "", 1+max(1, len(name)/3)
	for _, n := range names {
		if d := distance(strings.ToLower(name), strings.ToLower(n), bestDist); d < bestDist {
			best, bestDist = n, d
		}
	}
	return best
}

// distance is Damerau-Levenshtein (adjacent swaps count one), or limit if it is at least that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
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
	return min(prev[len(b)], limit)
}
