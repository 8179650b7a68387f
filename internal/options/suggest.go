package options

import "strings"

// Suggest returns `, did you mean "x"?` for the nearest of names, or "" if none is near.
func Suggest(name string, names []string) string {
	if n := Nearest(name, names); n != "" {
		return `, did you mean "` + n + `"?`
	}
	return ""
}

// longestName is up to what length names are compared: the cost grows with the product.
const longestName = 256

// Nearest returns the name closest to a mistyped one, or "" if none is near
// enough to be meant: within one edit for up to four letters, two for up to
// eight, else three. A swap of neighbours is one edit, case does not count. Ties
// go to the first. The end of one name alone, behind a dot, is meant at once.
func Nearest(name string, names []string) string {
	end, of := "."+strings.ToLower(name), ""
	for _, n := range names {
		if strings.HasSuffix(strings.ToLower(n), end) {
			if of != "" { // one of several
				of = ""
				break
			}
			of = n
		}
	}
	if of != "" && name != "" {
		return of
	}
	limit := 1
	switch {
	case len(name) > 8:
		limit = 3
	case len(name) > 4:
		limit = 2
	}
	best, at := limit+1, ""
	lower := strings.ToLower(name)
	for _, n := range names {
		if max(len(n)-len(name), len(name)-len(n)) > limit || len(n) > longestName {
			continue
		}
		// A distance as long as the word itself is no likeness.
		if d := distance(lower, strings.ToLower(n)); d < best && d < max(len(n), len(name)) {
			best, at = d, n
		}
	}
	return at
}

// distance is the optimal string alignment distance over bytes.
func distance(a, b string) int {
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
	return prev[len(b)]
}
