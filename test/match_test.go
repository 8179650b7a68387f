package test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/planner/expr"
)

// The oracle of MATCH_RECOGNIZE: all matches from a row are walked in the order
// of preference, conditions are worked out from the rows taken, measures from those
// of the match. It knows nothing of how the engine does it.

type tick struct{ p, t, v int }

type taken struct {
	row      int // of the partition
	variable int
	excluded bool
}

// patternCase is a random clause with its meaning.
type patternCase struct {
	rows     []tick
	pattern  *expr.MatchPattern
	conds    []patternCond
	skip     int // 0 past last row, 1 to next row, 2 to first B, 3 to last B
	all      bool
	empty    string
	within   int
	excludes bool
}

// patternCond is a condition as SQL and as a function of the rows taken, the last
// of which is the one in question.
type patternCond struct {
	text  string
	holds func(m *patternRun, path []taken) bool
}

// patternRun is the oracle over one partition.
type patternRun struct {
	c      *patternCase
	rows   []tick
	number int
	path   []taken
	steps  int
}

var varNames = []string{"A", "B", "C"}

const unionOf = "U" // SUBSET U = (A, B)

var errTooLong = errors.New("too long")

func (m *patternRun) of(path []taken, vars string) []int {
	var out []int
	for _, x := range path {
		if vars == "" || strings.Contains(vars, varNames[x.variable]) {
			out = append(out, m.rows[x.row].v)
		}
	}
	return out
}

// condition draws a condition.
func condition(r *rand.Rand) patternCond {
	k := r.IntN(7)
	name := varNames[r.IntN(3)]
	vars := name
	if r.IntN(4) == 0 {
		name, vars = unionOf, "AB"
	}
	sum := func(vs []int) (s int) {
		for _, v := range vs {
			s += v
		}
		return s
	}
	last := func(m *patternRun, path []taken) int { return m.rows[path[len(path)-1].row].v }
	list := []patternCond{
		{fmt.Sprintf("v < %d", k), func(m *patternRun, path []taken) bool { return last(m, path) < k }},
		{"v > PREV(v)", func(m *patternRun, path []taken) bool {
			row := path[len(path)-1].row
			return row > 0 && m.rows[row].v > m.rows[row-1].v
		}},
		{"v <= NEXT(v, 2)", func(m *patternRun, path []taken) bool {
			row := path[len(path)-1].row
			return row+2 < len(m.rows) && m.rows[row].v <= m.rows[row+2].v
		}},
		{fmt.Sprintf("v >= COALESCE(LAST(%s.v, 1), %d)", name, k), func(m *patternRun, path []taken) bool {
			vs := m.of(path, vars)
			if len(vs) < 2 {
				return last(m, path) >= k
			}
			return last(m, path) >= vs[len(vs)-2]
		}},
		{fmt.Sprintf("v + 1 > FIRST(%s.v)", name), func(m *patternRun, path []taken) bool {
			vs := m.of(path, vars)
			return len(vs) > 0 && last(m, path)+1 > vs[0]
		}},
		{fmt.Sprintf("sum(%s.v) < %d", name, 3*k), func(m *patternRun, path []taken) bool {
			vs := m.of(path, vars)
			return len(vs) > 0 && sum(vs) < 3*k
		}},
		{fmt.Sprintf("avg(%s.v) <= %d OR count(%[1]s.*) < 2", name, k), func(m *patternRun, path []taken) bool {
			vs := m.of(path, vars)
			return len(vs) < 2 || sum(vs) <= k*len(vs)
		}},
		{fmt.Sprintf("count(*) FILTER (WHERE v > 1) <= %d AND v <> 3", k), func(m *patternRun, path []taken) bool {
			n := 0
			for _, v := range m.of(path, "") {
				if v > 1 {
					n++
				}
			}
			return n <= k && last(m, path) != 3
		}},
		{fmt.Sprintf("LAST(CLASSIFIER(), 1) = '%s' OR LAST(v, 1) IS NULL", varNames[k%3]), func(m *patternRun, path []taken) bool {
			return len(path) < 2 || path[len(path)-2].variable == k%3
		}},
		{fmt.Sprintf("MATCH_NUMBER() < %d OR PREV(LAST(%s.v), 1) > 2", k, name), func(m *patternRun, path []taken) bool {
			if m.number+1 < k {
				return true
			}
			for i := len(path) - 1; i >= 0; i-- {
				if strings.Contains(vars, varNames[path[i].variable]) {
					return path[i].row > 0 && m.rows[path[i].row-1].v > 2
				}
			}
			return false
		}},
	}
	return list[r.IntN(len(list))]
}

func drawPattern(r *rand.Rand, depth int) *expr.MatchPattern {
	op := expr.PatternVar
	if depth > 0 {
		op = []expr.MatchOp{expr.PatternVar, expr.PatternSeq, expr.PatternSeq, expr.PatternSeq, expr.PatternAlt, expr.PatternRepeat, expr.PatternRepeat,
			expr.PatternPermute, expr.PatternExclude, expr.PatternEmpty, expr.PatternStart, expr.PatternEnd}[r.IntN(12)]
	}
	p := &expr.MatchPattern{Op: op, Var: r.IntN(3)}
	items := 0
	switch op {
	case expr.PatternSeq, expr.PatternAlt, expr.PatternPermute:
		items = 2 + r.IntN(2)
	case expr.PatternRepeat:
		items = 1
		p.Min, p.Max = r.IntN(3), -1
		if r.IntN(3) == 0 {
			p.Max = p.Min + 1 + r.IntN(2)
		}
		p.Reluctant = r.IntN(3) == 0
	case expr.PatternExclude:
		items = 1
	default:
	}
	for range items {
		x := drawPattern(r, depth-1)
		// The grammar takes no quantifier behind another, nor behind an anchor.
		for op == expr.PatternRepeat && (x.Op == expr.PatternStart || x.Op == expr.PatternEnd || x.Op == expr.PatternRepeat) {
			x = drawPattern(r, 0)
		}
		p.Items = append(p.Items, x)
	}
	return p
}

func hasOp(p *expr.MatchPattern, op expr.MatchOp) bool {
	return p.Op == op || slices.ContainsFunc(p.Items, func(it *expr.MatchPattern) bool { return hasOp(it, op) })
}

func drawCase(r *rand.Rand) *patternCase {
	c := &patternCase{pattern: drawPattern(r, 4), skip: r.IntN(4), all: r.IntN(2) == 0}
	for p := range 1 + r.IntN(3) {
		t := 0
		for range 1 + r.IntN(9) {
			t += 1 + r.IntN(3)
			c.rows = append(c.rows, tick{p, t, r.IntN(6)})
		}
	}
	for range 3 {
		c.conds = append(c.conds, condition(r))
	}
	c.excludes = hasOp(c.pattern, expr.PatternExclude)
	if c.all {
		c.empty = []string{"", " SHOW EMPTY MATCHES", " OMIT EMPTY MATCHES", " WITH UNMATCHED ROWS"}[r.IntN(4)]
		if c.excludes && strings.Contains(c.empty, "UNMATCHED") {
			c.empty = ""
		}
	}
	if r.IntN(4) == 0 {
		c.within = 1 + r.IntN(12)
	}
	return c
}

// sql writes the case as a query. Variables that the pattern lacks stand in a part
// of it that never matches, so that every condition may name them.
func (c *patternCase) sql() string {
	values := make([]string, len(c.rows))
	for i, x := range c.rows {
		values[i] = fmt.Sprintf("(%d, timestamp_seconds(%d), %d)", x.p, x.t, x.v)
	}
	return c.over(fmt.Sprintf("(SELECT * FROM (VALUES %s) AS r(p, t, v)) AS r", strings.Join(values, ", ")))
}

// over writes the case over a table.
func (c *patternCase) over(table string) string {
	rows := "ONE ROW PER MATCH"
	if c.all {
		rows = "ALL ROWS PER MATCH" + c.empty
	}
	within := ""
	if c.within > 0 {
		within = fmt.Sprintf(" WITHIN INTERVAL '%d' SECOND", c.within)
	}
	shown := "p, CAST(NULL AS BIGINT) AS t, CAST(NULL AS INT) AS v"
	if c.all {
		shown = "p, unix_timestamp(t) AS t, v"
	}
	return fmt.Sprintf(`SELECT %s, n, c, fa, lb, cnt, sa, fb, pf, nx, unix_timestamp(ft) AS ft FROM %s MATCH_RECOGNIZE (
PARTITION BY p ORDER BY t
MEASURES MATCH_NUMBER() AS n, CLASSIFIER() AS c, FIRST(A.v + 1) AS fa, LAST(B.v, 1) AS lb, count(*) AS cnt, sum(U.v) AS sa,
  FINAL count(B.*) AS fb, PREV(FIRST(v)) AS pf, NEXT(v, 1) * 2 AS nx, FINAL FIRST(t) AS ft
%s AFTER MATCH SKIP %s
PATTERN (%s | N A B C)%s SUBSET U = (A, B)
DEFINE N AS false, A AS %s, B AS %s, C AS %s)`, shown, table, rows,
		[]string{"PAST LAST ROW", "TO NEXT ROW", "TO FIRST B", "TO LAST B"}[c.skip],
		c.pattern.Text(varNames), within, c.conds[0].text, c.conds[1].text, c.conds[2].text)
}

// walk calls then for each way in which p matches, most preferred first.
func (m *patternRun) walk(p *expr.MatchPattern, at int, excluded bool, then func(at int) bool) bool {
	if m.steps++; m.steps > 100_000 {
		panic(errTooLong)
	}
	switch p.Op {
	case expr.PatternVar:
		if at >= len(m.rows) || m.c.within > 0 && len(m.path) > 0 && m.rows[at].t-m.rows[m.path[0].row].t >= m.c.within {
			return false
		}
		m.path = append(m.path, taken{at, p.Var, excluded})
		found := m.c.conds[p.Var].holds(m, m.path) && then(at+1)
		if !found {
			m.path = m.path[:len(m.path)-1]
		}
		return found
	case expr.PatternSeq:
		return m.list(p.Items, at, excluded, then)
	case expr.PatternAlt:
		return slices.ContainsFunc(p.Items, func(it *expr.MatchPattern) bool { return m.walk(it, at, excluded, then) })
	case expr.PatternPermute:
		return m.permute(p.Items, nil, at, excluded, then)
	case expr.PatternExclude:
		return m.walk(p.Items[0], at, true, then)
	case expr.PatternStart:
		return at == 0 && then(at)
	case expr.PatternEnd:
		return at == len(m.rows) && then(at)
	case expr.PatternRepeat:
		return m.repeat(p, 0, at, excluded, then)
	default:
		return then(at)
	}
}

func (m *patternRun) list(items []*expr.MatchPattern, at int, excluded bool, then func(int) bool) bool {
	if len(items) == 0 {
		return then(at)
	}
	return m.walk(items[0], at, excluded, func(at int) bool { return m.list(items[1:], at, excluded, then) })
}

func (m *patternRun) permute(left, order []*expr.MatchPattern, at int, excluded bool, then func(int) bool) bool {
	if len(left) == 0 {
		return m.list(order, at, excluded, then)
	}
	for i := range left {
		rest := slices.Delete(slices.Clone(left), i, i+1)
		if m.permute(rest, append(slices.Clone(order), left[i]), at, excluded, then) {
			return true
		}
	}
	return false
}

func (m *patternRun) repeat(p *expr.MatchPattern, turns, at int, excluded bool, then func(int) bool) bool {
	more := func() bool {
		return (p.Max < 0 || turns < p.Max) && m.walk(p.Items[0], at, excluded, func(next int) bool {
			if next == at && p.Max < 0 && turns+1 >= p.Min {
				return then(next) // a turn that takes nothing is the last one
			}
			return m.repeat(p, turns+1, next, excluded, then)
		})
	}
	switch {
	case turns < p.Min:
		return more()
	case p.Reluctant:
		return then(at) || more()
	default:
		return more() || then(at)
	}
}

var errSkip = errors.New("AFTER MATCH SKIP TO")

// run puts out the rows of a partition.
func (m *patternRun) run() (out []string, err error) {
	covered := -1
	for at := 0; at < len(m.rows); {
		m.path = nil
		switch {
		case !m.walk(m.c.pattern, at, false, func(int) bool { return true }):
			if strings.Contains(m.c.empty, "UNMATCHED") && at > covered {
				x := m.rows[at]
				out = append(out, fmt.Sprintf("%d %d %d"+strings.Repeat(" NULL", 9), x.p, x.t, x.v))
			}
			at++
			continue
		case len(m.path) == 0:
			m.number++
			if !m.c.all || m.c.empty != " OMIT EMPTY MATCHES" {
				out = append(out, m.measures(at, 0))
			}
			at++
			continue
		}
		m.number++
		last := m.path[len(m.path)-1].row
		covered = max(covered, last)
		if m.c.all {
			for k, x := range m.path {
				if !x.excluded {
					out = append(out, m.measures(x.row, k+1))
				}
			}
		} else {
			out = append(out, m.measures(at, len(m.path)))
		}
		if at, err = m.next(at, last); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (m *patternRun) next(at, last int) (int, error) {
	switch m.c.skip {
	case 0:
		return last + 1, nil
	case 1:
		return at + 1, nil
	}
	to := -1
	for _, x := range m.path {
		if x.variable == 1 {
			if to = x.row; m.c.skip == 2 {
				break
			}
		}
	}
	if to <= at {
		return 0, errSkip
	}
	return to, nil
}

// measures prints a row of the output.
func (m *patternRun) measures(row, upto int) string {
	path := m.path[:upto]
	text := func(i int, vs []int, by int) string {
		if i < 0 || i >= len(vs) {
			return "NULL"
		}
		return fmt.Sprint(vs[i] + by)
	}
	t, v := "NULL", "NULL"
	if m.c.all {
		t, v = fmt.Sprint(m.rows[row].t), fmt.Sprint(m.rows[row].v)
	}
	c, pf, nx, sa := "NULL", "NULL", "NULL", "NULL"
	if upto > 0 {
		c = varNames[path[upto-1].variable]
		if at := path[0].row - 1; at >= 0 {
			pf = fmt.Sprint(m.rows[at].v)
		}
		if at := path[upto-1].row + 1; at < len(m.rows) {
			nx = fmt.Sprint(2 * m.rows[at].v)
		}
	}
	if u := m.of(path, "AB"); len(u) > 0 {
		s := 0
		for _, x := range u {
			s += x
		}
		sa = fmt.Sprint(s)
	}
	b := m.of(path, "B")
	return fmt.Sprint(m.rows[row].p, " ", t, " ", v, " ", m.number, " ", c, " ", text(0, m.of(path, "A"), 1), " ", text(len(b)-2, b, 0), " ",
		len(path), " ", sa, " ", len(m.of(m.path, "B")), " ", pf, " ", nx)
}

// expected is what the query gives, or its error.
func (c *patternCase) expected() (out []string, err error) {
	defer func() {
		if e := recover(); e != nil {
			if e != errTooLong {
				panic(e)
			}
			err = errTooLong
		}
	}()
	for p := range 3 {
		m := &patternRun{c: c}
		for _, x := range c.rows {
			if x.p == p {
				m.rows = append(m.rows, x)
			}
		}
		rows, err := m.run()
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

// TestMatchRecognizeAgainstDefinition runs random clauses over random rows.
func TestMatchRecognizeAgainstDefinition(t *testing.T) {
	e := newEngine(t)
	matched, refused := 0, 0
	const cases = 500
	for seed := range uint64(cases) {
		r := rand.New(rand.NewPCG(seed, 11))
		c := drawCase(r)
		want, wantErr := c.expected()
		if wantErr == errTooLong {
			continue
		}
		_, rows, err := rowsOf(context.Background(), e.s, c.sql())
		if wantErr != nil {
			if err == nil || !strings.Contains(err.Error(), wantErr.Error()) {
				t.Fatalf("seed %d: %s\nerror %v, want %v", seed, c.sql(), err, wantErr)
			}
			refused++
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %s\n%v", seed, c.sql(), err)
		}
		got := sortedRows(rows, 1)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s\n got\n%s\nwant\n%s", seed, c.sql(), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		matched += len(want)
	}
	if matched < cases || refused < 5 {
		t.Fatalf("only %d rows and %d refusals", matched, refused)
	}
}

// sortedRows prints rows without their last columns.
func sortedRows(rows [][]string, without int) []string {
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = strings.Join(row[:len(row)-without], " ")
	}
	slices.Sort(out)
	return out
}

// TestMatchRecognizeInTime streams random clauses in append mode, out of order and
// with restarts: what comes out of times that are long over is the batch answer.
func TestMatchRecognizeInTime(t *testing.T) {
	ran, came := 0, 0
	for seed := uint64(0); ran < 24; seed++ {
		r := rand.New(rand.NewPCG(seed, 12))
		c := drawCase(r)
		if hasOp(c.pattern, expr.PatternEnd) {
			continue
		}
		if c.within == 0 {
			c.within = 1 + r.IntN(12)
		}
		c.skip %= 2 // rows behind the end could fail to skip
		if want, err := c.expected(); err != nil || len(want) < 4 {
			continue
		}
		ran++
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			n := streamCase(t, r, c)
			came += n
		})
	}
	if came < 50 {
		t.Fatalf("only %d rows", came)
	}
}

// overAt is when rows follow that only move the watermark, in every partition.
const overAt = 5000

func streamCase(t *testing.T, r *rand.Rand, c *patternCase) int {
	ctx := context.Background()
	e := newEngine(t)
	rows := slices.Clone(c.rows)
	place := map[tick]float64{}
	for _, x := range rows {
		place[x] = float64(x.t) + 3*r.Float64()
	}
	slices.SortFunc(rows, func(a, b tick) int { return cmp.Compare(place[a], place[b]) })
	for at := range 4 {
		for p := range 3 {
			rows = append(rows, tick{p, overAt * (1 + at), 1})
		}
	}
	ddl := `CREATE TABLE ticks (p INT, t TIMESTAMP_NTZ, v INT, WATERMARK FOR t AS t - INTERVAL '3' SECOND)
WITH ('connector'='filesystem', 'path'='$DIR/ticks', 'format'='csv', 'max-files-per-trigger'='1')`
	if err := e.Exec(ctx, ddl); err != nil {
		t.Fatal(err)
	}
	sql := fmt.Sprintf("SELECT * FROM (%s) WHERE ft < %d", c.over("ticks"), overAt)
	start := func() *sluice.Query {
		df, err := e.s.SQL(ctx, sql)
		if err != nil {
			t.Fatalf("%s\n%v", sql, err)
		}
		schema, err := df.Schema()
		if err != nil {
			t.Fatal(err)
		}
		var columns []string
		for i, f := range schema.Fields() {
			columns = append(columns, fmt.Sprintf("c%d %s", i, expr.TypeName(f.Type)))
		}
		table := fmt.Sprintf("CREATE TABLE IF NOT EXISTS result (%s) WITH ('connector'='filesystem', 'path'='%s/result', 'format'='parquet')", strings.Join(columns, ", "), e.dir)
		if err := e.s.Exec(ctx, table); err != nil {
			t.Fatal(err)
		}
		q, err := df.WriteTo("result").Name("q").Mode(sluice.Append).Start(ctx)
		if err != nil {
			t.Fatalf("%s\n%v", sql, err)
		}
		return q
	}
	q := start()
	for part := 2; len(rows) > 0; part++ {
		n := min(len(rows), 1+r.IntN(5))
		feed := slt.Feed{Source: "ticks"}
		for _, x := range rows[:n] {
			at := time.Unix(int64(x.t), 0).UTC().Format(time.DateTime)
			feed.Rows = append(feed.Rows, []string{fmt.Sprint(x.p), at, fmt.Sprint(x.v)})
		}
		rows = rows[n:]
		if err := e.Feed(ctx, feed); err != nil {
			t.Fatal(err)
		}
		if part%3 == 0 {
			if err := e.restart(ctx, q, fmt.Sprint(1+part%4)); err != nil {
				t.Fatal(err)
			}
			q = start()
		}
		if err := q.ProcessAllAvailable(ctx); err != nil {
			t.Fatalf("%s\n%v", sql, err)
		}
	}
	q.Stop()
	if err := q.Await(ctx); err != nil {
		t.Fatal(err)
	}
	_, streamed, err := rowsOf(ctx, e.s, "SELECT * FROM result")
	if err != nil && !strings.Contains(err.Error(), "does not exist") { // nothing has come out
		t.Fatal(err)
	}
	_, answer, err := rowsOf(ctx, e.s, sql)
	if err != nil {
		t.Fatal(err)
	}
	got, want := sortedRows(streamed, 1), sortedRows(answer, 1)
	if !slices.Equal(got, want) {
		t.Fatalf("%s\n%v\n got\n%s\nwant\n%s", sql, c.rows, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return len(want)
}

// TestMatchRecognizeRefused says what cannot be had in append mode, and why.
func TestMatchRecognizeRefused(t *testing.T) {
	ctx := context.Background()
	e := newEngine(t)
	for _, ddl := range []string{
		"CREATE TABLE ticks (p INT, t TIMESTAMP_NTZ, v INT, WATERMARK FOR t AS t) WITH ('connector'='filesystem', 'path'='$DIR/ticks', 'format'='csv')",
		"CREATE TABLE result (c INT) WITH ('connector'='filesystem', 'path'='$DIR/result', 'format'='parquet')",
	} {
		if err := e.Exec(ctx, ddl); err != nil {
			t.Fatal(err)
		}
	}
	for clause, want := range map[string]string{
		"ORDER BY v MEASURES A.v AS c PATTERN (A B) DEFINE A AS v > 1":       "rows must be ordered by event time first",
		"ORDER BY t DESC MEASURES A.v AS c PATTERN (A B) DEFINE A AS v > 1":  "rows must be ordered by event time first",
		"ORDER BY t MEASURES A.v AS c PATTERN (A B $) DEFINE A AS v > 1":     "where a partition ends",
		"ORDER BY t MEASURES A.v AS c PATTERN (A B) DEFINE A AS sum(w) > 1":  `unknown column "w"`,
		"ORDER BY t MEASURES A.v AS c PATTERN (A B) DEFINE A AS max(v)":      "needs a condition",
		"ORDER BY t MEASURES A.v AS c PATTERN (A B) DEFINE A AS PREV(1) > 1": "needs a column",
	} {
		df, err := e.s.SQL(ctx, "SELECT * FROM ticks MATCH_RECOGNIZE ("+clause+")")
		if err == nil {
			var q *sluice.Query
			if q, err = df.WriteTo("result").Name("q").Mode(sluice.Append).Start(ctx); err == nil {
				q.Stop()
				err = q.Await(ctx)
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", clause, err, want)
		}
	}
}
