package fuzz

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// compare says how two results differ, "" if they do not: as sets of rows with
// repeats, and as lists where the query orders by every column.
func compare(cols []column, ordered bool, got, want [][]string) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d rows, want %d", len(got), len(want))
	}
	a, b := normal(cols, got), normal(cols, want)
	if !ordered {
		byKey(cols, a)
		byKey(cols, b)
	}
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return fmt.Sprintf("row %d has %d columns, want %d", i, len(a[i]), len(b[i]))
		}
		for j := range a[i] {
			if a[i][j] != b[i][j] && !(cols[j].approx && near(a[i][j], b[i][j])) {
				return fmt.Sprintf("row %d column %d: %q, want %q", i, j, strings.Join(a[i], "|"), strings.Join(b[i], "|"))
			}
		}
	}
	return ""
}

// normal writes equal values alike: there is one zero, and a decimal has no more
// zeros than it needs.
func normal(cols []column, rows [][]string) [][]string {
	out := make([][]string, len(rows))
	for i, row := range rows {
		out[i] = slices.Clone(row)
		for j, v := range out[i] {
			if j >= len(cols) {
				break
			}
			switch {
			case cols[j].t.k == kDec && strings.Contains(v, "."):
				v = strings.TrimSuffix(strings.TrimRight(v, "0"), ".")
				fallthrough
			case cols[j].t.k == kF64 || cols[j].t.k == kDec:
				if v == "-0.0" || v == "-0" {
					v = v[1:]
				}
			}
			out[i][j] = v
		}
	}
	return out
}

// byKey sorts by the columns that are exact; where these are equal the inexact
// ones decide.
func byKey(cols []column, rows [][]string) {
	slices.SortFunc(rows, func(a, b []string) int {
		for j := range a {
			if !cols[j].approx {
				if c := strings.Compare(a[j], b[j]); c != 0 {
					return c
				}
			}
		}
		for j := range a {
			if cols[j].approx {
				x, errX := strconv.ParseFloat(a[j], 64)
				y, errY := strconv.ParseFloat(b[j], 64)
				if errX != nil || errY != nil {
					if c := strings.Compare(a[j], b[j]); c != 0 {
						return c
					}
					continue
				}
				if !nearly(x, y) {
					if x < y {
						return -1
					}
					return 1
				}
			}
		}
		return 0
	})
}

func near(a, b string) bool {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	return errX == nil && errY == nil && nearly(x, y)
}

func nearly(x, y float64) bool {
	return x == y || math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y), 1e-3)
}
