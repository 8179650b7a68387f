package planner

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// tallyAggregate aggregates rows that may be taken back, where counting values helps
// the aggregates that cannot take a row back themselves: DISTINCT, min and max. It
// returns nil where it does not help all of them, and under a time to live, which is
// of a group's rows together.
func (b *builder) tallyAggregate(n *logical.Aggregate, in *fragment, mode string, end int, t incremental.Time) *fragment {
	if b.opts.Last == nil || b.opts.Expires || n.TTL != nil || !tallied(n.Aggs) {
		return nil
	}
	if mode == "complete" {
		end = -1
	}
	m := &physical.Tally{Keys: n.Keys, EndKey: end}
	c := counted(n)
	plan := tallyPlan{m: m, last: b.opts.Last, from: in.root.Schema().NumFields() - 1}
	plan.fields = append(plan.fields, in.root.Schema().Fields()[:plan.from]...)
	isRow := plan.add("row", expr.TypeBool)
	for i, a := range c.Aggs {
		var err error
		if c.Aggs[i], err = plan.aggregate(a, isRow); err != nil {
			return nil
		}
	}
	name := b.groupName("aggregate", n)
	in = onTime(n, in, name, end, t)
	in = b.spread(in.wrap(asChangelog(in.root)), n.Keys)
	if end >= 0 {
		m.EndShift, m.Clock = t.Shift, t.Clock
	}
	m.Input, m.Operator = in.root, b.operatorName("values", n)
	m.Out = arrow.NewSchema(append(plan.fields, arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8}), nil)
	p := partial(m, c)
	p.Signed = true
	f := in.wrap(p)
	f.state = append(slices.Clone(f.state), m.Operator)
	v := incremental.Judge(m.Operator, n, mode)
	if v.Bound == incremental.ByKeys {
		v.Advice = "how often each value is there is kept for each group"
	}
	b.query.Verdicts = append(b.query.Verdicts, v)
	return b.mergeInto(c, f, true, name, mode, end, t)
}

// tallied reports whether every aggregate can take rows back, or is helped by counts
// of the values.
func tallied(aggs []*expr.AggCall) bool {
	for _, a := range aggs {
		plain := *a
		plain.Distinct = false
		if len(a.OrderBy) > 0 || !isExtreme(a) && !invertible([]*expr.AggCall{&plain}) {
			return false
		}
	}
	return true
}

// isExtreme reports whether an aggregate is min or max of values that can be kept in order.
func isExtreme(a *expr.AggCall) bool {
	if len(a.Args) != 1 || a.Func.Name != "min" && a.Func.Name != "max" {
		return false
	}
	_, nested := a.Args[0].Type().(arrow.NestedType)
	return !nested && arrow.TypeEqual(a.Args[0].Type(), a.Func.Result)
}

// tallyPlan collects the sets of a Tally and the columns that they give.
type tallyPlan struct {
	m      *physical.Tally
	last   func(e expr.Expr) (*expr.AggCall, error)
	from   int
	fields []arrow.Field
	at     []int // of each set, its first column
}

func (p *tallyPlan) add(name string, dt arrow.DataType) expr.Expr {
	p.fields = append(p.fields, arrow.Field{Name: name, Type: dt, Nullable: true})
	return p.column(len(p.fields) - 1)
}

func (p *tallyPlan) column(at int) expr.Expr {
	return &expr.Column{Index: at, Name: p.fields[at].Name, DT: p.fields[at].Type, Null: true}
}

// aggregate rewrites a call to one over the rows of a Tally.
func (p *tallyPlan) aggregate(a *expr.AggCall, isRow expr.Expr) (*expr.AggCall, error) {
	c := *a
	switch {
	case isExtreme(a):
		kind := physical.TallyLowest
		if a.Func.Name == "max" {
			kind = physical.TallyHighest
		}
		at := p.set(kind, a)
		l, err := p.last(p.column(at + 1))
		if err != nil {
			return nil, err
		}
		if !arrow.TypeEqual(l.Func.Result, a.Func.Result) {
			return nil, fmt.Errorf("%s gives %s", a, l.Func.Result)
		}
		l.Filter, l.Name, l.Null, l.At = p.column(at), a.Name, a.Null, a.At
		return l, nil
	case a.Distinct:
		c.Distinct, c.Filter = false, p.column(p.set(physical.TallyDistinct, a))
	default:
		c.Filter = expr.AndAll(append(expr.Conjuncts(a.Filter), isRow))
	}
	return &c, nil
}

// set returns the first column of the set that an aggregate asks for.
func (p *tallyPlan) set(kind physical.TallyKind, a *expr.AggCall) int {
	for i, s := range p.m.Sets {
		if s.Kind == kind && sameExprs(s.Args, a.Args) && sameFilter(s.Filter, a.Filter) {
			return p.at[i]
		}
	}
	i := len(p.m.Sets)
	p.m.Sets, p.at = append(p.m.Sets, physical.TallySet{Kind: kind, Args: a.Args, Filter: a.Filter}), append(p.at, len(p.fields))
	p.add(fmt.Sprintf("mark%d", i), expr.TypeBool)
	if kind != physical.TallyDistinct {
		p.add(fmt.Sprintf("extreme%d", i), a.Args[0].Type())
	}
	return p.at[i]
}
