package executor

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// condition is a conjunct of the WHERE above a scan, for the scan's reader.
type condition struct {
	e      expr.Expr // over the scan's output
	cols   []int
	schema *arrow.Schema
	pred   *eval.Predicate
	kc     expr.KernelContext
	points []any
}

var _ sources.Condition = (*condition)(nil)

// newConditions makes those of a scan. What cannot be prepared is left to the
// filter above, which says why.
func newConditions(n *physical.Scan) []*condition {
	var out []*condition
	for _, e := range n.Filters {
		set := map[int]bool{}
		expr.Columns(e, set)
		if len(set) == 0 {
			continue
		}
		c := &condition{e: e, points: pointsOf(e)}
		for i := range set {
			c.cols = append(c.cols, i)
		}
		slices.Sort(c.cols)
		fields := make([]arrow.Field, len(c.cols))
		for i, col := range c.cols {
			fields[i] = n.Out.Field(col)
		}
		c.schema = arrow.NewSchema(fields, nil)
		local := expr.Remap(e, func(i int) int { return slices.Index(c.cols, i) })
		var err error
		if c.pred, err = eval.NewPredicate(local, c.schema); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// Columns implements sources.Condition.
func (c *condition) Columns() []int { return c.cols }

// Total implements sources.Condition.
func (c *condition) Total() bool { return c.pred.Total() }

// Points implements sources.Condition.
func (c *condition) Points() []any { return c.points }

var _ sources.Comparing = (*condition)(nil)

// turned are comparisons with their sides exchanged.
var turned = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}

// Compares implements sources.Comparing.
func (c *condition) Compares() (op string, value any, ok bool) {
	call, ok := c.e.(*expr.Call)
	if !ok || len(call.Args) != 2 || turned[call.Func.Infix] == "" {
		return "", nil, false
	}
	for i, a := range call.Args {
		l, is := call.Args[1-i].(*expr.Literal)
		if _, column := a.(*expr.Column); !column || !is || l.Value == nil {
			continue
		}
		if op = call.Func.Infix; i == 1 {
			op = turned[op]
		}
		value, ok = valueAs(l, a.Type())
		return op, value, ok
	}
	return "", nil, false
}

// Select implements sources.Condition.
func (c *condition) Select(cols []arrow.Array, n int, dst []int32) ([]int32, error) {
	rec := array.NewRecordBatch(c.schema, cols, int64(n))
	defer rec.Release()
	return c.pred.Select(&c.kc, rec, dst)
}

// Skips implements sources.Condition.
func (c *condition) Skips(rows int64, of func(column int) (batch.ColumnStats, bool)) bool {
	return neverTrue(c.e, rows, of)
}

// where tells the reader what the query wants of the rows. exact is then whether
// the filter above has nothing left to do.
func (s *scan) where() {
	s.exact = false
	r, ok := s.reader.(sources.Conditional)
	if !ok || len(s.conds) == 0 {
		return
	}
	conds := make([]sources.Condition, len(s.conds))
	for i, c := range s.conds {
		c.kc = kernelContext(s.tc)
		conds[i] = c
	}
	s.exact = r.Where(conds) && len(conds) == len(s.n.Filters)
}

// settle counts the rows that the reader left out: they came in, too.
func (s *scan) settle() {
	r, ok := s.reader.(sources.Counted)
	if !ok {
		return
	}
	c := r.Counts()
	s.tc.Result.Counters.RowsIn += c.Rows - s.returned
	note := func(name string, n int64) {
		if n > 0 {
			s.tc.Note(name, n)
		}
	}
	note("row groups", c.Groups)
	note("row groups pruned", c.GroupsPruned)
	note("pages pruned", c.PagesPruned)
	note("rows pruned", c.RowsPruned)
	note("rows sifted", c.RowsSifted)
}

// Conditions are those of a scan, for a source that may leave out files by them.
func Conditions(n *physical.Scan, zone string) []sources.Condition {
	var out []sources.Condition
	for _, c := range newConditions(n) {
		c.kc = expr.KernelContext{Alloc: memory.DefaultAllocator, Zone: zone}
		if !immutable(c.e) {
			continue // of a batch's now(), say
		}
		out = append(out, c)
	}
	return out
}

// applied returns the scan right below a filter whose conditions are all the
// scan's as well; its readers may have applied them.
func applied(n *physical.Filter, in Operator) *scan {
	if w, ok := in.(*watched); ok {
		in = w.op
	}
	s, ok := in.(*scan)
	if !ok {
		return nil
	}
	has := map[string]bool{}
	for _, f := range s.n.Filters {
		has[f.String()] = true
	}
	for _, c := range expr.Conjuncts(n.Cond) {
		if !has[c.String()] {
			return nil
		}
	}
	return s
}
