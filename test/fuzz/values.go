package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// NULL is how a missing value is written in data and results.
const null = "NULL"

var (
	strs  = []string{"", "a", "b", "ab", "abc", "A", "é", "日本", "a,b", " a ", "x'y", "%", "a_c", "b1", "c22,d", "null", "0", "😀", "aaaaaaaaaaaa", "Zz"}
	dates = []string{"1970-01-01", "1969-12-31", "2024-02-29", "2024-01-31", "2023-12-31", "2000-01-01", "1900-03-01", "1600-02-29", "2399-12-31", "2024-03-01"}
	stamp = []string{
		"1970-01-01 00:00:00", "1969-12-31 23:59:59.999999", "2024-02-29 12:30:45.5", "2024-01-31 23:59:59", "2024-03-01 00:00:00",
		"2024-03-01 00:10:00", "2024-03-01 00:09:59.999999", "2024-03-01 00:05:30.123", "1800-06-15 06:00:00", "2300-01-01 00:00:00.000001",
	}
	extremes = map[kind][]string{
		kI8: {"-128", "127"}, kI16: {"-32768", "32767"}, kI32: {"-2147483648", "2147483647"},
		kI64: {"-9223372036854775808", "9223372036854775807", "9007199254740993"},
	}
)

// value draws a value of a type, as text; never NULL.
func value(r *rand.Rand, t typ, extreme bool) string {
	switch t.k {
	case kI8, kI16, kI32, kI64:
		if extreme && r.IntN(4) == 0 {
			return extremes[t.k][r.IntN(len(extremes[t.k]))]
		}
		if r.IntN(3) == 0 && t.k != kI8 {
			return fmt.Sprint(r.IntN(20001) - 10000)
		}
		return fmt.Sprint(r.IntN(9) - 3)
	case kF64:
		if extreme && r.IntN(4) == 0 {
			return []string{"NaN", "Infinity", "-Infinity", "-0.0"}[r.IntN(4)]
		}
		return strings.TrimSuffix(fmt.Sprintf("%.3f", float64(r.IntN(400)-150)/8), "00")
	case kDec:
		n := r.Int64N(2000) - 700
		if extreme && r.IntN(4) == 0 {
			n = r.Int64N(pow10(min(t.p, 17)))
		}
		sign := ""
		if n < 0 {
			sign, n = "-", -n
		}
		n %= pow10(min(t.p, 18))
		if t.s == 0 {
			return fmt.Sprintf("%s%d", sign, n)
		}
		return fmt.Sprintf("%s%d.%0*d", sign, n/pow10(t.s), t.s, n%pow10(t.s))
	case kStr:
		return strs[r.IntN(len(strs))]
	case kBool:
		return []string{"true", "false"}[r.IntN(2)]
	case kDate:
		if r.IntN(2) == 0 {
			return fmt.Sprintf("2024-%02d-%02d", 1+r.IntN(3), 1+r.IntN(28))
		}
		return dates[r.IntN(len(dates))]
	default:
		if r.IntN(2) == 0 {
			return fmt.Sprintf("2024-03-01 %02d:%02d:%02d", r.IntN(3), r.IntN(60), r.IntN(60))
		}
		return stamp[r.IntN(len(stamp))]
	}
}

func pow10(n int) int64 {
	out := int64(1)
	for range n {
		out *= 10
	}
	return out
}

// table is a table of random schema and rows.
type table struct {
	name    string
	cols    []column
	rows    [][]string
	extreme bool
	static  bool     // read whole by a streaming query
	changes []change // of a changelog, in place of rows; nil for a table that only grows
	key     int      // how many columns are the key of a changelog of upserts; 0 for one of rows
}

// column is a column of a scope.
type column struct {
	ref    string // how expressions name it
	name   string
	t      typ
	max    float64
	exact  bool
	approx bool
	e      *node // what to write instead of ref
}

func newTable(r *rand.Rand, name string) *table {
	t := &table{name: name, extreme: r.IntN(3) == 0}
	// Every table has a small number, a string and a time, so that joins, groups
	// and windows find something.
	kinds := []kind{kI32, kStr, kTs}
	for range 1 + r.IntN(6) {
		kinds = append(kinds, []kind{kI8, kI16, kI32, kI64, kF64, kDec, kStr, kBool, kDate, kTs}[r.IntN(10)])
	}
	for i, k := range kinds {
		c := column{name: fmt.Sprintf("c%d", i), t: typ{k: k}}
		if k == kDec {
			c.t.p = 4 + r.IntN(15)
			c.t.s = r.IntN(min(c.t.p, 6))
		}
		switch {
		case c.t.isInt() && t.extreme:
			c.max = c.t.limit() * 1.01
		case k == kI8:
			c.max = 6
		case c.t.isInt():
			c.max = 10000
		case k == kF64:
			c.max, c.exact = 100, true
		}
		t.cols = append(t.cols, c)
	}
	n := []int{0, 1, 3, 8, 20, 50}[r.IntN(6)]
	if r.IntN(16) == 0 {
		n = 2000 // more than a batch, for what only many rows reach
	}
	nulls := r.IntN(4)
	for range n {
		row := make([]string, len(t.cols))
		for i, c := range t.cols {
			if row[i] = null; r.IntN(10) >= nulls {
				row[i] = value(r, c.t, t.extreme)
			}
		}
		t.rows = append(t.rows, row)
		if r.IntN(6) == 0 {
			t.rows = append(t.rows, row)
		}
	}
	return t
}
