package executor

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// joinTable is the build side of a hash join: its rows, and for each key the
// positions of its rows in their order.
type joinTable struct {
	in       Operator
	node     physical.Node
	keys     *computed
	nullSafe []bool
	shared   func(stage int) bool // whether all tasks read the same rows of a stage
	table    *groupTable

	tc      *TaskContext
	loaded  bool
	version string // of the rows in the table, "" if they are of one batch only
	cols    []arrow.Array
	n       int
	starts  []int32 // rows of group g are rows[starts[g]:starts[g+1]]
	rows    []int32
	mem     account
	matched []bool // rows that found a partner, nil if nobody asks
}

func newJoinTable(in Operator, keys []expr.Expr, nullSafe []bool, node physical.Node, shared func(int) bool) (*joinTable, error) {
	t := &joinTable{in: in, node: node, nullSafe: nullSafe, shared: shared}
	var err error
	if t.keys, err = newComputed(keys, in.Schema()); err != nil {
		return nil, err
	}
	t.table, err = newGroupTable(typesOf(keys))
	return t, err
}

// open keeps the rows of an earlier batch if they are the same ones.
func (t *joinTable) open(ctx context.Context, tc *TaskContext) error {
	t.tc = tc
	v := t.versionIn(&tc.Spec)
	if t.loaded && v != "" && v == t.version {
		clear(t.matched)
		return nil
	}
	t.release()
	t.mem.open(tc)
	t.keys.open(tc)
	return t.in.Open(ctx, tc)
}

func (t *joinTable) release() {
	gather.Release(t.cols)
	t.cols, t.n, t.loaded, t.version = nil, 0, false, ""
	t.table.Reset()
	t.starts, t.rows, t.matched = nil, nil, nil
	t.mem.set(0)
}

// load reads the build side, unless it is there.
func (t *joinTable) load(ctx context.Context, matched bool) error {
	if t.loaded {
		return nil
	}
	var chunks [][]arrow.Array
	defer func() {
		for _, c := range chunks {
			gather.Release(c)
		}
	}()
	var groups []uint32
	err := drain(ctx, t.in, func(rec arrow.RecordBatch) error {
		keys, err := t.keys.run(rec)
		if err != nil {
			return err
		}
		defer gather.Release(keys)
		from, n := len(groups), int(rec.NumRows())
		groups = append(groups, make([]uint32, n)...)
		t.table.Map(keys, n, groups[from:])
		t.dropNulls(keys, groups[from:])
		cols := append([]arrow.Array{}, rec.Columns()...)
		for _, c := range cols {
			c.Retain()
		}
		chunks = append(chunks, cols)
		return t.mem.set(t.table.Bytes() + 4*int64(cap(groups)))
	})
	if err != nil {
		return err
	}
	if t.cols, err = concat(t.tc.Alloc, chunks); err != nil {
		return fmt.Errorf("build side of a join: %w", err)
	}
	if t.cols == nil {
		for _, f := range t.in.Schema().Fields() {
			t.cols = append(t.cols, array.MakeArrayOfNull(t.tc.Alloc, f.Type, 0))
		}
	}
	t.index(groups)
	t.matched = nil
	if matched {
		t.matched = make([]bool, t.n)
	}
	if err := t.mem.set(t.table.Bytes() + 4*int64(cap(t.starts)+cap(t.rows)) + int64(len(t.matched))); err != nil {
		return err
	}
	t.loaded, t.version = true, t.versionIn(&t.tc.Spec)
	return nil
}

// index lists the rows of each group.
func (t *joinTable) index(groups []uint32) {
	t.n = len(groups)
	t.starts = make([]int32, t.table.Len()+1)
	for _, g := range groups {
		if g != noGroup {
			t.starts[g+1]++
		}
	}
	for g := range t.table.Len() {
		t.starts[g+1] += t.starts[g]
	}
	t.rows = make([]int32, t.starts[t.table.Len()])
	next := append([]int32{}, t.starts...)
	for i, g := range groups {
		if g != noGroup {
			t.rows[next[g]] = int32(i)
			next[g]++
		}
	}
}

// dropNulls takes rows out that equal nothing because a key of them is NULL.
func (t *joinTable) dropNulls(keys []arrow.Array, groups []uint32) {
	for c, k := range keys {
		if t.nullSafe != nil && t.nullSafe[c] || k.NullN() == 0 && k.DataType().ID() != arrow.NULL {
			continue
		}
		for i := range groups {
			if k.IsNull(i) || k.DataType().ID() == arrow.NULL {
				groups[i] = noGroup
			}
		}
	}
}

func (t *joinTable) find(keys []arrow.Array, groups []uint32) {
	t.table.Find(keys, len(groups), groups)
	t.dropNulls(keys, groups)
}

func (t *joinTable) rowsOf(g uint32) []int32 {
	if g == noGroup {
		return nil
	}
	return t.rows[t.starts[g]:t.starts[g+1]]
}

// versionIn names the rows that the build side would read for a task, or
// returns "" if they may be other ones in each batch.
func (t *joinTable) versionIn(spec *batch.TaskSpec) string {
	var b strings.Builder
	for n := t.node; ; {
		switch x := n.(type) {
		case *physical.ExchangeRead:
			for _, in := range spec.Inputs {
				if in.Stage != x.Stage || in.Version == "" {
					continue
				}
				fmt.Fprintf(&b, "%d@%s", in.Stage, in.Version)
				if !t.shared(in.Stage) {
					fmt.Fprintf(&b, " part %d of %d", spec.Task.Partition, spec.Parts)
				}
				return b.String()
			}
			return ""
		case *physical.Filter:
			if !immutable(x.Cond) {
				return ""
			}
			n = x.Input
		case *physical.Project:
			if !immutable(x.Exprs...) {
				return ""
			}
			n = x.Input
		default:
			return ""
		}
	}
}

func immutable(exprs ...expr.Expr) bool {
	ok := true
	for _, e := range exprs {
		expr.Walk(e, func(x expr.Expr) bool {
			if c, is := x.(*expr.Call); is && c.Func.Volatility != expr.Immutable {
				ok = false
			}
			return ok
		})
	}
	return ok
}
