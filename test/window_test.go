package test

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/sql/functions"
)

func column(t *testing.T, s *sluice.Session, sql string) []string {
	t.Helper()
	_, rows, err := rowsOf(context.Background(), s, sql)
	if err != nil {
		t.Fatalf("%s\n%v", sql, err)
	}
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = r[0]
	}
	return out
}

// TestWindowExamples runs the examples of the reference page that need OVER.
func TestWindowExamples(t *testing.T) {
	e := newEngine(t)
	for _, f := range functions.Entries() {
		if !f.Window {
			continue
		}
		if got := strings.Join(column(t, e.s, "SELECT "+f.Example), ", "); got != f.Result {
			t.Errorf("%s\n got %s\nwant %s", f.Example, got, f.Result)
		}
	}
}

// TestEveryAggregateOverAWindow takes the rows of each aggregate's example many
// times over and compares frames with the same rows aggregated without OVER.
// The frames are long enough to have nodes of partial results in them.
func TestEveryAggregateOverAWindow(t *testing.T) {
	e := newEngine(t)
	const copies, before, behind = 40, 25, 14
	for _, f := range functions.Entries() {
		call, values, ok := strings.Cut(f.Example, " FROM ")
		if !f.Agg || !ok || strings.Contains(call, "DISTINCT") || strings.Contains(call, "ORDER BY") {
			continue
		}
		if f.Name() == "single_value" { // more than one row is its error
			continue
		}
		t.Run(f.Name(), func(t *testing.T) {
			numbers := make([]string, copies)
			for i := range numbers {
				numbers[i] = fmt.Sprintf("(%d)", i)
			}
			rows := fmt.Sprintf("(SELECT t.*, row_number() OVER (ORDER BY c.i, t.pos) AS n FROM (SELECT *, row_number() OVER (ORDER BY 1) AS pos FROM %s) AS t CROSS JOIN (VALUES %s) AS c(i))",
				values, strings.Join(numbers, ", "))
			got := column(t, e.s, fmt.Sprintf("SELECT CAST(%s OVER (ORDER BY n ROWS BETWEEN %d PRECEDING AND %d FOLLOWING) AS STRING) FROM %s ORDER BY n", call, before, behind, rows))
			for _, i := range []int{0, 1, len(got) / 2, len(got)/2 + 7, len(got) - 1} {
				want := column(t, e.s, fmt.Sprintf("SELECT CAST(%s AS STRING) FROM (SELECT * FROM %s WHERE n BETWEEN %d AND %d ORDER BY n)", call, rows, i+1-before, i+1+behind))[0]
				if got[i] != want && !close(got[i], want) {
					t.Errorf("%s, row %d of %d: got %s, want %s", call, i, len(got), got[i], want)
				}
			}
		})
	}
}

// close allows for the order in which floating numbers were added.
func close(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y))
}
