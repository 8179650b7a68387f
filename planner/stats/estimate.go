package stats

import (
	"math"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Tables tells what is known of a table; nil for nothing.
type Tables func(t *logical.Table) *batch.TableStats

// Estimator estimates plans. It remembers what it has estimated by node, so that
// it serves one query, in one goroutine.
type Estimator struct {
	tables Tables
	memo   map[logical.Node]*Rel
}

// New returns an estimator over what tables tells.
func New(tables Tables) *Estimator {
	return &Estimator{tables: tables, memo: map[logical.Node]*Rel{}}
}

// Of estimates what a plan gives.
func (e *Estimator) Of(n logical.Node) *Rel {
	if r, ok := e.memo[n]; ok {
		return r
	}
	r := e.estimate(n)
	e.memo[n] = r
	return r
}

func (e *Estimator) estimate(n logical.Node) *Rel {
	switch n := n.(type) {
	case *logical.Scan:
		var st *batch.TableStats
		if e.tables != nil {
			st = e.tables(n.Table)
		}
		return ofTable(n, st)
	case *logical.Values:
		return values(n)
	case *logical.Range:
		rows := max(0, (float64(n.End)-float64(n.Start))/float64(n.Step))
		c := Col{Lo: float64(n.Start), Hi: float64(n.End), Bounded: n.Step > 0, Distinct: rows, Domain: rows, Unique: true, Sure: true, Width: 8, Origin: n, Base: rows}
		return &Rel{Rows: rows, Cols: []Col{c}}
	case *logical.Filter:
		return Filtered(e.Of(n.Input), expr.Conjuncts(n.Cond))
	case *logical.Project:
		return projected(e.Of(n.Input), n)
	case *logical.Aggregate:
		return aggregated(e.Of(n.Input), n)
	case *logical.Distinct:
		in := e.Of(n.Input)
		all := make([]expr.Expr, len(in.Cols))
		for i := range all {
			all[i] = &expr.Column{Index: i, DT: n.Schema().Field(i).Type}
		}
		return in.scaled(Groups(all, in))
	case *logical.Join:
		return Joined(e.Of(n.Left), e.Of(n.Right), n.Kind, Pairs(n.LeftKeys, n.RightKeys, e.Of(n.Left), e.Of(n.Right)), n.Residual)
	case *logical.Union:
		return e.union(n)
	case *logical.Limit:
		return e.Of(n.Input).limited(float64(n.Count))
	case *logical.LimitBy:
		in := e.Of(n.Input)
		if n.Count < 0 {
			return in
		}
		return in.limited(float64(n.Count) * Groups(n.By, in))
	case *logical.Sort:
		return e.Of(n.Input)
	case *logical.Shared:
		return e.Of(n.Input)
	default:
		return e.other(n)
	}
}

// other is for operators that add columns, or rows, to their first input.
func (e *Estimator) other(n logical.Node) *Rel {
	in := n.Inputs()
	schema := n.Schema()
	if len(in) == 0 {
		out := &Rel{Rows: unknownRows, Guess: true, Cols: make([]Col, schema.NumFields())}
		for i, f := range schema.Fields() {
			out.Cols[i].Width = widthOf(f.Type)
		}
		return out
	}
	below := e.Of(in[0])
	out := &Rel{Rows: below.Rows, Guess: below.Guess, Cols: make([]Col, schema.NumFields())}
	switch n := n.(type) {
	case *logical.Generate:
		out.Rows *= 4
	case *logical.Window:
		if n.Kind != logical.Tumble && n.Slide > 0 {
			out.Rows *= max(1, float64(n.Size)/float64(n.Slide))
		}
	case *logical.Recursive:
		out.Rows, out.Guess = out.Rows*10, true
	case *logical.Match:
		return e.matched(n, below)
	default: // a row for each row
	}
	g, isGenerate := n.(*logical.Generate)
	for i, f := range schema.Fields() {
		switch {
		case isGenerate && g.Keep != nil && i < len(g.Keep):
			out.Cols[i] = below.Cols[g.Keep[i]]
		case (!isGenerate || g.Keep == nil) && i < len(below.Cols):
			out.Cols[i] = below.Cols[i]
		default:
			out.Cols[i].Width = widthOf(f.Type)
		}
	}
	return out
}

func values(n *logical.Values) *Rel {
	out := &Rel{Rows: float64(len(n.Rows)), Cols: make([]Col, n.Out.NumFields())}
	for i, f := range n.Out.Fields() {
		c := Col{Width: widthOf(f.Type), Origin: n, Base: out.Rows}
		seen := map[string]bool{}
		c.Lo, c.Hi, c.Bounded = math.Inf(1), math.Inf(-1), len(n.Rows) > 0
		for _, row := range n.Rows {
			seen[row[i].String()] = true
			v, ok := value(row[i])
			c.Bounded = c.Bounded && ok
			c.Lo, c.Hi = min(c.Lo, v), max(c.Hi, v)
		}
		c.Distinct = float64(len(seen))
		c.Domain = c.Distinct
		c.Unique = len(seen) == len(n.Rows)
		c.Sure = c.Unique
		out.Cols[i] = c
	}
	return out
}

// Filtered keeps the rows for which all conditions are true, and knows more of
// the columns that they bound.
func Filtered(in *Rel, conds []expr.Expr) *Rel {
	out := in.scaled(in.Rows * clamp(conjunction(conds, in)))
	for _, c := range conds {
		col, op, v, ok := comparison(c)
		if x, isIn := c.(*expr.In); isIn && !x.Negated {
			if i, is := x.Arg.(*expr.Column); is && i.Index >= 0 && i.Index < len(out.Cols) {
				out.Cols[i.Index].Distinct = max(1, min(out.Rows, float64(len(x.List))))
			}
		}
		if !ok {
			if i, is := equalsConstant(c); is && i < len(out.Cols) {
				out.Cols[i].Distinct = 1
			}
			continue
		}
		if col >= len(out.Cols) || !out.Cols[col].Bounded {
			continue
		}
		k := &out.Cols[col]
		switch op {
		case "=", "==", "<=>":
			k.Lo, k.Hi, k.Distinct = v, v, 1
		case "<", "<=":
			k.Hi = max(k.Lo, min(k.Hi, v))
		case ">", ">=":
			k.Lo = min(k.Hi, max(k.Lo, v))
		}
	}
	return out
}

// equalsConstant finds the column that a condition holds to one value.
func equalsConstant(e expr.Expr) (int, bool) {
	c, ok := e.(*expr.Call)
	if !ok || len(c.Args) != 2 || c.Func.Infix != "=" {
		return 0, false
	}
	for i := range 2 {
		if _, lit := c.Args[1-i].(*expr.Literal); lit {
			if col, is := c.Args[i].(*expr.Column); is && col.Index >= 0 {
				return col.Index, true
			}
		}
	}
	return 0, false
}

func projected(in *Rel, n *logical.Project) *Rel {
	out := &Rel{Rows: in.Rows, Guess: in.Guess, Cols: make([]Col, len(n.Exprs))}
	for i, e := range n.Exprs {
		out.Cols[i] = colOf(e, in)
	}
	return out
}

// colOf estimates a computed column.
func colOf(e expr.Expr, in *Rel) Col {
	if c, ok := e.(*expr.Column); ok && c.Index >= 0 && c.Index < len(in.Cols) {
		return in.Cols[c.Index]
	}
	if c, ok := e.(*expr.Cast); ok {
		if i, ok := columnOf(c); ok && i < len(in.Cols) {
			out := in.Cols[i]
			out.Width = widthOf(e.Type())
			return out
		}
	}
	out := Col{Width: widthOf(e.Type()), Base: in.Rows}
	if v, ok := value(e); ok {
		out.Lo, out.Hi, out.Bounded = v, v, true
	}
	if _, ok := e.(*expr.Literal); ok {
		out.Distinct = 1
	} else {
		out.Distinct = distinctOf(e, in)
	}
	out.Domain = out.Distinct
	return out
}

// Groups is how many groups of equal keys there are.
func Groups(keys []expr.Expr, in *Rel) float64 {
	d := 1.0
	for _, k := range keys {
		d *= colOf(k, in).distinct(in.Rows)
		if d > in.Rows {
			break
		}
	}
	return max(min(1, in.Rows), min(d, in.Rows))
}

func aggregated(in *Rel, n *logical.Aggregate) *Rel {
	rows := 1.0
	if len(n.Keys) > 0 {
		rows = Groups(n.Keys, in)
	}
	out := &Rel{Rows: rows, Guess: in.Guess}
	for _, k := range n.Keys {
		c := colOf(k, in)
		c.Distinct = min(c.distinct(in.Rows), max(rows, 1))
		c.Origin, c.Base = n, max(rows, 1)
		if c.Domain == 0 {
			c.Domain = c.Distinct
		}
		if c.Unique = len(n.Keys) == 1; c.Unique {
			c.Domain = max(c.Domain, c.Distinct)
		}
		c.Sure = c.Unique
		out.Cols = append(out.Cols, c)
	}
	for _, a := range n.Aggs {
		c := Col{Width: widthOf(a.Type()), Base: rows, Origin: n}
		if len(n.Keys) == 0 {
			c.Distinct, c.Domain = 1, 1
		}
		out.Cols = append(out.Cols, c)
	}
	return out
}

func (e *Estimator) union(n *logical.Union) *Rel {
	first := e.Of(n.In[0])
	out := &Rel{Cols: make([]Col, len(first.Cols))}
	for k, in := range n.In {
		r := e.Of(in)
		out.Rows += r.Rows
		out.Guess = out.Guess || r.Guess
		for i := range out.Cols {
			c := r.Cols[i]
			c.Unique, c.Sure, c.Origin = false, false, n
			if k > 0 {
				o := out.Cols[i]
				c.Bounded = c.Bounded && o.Bounded
				c.Lo, c.Hi = min(c.Lo, o.Lo), max(c.Hi, o.Hi)
				c.Distinct, c.Domain = max(c.Distinct, o.Distinct), max(c.Domain, o.Domain)
				c.Width, c.Nulls = max(c.Width, o.Width), max(c.Nulls, o.Nulls)
			}
			out.Cols[i] = c
		}
	}
	for i := range out.Cols {
		out.Cols[i].Base = out.Rows
	}
	return out
}

func (r *Rel) limited(count float64) *Rel {
	if count < 0 || count >= r.Rows {
		return r
	}
	return r.scaled(count)
}

// matched guesses that a match takes some rows, and knows of its columns what is
// known of the input's.
func (e *Estimator) matched(n *logical.Match, below *Rel) *Rel {
	schema := n.Schema()
	out := &Rel{Rows: below.Rows, Guess: true, Cols: make([]Col, schema.NumFields())}
	if !n.Spec.AllRows {
		out.Rows = max(1, below.Rows/4)
	}
	for i, c := range n.Spec.Cols {
		if c >= 0 {
			out.Cols[i] = below.Cols[c]
		} else {
			out.Cols[i].Width = widthOf(schema.Field(i).Type)
		}
	}
	return out
}
