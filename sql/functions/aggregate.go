package functions

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// AggSig is one signature of an aggregate: parameter patterns, and the maker of
// the resolved aggregate.
type AggSig struct {
	Sig
	make func(t *Types) (*expr.Aggregate, error)
}

// agg makes an entry for an aggregate function. The example is a SELECT list
// item over VALUES (see the reference page's test).
func agg(names, doc, example, result string, sigs ...AggSig) *Entry {
	e := &Entry{Names: strings.Split(names, "|"), Doc: doc, Example: example, Result: result, Since: "0.1", Agg: true, aggSigs: sigs}
	for _, s := range sigs {
		e.Usage = append(e.Usage, e.Names[0]+s.usage)
	}
	return e
}

// asig reads parameter patterns as sig does; make builds the aggregate for the
// argument types.
func asig(params string, make func(t *Types) (*expr.Aggregate, error)) AggSig {
	return AggSig{Sig: sigR(params, nil, expr.Kernel(nil)), make: make}
}

// constants returns the literals of arguments from position i on; aggregates
// take percentages, accuracies and separators only as constants.
func (t *Types) constant(i int) (*expr.Literal, error) {
	if l, ok := t.args[i].(*expr.Literal); ok && l.Value != nil {
		return l, nil
	}
	return nil, batch.UserErrorf("argument %d must be a constant", i+1)
}

// Aggregate binds a call of an aggregate function. count without arguments is count(*).
func Aggregate(name string, args []expr.Expr, distinct bool) (*expr.AggCall, error) {
	e, ok := Lookup(name)
	if !ok {
		return nil, &ErrUnknown{Name: name}
	}
	if !e.Agg {
		return nil, batch.UserErrorf("%s is not an aggregate function", e.Name())
	}
	canon := make([]expr.Expr, len(args))
	for i, a := range args {
		canon[i] = canonical(a)
	}
	best, bestCost := -1, never
	var bound []arrow.DataType
	for i := range e.aggSigs {
		if types, cost := e.aggSigs[i].match(canon); cost < bestCost {
			best, bestCost, bound = i, cost, types
		}
	}
	if best < 0 {
		return nil, e.mismatch(args)
	}
	s := &e.aggSigs[best]
	full := s.withDefaults(canon)
	for i := range full {
		full[i] = coerce(full[i], bound[i])
	}
	t := &Types{Args: typesOf(full), args: full}
	a, err := s.make(t)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", e.Name(), err)
	}
	a.Name = e.Name()
	return &expr.AggCall{Func: a, Args: full, Distinct: distinct && !a.IgnoresDuplicates, Null: a.EmptyNull}, nil
}

// acc makes the function that New is, from one that makes a typed accumulator.
func acc[A expr.Accumulator](f func(alloc memory.Allocator) A) func(memory.Allocator) expr.Accumulator {
	return func(alloc memory.Allocator) expr.Accumulator { return f(alloc) }
}

func aggregates() []*Entry {
	es := append(basicAggregates(), statAggregates()...)
	es = append(es, valueAggregates()...)
	es = append(es, singleAggregates()...)
	es = append(es, sketchAggregates()...)
	return slices.Concat(es, gatherAggregates(), bitmapAggregates(), tryAggregates())
}
