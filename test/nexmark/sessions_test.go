package nexmark

import (
	"fmt"
	"testing"
)

// TestSessionsOutOfOrder streams aggregates over sessions whose rows come out of
// order, so that sessions grow at both ends and grow together, and holds them to
// what they give as a batch.
func TestSessionsOutOfOrder(t *testing.T) {
	if *events > fewEvents {
		t.Skip("TestMany is for so many events")
	}
	disorder = map[string]string{"out-of-order-group": "1000"} // two seconds, less than the watermark's four
	t.Cleanup(func() { disorder = nil })
	all := session(t, "2", 0)
	for i, gap := range []string{"8 MILLISECOND", "60 MILLISECOND", "900 MILLISECOND"} {
		for k, by := range []string{"bidder", "channel, bidder", "channel"} {
			q := Query{Name: gap + " by " + by, Mode: "append", SQL: fmt.Sprintf(
				"SELECT window_end, %[1]s, COUNT(*), SUM(price) FILTER (WHERE price > 1000), MIN(auction), MAX(url), AVG(price), window_start, ANY_VALUE(1) "+
					"FROM SESSION(TABLE bid PARTITION BY (%[1]s), DESCRIPTOR(dateTime), INTERVAL '%[2]s' %[3]s) GROUP BY %[1]s, window_start, window_end",
				by, gap[:len(gap)-len(" MILLISECOND")], "MILLISECOND")}
			t.Run(q.Name, func(t *testing.T) {
				rows, err := rowsOf(t.Context(), all, q.SQL)
				if err != nil {
					t.Fatal(err)
				}
				want := sorted(rows)
				if len(want) < 20 {
					t.Fatalf("%d rows prove nothing", len(want))
				}
				for n, size := range []int{*events/7 + 1, *events/23 + 1} {
					compare(t, fmt.Sprintf("streamed by %d events", size), stream(t, q, size, (i+k+n)%2 == 1), want)
				}
			})
		}
	}
}
