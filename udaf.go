package sluice

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Aggregator is an aggregate function written in Go. A is the argument, S the
// partial result and R the result. Rows whose argument is NULL are left out.
//
// S lives in the state of a streaming query between batches and crosses
// exchanges, as JSON: everything that matters in it must survive
// json.Marshal and Unmarshal.
type Aggregator[A, R Value, S any] struct {
	Zero  func() S          // of a group without rows
	Add   func(S, A) S      // takes a row
	Merge func(a, b S) S    // joins two partial results of one group
	Final func(S) (R, bool) // false is NULL
}

// AggregateFunc is an aggregate made by Aggregator.Func.
type AggregateFunc struct {
	arg    arrow.DataType
	result arrow.DataType
	make   func(alloc memory.Allocator) expr.Accumulator
}

// Func makes the aggregator a function that RegisterAggregate takes.
func (g Aggregator[A, R, S]) Func() AggregateFunc {
	return AggregateFunc{
		arg: typeOf[A](), result: typeOf[R](),
		make: func(alloc memory.Allocator) expr.Accumulator { return &goAccumulator[A, R, S]{g: g, alloc: alloc} },
	}
}

// RegisterAggregate makes an aggregate known to the session's SQL.
func (s *Session) RegisterAggregate(name string, f AggregateFunc) error {
	if f.make == nil {
		return batch.UserErrorf("aggregate %q: make it with Aggregator.Func", name)
	}
	return s.cat.addAggregate(strings.ToLower(name), f)
}

// bind applies the aggregate to its argument.
func (f AggregateFunc) bind(name string, args []expr.Expr) (*expr.AggCall, error) {
	cast, _, err := castArgs(name, []arrow.DataType{f.arg}, args)
	if err != nil {
		return nil, err
	}
	agg := &expr.Aggregate{
		Name: name, State: []arrow.DataType{expr.TypeBinary}, Result: f.result, New: f.make, EmptyNull: true,
	}
	return &expr.AggCall{Func: agg, Args: cast, Name: name, Null: true}, nil
}

// goAccumulator holds a Go value for each group.
type goAccumulator[A, R Value, S any] struct {
	g      Aggregator[A, R, S]
	alloc  memory.Allocator
	groups []S
}

func (c *goAccumulator[A, R, S]) Resize(n int) {
	for len(c.groups) < n {
		c.groups = append(c.groups, c.g.Zero())
	}
}

func (c *goAccumulator[A, R, S]) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	get := getter[A](args[0])
	if sel != nil {
		n = len(sel)
	}
	for i := range n {
		row := i
		if sel != nil {
			row = int(sel[i])
		}
		if anyNull(args, row) {
			continue
		}
		g := uint32(0)
		if groups != nil {
			g = groups[i]
		}
		c.groups[g] = c.g.Add(c.groups[g], get(row))
	}
	return nil
}

func (c *goAccumulator[A, R, S]) Retract([]uint32, []expr.Vec, []int32, int) error {
	return fmt.Errorf("an aggregate written in Go cannot take rows back")
}

func (c *goAccumulator[A, R, S]) Merge(groups []uint32, state []arrow.Array) error {
	col, ok := state[0].(*array.Binary)
	if !ok {
		return fmt.Errorf("partial result is %s, want BINARY", state[0].DataType())
	}
	for i, g := range groups {
		if col.IsNull(i) {
			continue
		}
		var s S
		if err := json.Unmarshal(col.Value(i), &s); err != nil {
			return fmt.Errorf("read a partial result: %w", err)
		}
		c.groups[g] = c.g.Merge(c.groups[g], s)
	}
	return nil
}

func (c *goAccumulator[A, R, S]) State(first, end int) ([]arrow.Array, error) {
	b := array.NewBinaryBuilder(c.alloc, arrow.BinaryTypes.Binary)
	defer b.Release()
	for _, s := range c.groups[first:end] {
		text, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("write a partial result: %w", err)
		}
		b.Append(text)
	}
	return []arrow.Array{b.NewArray()}, nil
}

func (c *goAccumulator[A, R, S]) Final(first, end int) (arrow.Array, error) {
	b := array.NewBuilder(c.alloc, typeOf[R]())
	defer b.Release()
	put, err := appender[R](b)
	if err != nil {
		return nil, err
	}
	for _, s := range c.groups[first:end] {
		if v, ok := c.g.Final(s); ok {
			put(v)
		} else {
			b.AppendNull()
		}
	}
	return b.NewArray(), nil
}

// Bytes is an estimate: what S points to cannot be seen.
func (c *goAccumulator[A, R, S]) Bytes() int64 { return int64(len(c.groups)) * 64 }

func (c *goAccumulator[A, R, S]) Reset() { c.groups = c.groups[:0] }

func (c *goAccumulator[A, R, S]) Release() { c.groups = nil }
