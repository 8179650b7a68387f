package executor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// timed is a table of (ts, until, k, v): times mostly in order, the end of each
// row's own gap, a key and a number of its own.
func timed(r *rand.Rand, alloc memory.Allocator, n int) (*table, []timedRow) {
	ts, until := array.NewTimestampBuilder(alloc, tTime), array.NewTimestampBuilder(alloc, tTime)
	k, v := array.NewInt64Builder(alloc), array.NewInt64Builder(alloc)
	rows := make([]timedRow, n)
	for i := range rows {
		at := int64(i)*second - r.Int64N(20*second)
		rows[i] = timedRow{ts: at, until: at + second + r.Int64N(4*second), k: r.Int64N(3), v: int64(i)}
		ts.Append(arrow.Timestamp(at))
		until.Append(arrow.Timestamp(rows[i].until))
		k.Append(rows[i].k)
		v.Append(rows[i].v)
	}
	cols := []arrow.Array{ts.NewArray(), until.NewArray(), k.NewArray(), v.NewArray()}
	for _, b := range []array.Builder{ts, until, k, v} {
		b.Release()
	}
	return newTable(arrow.NewSchema([]arrow.Field{{Name: "ts", Type: tTime}, {Name: "until", Type: tTime}, {Name: "k", Type: tInt}, {Name: "v", Type: tInt}}, nil), cols), rows
}

type timedRow struct{ ts, until, k, v int64 }

// watermarks gives the watermark in force for each batch, and one batch more at
// which everything is over.
func watermarks(rows []timedRow, batches int) []batch.EventTime {
	out := make([]batch.EventTime, batches+1)
	most := batch.NoTime
	for id := range batches {
		if out[id] = batch.NoTime; most != batch.NoTime {
			out[id] = most - batch.EventTime(5*second)
		}
		for _, row := range rows[len(rows)*id/batches : len(rows)*(id+1)/batches] {
			most = max(most, batch.EventTime(row.ts))
		}
	}
	out[batches] = batch.EndOfTime
	return out
}

// cells are the values of a row's text.
func cells(row string) []string {
	out := strings.Split(strings.TrimSuffix(row, "|"), "|")
	for i := range out {
		out[i] = strings.Trim(out[i], `"`)
	}
	return out
}

// accumulate adds rows to a result, or takes back what the change column says.
func accumulate(t *testing.T, result []string, rows []string, changes bool, text func(cells []string) string) []string {
	t.Helper()
	for _, row := range rows {
		c := cells(row)
		op := "0"
		if changes {
			op = c[len(c)-1]
		}
		if line := text(c); op == "0" || op == "2" {
			result = append(result, line)
		} else if i := slices.Index(result, line); i >= 0 {
			result = slices.Delete(result, i, i+1)
		} else {
			t.Fatalf("a row is taken back that is not there: %s", line)
		}
	}
	return result
}

func withFields(s *arrow.Schema, changes bool, more ...arrow.Field) *arrow.Schema {
	fields := append(slices.Clone(s.Fields()), more...)
	if changes {
		fields = append(fields, arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8})
	}
	return arrow.NewSchema(fields, nil)
}

// TestSessionsCloseOnce holds session windows with a gap of each row against
// sessions that are kept row by row.
func TestSessionsCloseOnce(t *testing.T) {
	for _, final := range []bool{true, false} {
		for _, parts := range []int{1, 3} {
			t.Run(fmt.Sprint(final, parts), func(t *testing.T) { checkSessions(t, final, parts) })
		}
	}
}

func checkSessions(t *testing.T, final bool, parts int) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(uint64(parts), 5))
	const n, batches = 400, 20
	tb, rows := timed(r, alloc, n)
	defer tb.rec.Release()
	keys := exprs(tb.col("k"))
	var windows []arrow.Field
	for _, name := range []string{"window_start", "window_end", "window_time"} {
		windows = append(windows, arrow.Field{Name: name, Type: tTime})
	}
	late := &physical.LateFilter{Input: &physical.Scan{Source: "src", Out: tb.schema}, End: tb.col("until"), Operator: "s"}
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: late, Kind: physical.Splits, Output: physical.ToHash{Keys: keys}, Sources: []string{"src"}},
		{ID: 1, Root: &physical.OpenSessions{Input: &physical.ExchangeRead{Out: tb.schema}, Partition: keys, Time: tb.col("ts"), End: tb.col("until"),
			Final: final, Operator: "s", Out: withFields(tb.schema, !final, windows...)},
			Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"s"}},
	}}, parts)
	defer e.close()
	marks := watermarks(rows, batches)
	var got, want []string
	open := map[int64][]openSession{}
	for id := range batches + 1 {
		from, to := min(n, n*id/batches), min(n, n*(id+1)/batches)
		e.sources["src"] = tb.cut(r, from, to, 2)
		out := e.run(batch.ID(id), marks[id], marks[id])
		e.sources["src"].release()
		got = accumulate(t, got, out, !final, func(c []string) string { return c[3] + " " + c[4] + " " + c[5] })
		for _, row := range rows[from:to] {
			if marks[id] == batch.NoTime || batch.EventTime(row.until) > marks[id] {
				open[row.k] = joinSession(open[row.k], row)
			}
		}
		var closed []string
		for k, list := range open {
			var left []openSession
			for _, s := range list {
				if marks[id] == batch.NoTime || batch.EventTime(s.end) > marks[id] {
					left = append(left, s)
					continue
				}
				for _, v := range s.rows {
					closed = append(closed, fmt.Sprint(v, " ", stamp(s.start), " ", stamp(s.end)))
				}
			}
			open[k] = left
		}
		want = append(want, closed...)
		if final {
			sameRows(t, fmt.Sprintf("batch %d", id), got, want)
		}
	}
	sameRows(t, "at the end", got, want)
	for name, shard := range e.state.shards {
		if len(shard) > 0 {
			t.Errorf("%s holds %d rows when all sessions are closed", name, len(shard))
		}
	}
}

// stamp is a time as rows are printed.
func stamp(us int64) string {
	return (arrow.Timestamp(us)).ToTime(arrow.Microsecond).Format("2006-01-02T15:04:05.999999")
}

type openSession struct {
	start, end int64
	rows       []int64
}

func joinSession(list []openSession, row timedRow) []openSession {
	all := openSession{start: row.ts, end: row.until, rows: []int64{row.v}}
	for again := true; again; {
		again = false
		for i, s := range list {
			if s.start <= all.end && all.start <= s.end {
				all = openSession{start: min(s.start, all.start), end: max(s.end, all.end), rows: append(all.rows, s.rows...)}
				list = slices.Delete(slices.Clone(list), i, i+1)
				again = true
				break
			}
		}
	}
	return append(list, all)
}

// TestIntervalJoinsMeetAllThatCanMeet holds every kind of join against all pairs
// of the rows that were not late.
func TestIntervalJoinsMeetAllThatCanMeet(t *testing.T) {
	for _, kind := range []logical.JoinKind{logical.Inner, logical.LeftOuter, logical.RightOuter, logical.FullOuter, logical.LeftSemi, logical.LeftAnti} {
		for _, final := range []bool{true, false} {
			t.Run(fmt.Sprint(kind, final), func(t *testing.T) { checkIntervalJoin(t, kind, final) })
		}
	}
}

func checkIntervalJoin(t *testing.T, kind logical.JoinKind, final bool) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(uint64(kind), 6))
	const n, batches = 300, 15
	low, high := -7*second, 3*second
	ltb, left := timed(r, alloc, n)
	defer ltb.rec.Release()
	rtb, right := timed(r, alloc, n)
	defer rtb.rec.Release()
	lone := [2]bool{kind == logical.LeftOuter || kind == logical.FullOuter || kind == logical.LeftAnti, kind == logical.RightOuter || kind == logical.FullOuter}
	changes := !final && (lone[0] || lone[1])
	more := rtb.schema.Fields()
	if kind == logical.LeftSemi || kind == logical.LeftAnti {
		more = nil
	}
	both := withFields(ltb.schema, false, rtb.schema.Fields()...)
	odd := &expr.Call{Func: notFour, Args: []expr.Expr{column(both, 7)}, DT: tBool}
	keepL, keepR := -low, high
	j := &physical.IntervalJoin{
		Left: &physical.ExchangeRead{Stage: 0, Out: ltb.schema}, Right: &physical.ExchangeRead{Stage: 1, Out: rtb.schema}, Kind: kind,
		LeftKeys: exprs(ltb.col("k")), RightKeys: exprs(rtb.col("k")), Residual: odd, Low: &low, High: &high, Keep: [2]*int64{&keepL, &keepR},
		Final: final, Operator: "j", Out: withFields(ltb.schema, changes, more...),
	}
	scan := func(id int, name string, tb *table) *physical.Stage {
		root := &physical.LateFilter{Input: &physical.Scan{Source: name, Out: tb.schema}, End: tb.col("ts"), Operator: "j"}
		return &physical.Stage{ID: id, Root: root, Kind: physical.Splits, Output: physical.ToHash{Keys: exprs(tb.col("k"))}, Sources: []string{name}}
	}
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{scan(0, "l", ltb), scan(1, "r", rtb),
		{ID: 2, Root: j, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0, 1}, Stateful: []string{"j"}}}}, 2)
	defer e.close()
	lm, rm := watermarks(left, batches), watermarks(right, batches)
	text := func(c []string) string {
		if len(more) == 0 {
			return c[3]
		}
		return c[3] + " " + c[7]
	}
	var got []string
	var ls, rs []timedRow
	for id := range batches + 1 {
		mark := min(lm[id], rm[id])
		from, to := min(n, n*id/batches), min(n, n*(id+1)/batches)
		e.sources["l"], e.sources["r"] = ltb.cut(r, from, to, 2), rtb.cut(r, from, to, 1)
		got = accumulate(t, got, e.run(batch.ID(id), mark, mark), changes, text)
		e.sources["l"].release()
		e.sources["r"].release()
		onTime := func(row timedRow) bool { return mark == batch.NoTime || batch.EventTime(row.ts) > mark }
		for i := from; i < to; i++ {
			if onTime(left[i]) {
				ls = append(ls, left[i])
			}
			if onTime(right[i]) {
				rs = append(rs, right[i])
			}
		}
		if !final || kind == logical.Inner || kind == logical.LeftSemi {
			sameRows(t, fmt.Sprintf("batch %d", id), got, allPairs(kind, ls, rs, low, high))
		}
	}
	sameRows(t, "at the end", got, allPairs(kind, ls, rs, low, high))
	for name, shard := range e.state.shards {
		if len(shard) > 0 {
			t.Errorf("%s holds %d rows when all is over", name, len(shard))
		}
	}
}

// allPairs is the join by nested loops.
func allPairs(kind logical.JoinKind, ls, rs []timedRow, low, high int64) []string {
	var out []string
	met := map[int64]bool{}
	for _, l := range ls {
		some := false
		for _, r := range rs {
			if l.k == r.k && l.ts-r.ts >= low && l.ts-r.ts <= high && r.v%4 != 0 {
				some, met[r.v] = true, true
				if kind != logical.LeftSemi && kind != logical.LeftAnti {
					out = append(out, fmt.Sprint(l.v, " ", r.v))
				}
			}
		}
		switch {
		case some && kind == logical.LeftSemi, !some && kind == logical.LeftAnti:
			out = append(out, fmt.Sprint(l.v))
		case !some && (kind == logical.LeftOuter || kind == logical.FullOuter):
			out = append(out, fmt.Sprint(l.v, " (null)"))
		}
	}
	for _, r := range rs {
		if !met[r.v] && (kind == logical.RightOuter || kind == logical.FullOuter) {
			out = append(out, fmt.Sprint("(null) ", r.v))
		}
	}
	return out
}
