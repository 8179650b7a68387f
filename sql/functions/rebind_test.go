package functions_test

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/functions"
)

// TestRebind pins invariant F2 for every example and its parts: a call bound
// again from its name, arguments and type is the same call. The wire form of a
// plan carries just those.
func TestRebind(t *testing.T) {
	more := []string{"extract(SECOND FROM TIMESTAMP'2024-01-01 00:00:01')", "date_part('EPOCH', DATE'2024-01-01')",
		"extract(DAY FROM INTERVAL '5' DAY)", "struct(1, 'a')", "1.5 + 2", "CAST(1 AS SMALLINT) < 2"}
	for _, e := range functions.Entries() {
		if !e.Agg && !e.Window {
			more = append(more, e.Example)
		}
	}
	for _, sql := range more {
		ex, err := parseExpr(sql, nil)
		if err != nil {
			t.Fatal(err)
		}
		expr.Walk(ex, func(x expr.Expr) bool {
			c, ok := x.(*expr.Call)
			if !ok {
				return true
			}
			again, err := functions.Rebind(c.Func.Name, c.Args, c.DT)
			if err != nil {
				t.Errorf("%s: %s again: %v", sql, c, err)
				return true
			}
			if !arrow.TypeEqual(again.Type(), c.DT) || again.String() != c.String() {
				t.Errorf("%s: %s of type %s is %s of type %s when bound again", sql, c, c.DT, again, again.Type())
			}
			return true
		})
	}
}
