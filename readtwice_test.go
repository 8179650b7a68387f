package sluice

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources/state"
)

// readTwice are queries that read s more than once, with what they give over its
// first n rows: k is 0, v runs from 0.
var readTwice = map[string]struct {
	query string
	want  func(n int64) [][2]int64
}{
	"self join": {
		"SELECT (SELECT count(*) FROM s AS a JOIN s AS b ON a.k = b.k) AS pairs, (SELECT count(*) FROM s) AS n",
		func(n int64) [][2]int64 { return [][2]int64{{n * n, n}} },
	},
	"union with itself": {
		"SELECT count(*) AS n, count(DISTINCT v) AS d FROM (SELECT v FROM s UNION ALL SELECT v FROM s WHERE k = 0)",
		func(n int64) [][2]int64 { return [][2]int64{{2 * n, n}} },
	},
	"a view joined with its own maximum": {
		"WITH c AS (SELECT v % 3 AS g, count(*) AS n FROM s GROUP BY v % 3) SELECT g, n FROM c WHERE n = (SELECT max(n) FROM c)",
		func(n int64) (out [][2]int64) {
			for g := range min(n, 3) {
				if rest := n % 3; rest == 0 || g < rest {
					out = append(out, [2]int64{g, (n + 2 - g) / 3})
				}
			}
			return out
		},
	},
	"anti join": {
		"SELECT v, k FROM s WHERE v NOT IN (SELECT v - 1 FROM s WHERE v > 0)",
		func(n int64) [][2]int64 { return [][2]int64{{n - 1, 0}} },
	},
}

// TestStreamReadTwiceIsReadOnce: while rows are added, each batch of a query that
// reads a stream twice gives the answer over one prefix of it, whichever that is.
func TestStreamReadTwiceIsReadOnce(t *testing.T) {
	const rows = 60
	for name, c := range readTwice {
		t.Run(name, func(t *testing.T) {
			s := openSession(t, Options{CheckpointDir: t.TempDir()})
			schema := arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)
			st, err := s.CreateStream("s", schema)
			if err != nil {
				t.Fatal(err)
			}
			df, err := s.SQL(t.Context(), c.query)
			if err != nil {
				t.Fatal(err)
			}
			var wrong []string
			var last [][2]int64
			took := func(_ context.Context, id int64, recs []arrow.RecordBatch) error {
				if last = pairsOf(recs); !isPrefix(last, c.want, rows) {
					wrong = append(wrong, fmt.Sprintf("batch %d: %v", id, last))
				}
				return nil
			}
			q, err := df.ForeachBatch(took).Name("q").Mode(Complete).Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range int64(rows) {
				addPair(t, st, schema, i)
			}
			if err := q.ProcessAllAvailable(t.Context()); err != nil {
				t.Fatal(err)
			}
			read := q.Progress().Sources
			q.Stop()
			if err := q.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(wrong) > 0 {
				t.Errorf("results over no prefix of the input: %s", strings.Join(wrong, "; "))
			}
			if want := c.want(rows); !slices.Equal(last, want) {
				t.Errorf("in the end %v, want %v", last, want)
			}
			if len(read) != 1 || q.Totals().RowsIn != rows {
				t.Errorf("%d sources were read, %d rows came in, want one and %d", len(read), q.Totals().RowsIn, rows)
			}
		})
	}
}

func isPrefix(got [][2]int64, want func(int64) [][2]int64, most int64) bool {
	for n := range most + 1 {
		if slices.Equal(got, want(n)) {
			return true
		}
	}
	return len(got) == 0
}

func pairsOf(recs []arrow.RecordBatch) (out [][2]int64) {
	for _, rec := range recs {
		for i := range int(rec.NumRows()) {
			out = append(out, [2]int64{rec.Column(0).(*array.Int64).Value(i), rec.Column(1).(*array.Int64).Value(i)})
		}
	}
	slices.SortFunc(out, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	return out
}

func addPair(t *testing.T, st *Stream, schema *arrow.Schema, v int64) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).Append(0)
	b.Field(1).(*array.Int64Builder).Append(v)
	rec := b.NewRecordBatch()
	defer rec.Release()
	if err := st.Add(rec); err != nil {
		t.Fatal(err)
	}
}

// TestBadRowsOfAStreamReadTwice are set aside once, are missing on both sides, and
// come again on both, although each side reads columns of its own.
func TestBadRowsOfAStreamReadTwice(t *testing.T) {
	dir := t.TempDir()
	putFile(t, filepath.Join(dir, "in", "a.csv"), "id,l,r\n1,10,100\n2,x,200\n3,30,y\n4,40,400\n")
	s := openSession(t, Options{})
	must(t, s, fmt.Sprintf(`CREATE TABLE src (id INT, l INT, r INT) WITH ('connector'='filesystem','path'='%[1]s/in','format'='csv','bad-rows'='quarantine');
CREATE TABLE dst (id INT, l INT, r INT) WITH ('connector'='memory');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW CHECKPOINT '%[1]s/ck' AS
INSERT INTO dst SELECT a.id, a.l, b.r FROM (SELECT id, l FROM src WHERE l > 0) a JOIN (SELECT id, r FROM src WHERE r > 0) b ON a.id = b.id`, dir))
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT * FROM dst ORDER BY id")); got != "[[1 10 100] [4 40 400]]" {
		t.Errorf("the join gives %s", got)
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT line FROM q_quarantine ORDER BY line")); got != "[[3] [4]]" {
		t.Errorf("lines set aside: %s", got)
	}
	q, _ := s.Query("q")
	if b := q.Totals(); b.RowsIn != 4 || b.Quarantined != 2 {
		t.Errorf("%d rows in, %d set aside, want 4 and 2", b.RowsIn, b.Quarantined)
	}
}

// TestStateOfTwoPrefixesIsRefused: a checkpoint of a version that gave each read of a
// table offsets of its own is continued only where these are equal.
func TestStateOfTwoPrefixesIsRefused(t *testing.T) {
	src := func(name string, reads int) state.SourceInfo {
		return state.SourceInfo{Name: name, Table: "s", Connector: "filesystem", Place: "path=in", Stream: true, Reads: reads}
	}
	was := &state.PlanInfo{Sources: []state.SourceInfo{src("s#0", 0), src("s#1", 0)}}
	for _, c := range []struct {
		reads   int
		end     batch.Offset
		refused string
	}{{2, "7", ""}, {2, "9", `s#0 stood at "7" and s#1 at "9"`}, {1, "9", ""}} {
		r := &state.Root{Info: was, Plan: microbatch.Planned{Ranges: []batch.Range{{Source: "s#0", End: "7"}, {Source: "s#1", End: c.end}}}}
		d, err := diffPlans(r, &state.PlanInfo{Sources: []state.SourceInfo{src("s#0", c.reads)}})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(d.Refused, "; "); !strings.Contains(got, c.refused) || (c.refused == "") != (got == "") {
			t.Errorf("read %d times, the second to %s: refused %q, want %q", c.reads, c.end, got, c.refused)
		}
	}
}
