package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// singleAggregates lists what the binder makes scalar subqueries of.
func singleAggregates() []*Entry {
	return []*Entry{
		agg("single_value", "The value of the only row, NULL if there is none; more than one row is an error, as in a subquery used as a value.",
			"single_value(col1) FROM VALUES (7)", "7",
			asig("any", func(t *Types) (*expr.Aggregate, error) { return newSingle(t.Args[0]), nil })),
	}
}

// single keeps the value of one row and refuses a second one.
type single struct{ picked }

func newSingle(dt arrow.DataType) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{dt, expr.TypeBool}, Result: dt, EmptyNull: true}
	a.New = acc(func(alloc memory.Allocator) *single {
		return &single{picked{values: values{alloc: alloc, dt: dt}}}
	})
	return a
}

func (s *single) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return eachRow(groups, nil, sel, n, func(g uint32, i int) error {
		return s.take(g, args[0].Arr, row(args[0], i))
	})
}

func (s *single) take(g uint32, arr arrow.Array, i int) error {
	if len(s.val[g]) > 0 {
		return batch.UserErrorf("a subquery used as a value returned more than one row")
	}
	s.put(g, arr, i)
	return nil
}

func (s *single) Merge(groups []uint32, state []arrow.Array) error {
	some := vec.BoolBits(state[1])
	for k := range state[0].Len() {
		if !some.Get(k) {
			continue
		}
		if err := s.take(group0(groups, k), state[0], k); err != nil {
			return err
		}
	}
	return nil
}
