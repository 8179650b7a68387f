package sluice

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// TestExtremesOfRowsThatGo takes rows back at random and holds min, max and distinct
// values of each group against those of the rows that are left, after every batch.
// The plan keeps values, not rows.
func TestExtremesOfRowsThatGo(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "ID", Type: arrow.PrimitiveTypes.Int64}, {Name: "Name", Type: arrow.BinaryTypes.String}, {Name: "N", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := changesSession(t)
		st, err := s.CreateStream("items", schema, Retractions())
		if err != nil {
			t.Fatal(err)
		}
		df, err := s.SQL(t.Context(), "SELECT Name, min(N) AS low, max(N) AS high, count(DISTINCT N) AS n, max(ID) AS id, count(*) AS c FROM items GROUP BY Name")
		if err != nil {
			t.Fatal(err)
		}
		must(t, s, fmt.Sprintf("SET 'parallelism' = %d", 1+r.IntN(5)))
		q, err := df.WriteToMemory("out").Name("q").Mode([]Mode{Complete, Changelog}[seed%2]).Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if plan := q.Explain(); !strings.Contains(plan, "Tally") || strings.Contains(plan, "Recompute") {
			t.Fatalf("rows are kept whole:\n%s", plan)
		}
		var there []item
		for range 25 {
			changes := randomChanges(r, &there)
			if err := AddChanges(st, changes...); err != nil {
				t.Fatal(err)
			}
			if err := q.ProcessAllAvailable(t.Context()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if got, want := rowsText(t, s.MemoryTable("out")), extremesOf(there); got != want {
				t.Fatalf("seed %d: got %q, want %q after %v", seed, got, want, changes)
			}
		}
		q.Stop()
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// randomChanges adds some rows, and takes back some that are there.
func randomChanges(r *rand.Rand, there *[]item) (out []Change[item]) {
	for range 1 + r.IntN(8) {
		if n := len(*there); n > 0 && r.IntN(5) < 2+n/20 {
			at := r.IntN(n)
			out = append(out, Change[item]{Delete, (*there)[at]})
			*there = slices.Delete(*there, at, at+1)
			continue
		}
		v := item{ID: int64(r.IntN(9)), Name: string(rune('a' + r.IntN(3)))}
		if r.IntN(4) > 0 {
			v.N = num(int64(r.IntN(7)) - 3)
		}
		*there, out = append(*there, v), append(out, Change[item]{Insert, v})
	}
	return out
}

func extremesOf(there []item) string {
	var out []string
	for _, name := range []string{"a", "b", "c"} {
		rows, top := 0, int64(0)
		var ns []int64
		for _, v := range there {
			if v.Name != name {
				continue
			}
			if rows++; rows == 1 || v.ID > top {
				top = v.ID
			}
			if v.N != nil {
				ns = append(ns, *v.N)
			}
		}
		if rows == 0 {
			continue
		}
		low, high := "<nil>", "<nil>"
		slices.Sort(ns)
		if len(ns) > 0 {
			low, high = fmt.Sprint(ns[0]), fmt.Sprint(ns[len(ns)-1])
		}
		out = append(out, fmt.Sprintf("%s %s %s %d %d %d", name, low, high, len(slices.Compact(ns)), top, rows))
	}
	return strings.Join(out, ", ")
}
