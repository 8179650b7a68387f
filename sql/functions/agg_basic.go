package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func basicAggregates() []*Entry {
	return []*Entry{
		agg("count", "How many rows, or how many where all arguments are not NULL.", "count(*) FROM VALUES (1), (NULL), (3)", "3",
			asig("any...", func(t *Types) (*expr.Aggregate, error) { return newCount(false), nil })),
		agg("count_if", "How many rows where the condition is true.", "count_if(col1 > 1) FROM VALUES (1), (2), (3)", "2",
			asig("boolean", func(*Types) (*expr.Aggregate, error) { return newCount(true), nil })),
		agg("sum", "The sum: of integers a BIGINT, of a decimal one with ten digits more, else a DOUBLE.",
			"sum(col1) FROM VALUES (1), (2), (3)", "6", sumSigs(false)...),
		agg("avg|mean", "The average: of a decimal one with four digits more, else a DOUBLE.",
			"avg(col1) FROM VALUES (1), (2), (4)", "2.3333333333333335", sumSigs(true)...),
		agg("min", "The least value.", "min(col1) FROM VALUES ('b'), ('a')", "a", extremeSig(-1)),
		agg("max", "The greatest value.", "max(col1) FROM VALUES (1), (3), (2)", "3", extremeSig(1)),
		agg("bool_and|every", "Whether the condition is true for all rows.", "bool_and(col1) FROM VALUES (true), (false)", "false",
			asig("boolean", func(t *Types) (*expr.Aggregate, error) { return newExtreme(t.Args[0], -1), nil })),
		agg("bool_or|some|any", "Whether the condition is true for a row.", "bool_or(col1) FROM VALUES (true), (false)", "true",
			asig("boolean", func(t *Types) (*expr.Aggregate, error) { return newExtreme(t.Args[0], 1), nil })),
	}
}

func sumSigs(avg bool) []AggSig {
	return []AggSig{
		asig("numeric", func(t *Types) (*expr.Aggregate, error) {
			if isDecimal(t.Args[0]) {
				return newDecSums(t.Args[0], avg), nil
			}
			return newSums(t.Args[0], avg), nil
		}),
		asig("duration", func(t *Types) (*expr.Aggregate, error) { return newSums(t.Args[0], avg), nil }),
		asig("months", func(t *Types) (*expr.Aggregate, error) { return newSums(t.Args[0], avg), nil }),
	}
}

// counts is count(*), count(x, ..) and count_if.
type counts struct {
	alloc memory.Allocator
	cond  bool
	n     []int64
}

func newCount(cond bool) *expr.Aggregate {
	return &expr.Aggregate{
		State: []arrow.DataType{expr.TypeInt64}, Result: expr.TypeInt64, Invertible: true,
		New: acc(func(alloc memory.Allocator) *counts { return &counts{alloc: alloc, cond: cond} }),
	}
}

func (c *counts) Resize(n int) { c.n = grow(c.n, n) }

func (c *counts) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return c.add(groups, args, sel, n, 1)
}

func (c *counts) Retract(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return c.add(groups, args, sel, n, -1)
}

func (c *counts) add(groups []uint32, args []expr.Vec, sel []int32, n int, sign int64) error {
	if c.cond {
		bits := vec.BoolBits(args[0].Arr)
		return eachRow(groups, args, sel, n, func(g uint32, i int) error {
			if bits.Get(row(args[0], i)) {
				c.n[g] += sign
			}
			return nil
		})
	}
	for _, a := range args {
		if a.Arr.NullN() > 0 {
			return eachRow(groups, args, sel, n, func(g uint32, _ int) error {
				c.n[g] += sign
				return nil
			})
		}
	}
	rows := n
	if sel != nil {
		rows = len(sel)
	}
	if groups == nil {
		c.n[0] += sign * int64(rows)
		return nil
	}
	out := c.n
	for _, g := range groups[:rows] {
		out[g] += sign
	}
	return nil
}

func (c *counts) Merge(groups []uint32, state []arrow.Array) error {
	for k, v := range vec.Values[int64](state[0]) {
		c.n[group0(groups, k)] += v
	}
	return nil
}

func (c *counts) State(first, end int) ([]arrow.Array, error) {
	arr, err := c.Final(first, end)
	return []arrow.Array{arr}, err
}

func (c *counts) Final(first, end int) (arrow.Array, error) {
	buf, out := vec.NewFixed[int64](c.alloc, end-first)
	copy(out, c.n[first:end])
	return vec.NewMask(c.alloc, end-first).Array(expr.TypeInt64, buf), nil
}

func (c *counts) Bytes() int64 { return int64(cap(c.n)) * 8 }
func (c *counts) Reset()       { c.n = c.n[:0] }
func (c *counts) Release()     { c.n = nil }
