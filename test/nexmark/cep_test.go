package nexmark

import (
	_ "embed"
	"fmt"
	"testing"
)

//go:embed cep.sql
var patternQueries string

// TestPatterns holds the queries with row patterns, streamed in batches of several
// sizes with and without restarts, to what they give as a batch. test/match_test.go
// holds batches to the meaning of the clause.
func TestPatterns(t *testing.T) {
	if *events > fewEvents {
		t.Skip("TestMany is for so many events")
	}
	all := session(t, "2", 0)
	for _, q := range parse(patternQueries) {
		t.Run(q.Name, func(t *testing.T) {
			rows, err := rowsOf(t.Context(), all, q.SQL)
			if err != nil {
				t.Fatal(err)
			}
			want := sorted(rows)
			if len(want) < 100 {
				t.Fatalf("%d rows prove nothing", len(want))
			}
			for i, size := range sizes() {
				compare(t, fmt.Sprintf("streamed by %d events", size), stream(t, q, size, i%2 == 1), want)
			}
		})
	}
}
