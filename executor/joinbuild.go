package executor

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// joinBuild is the build side of a join in one task: it reads the rows, or takes
// the table that another task of the stage has made of the same rows.
type joinBuild struct {
	tableMaker
	in      Operator
	join    *physical.HashJoin
	node    physical.Node
	shared  func(stage int) bool // whether all tasks read the same rows of a stage
	matches bool                 // whether build rows that found a partner are noted

	tc      *TaskContext
	opened  bool // the input is open
	table   *joinTable
	lease   *lease // of a table that is shared
	version string // of the rows in the table, "" if they are of one batch only
	matched []bool // rows that found a partner, nil if nobody asks
	missing int    // rows with a key that found none yet
}

func newJoinBuild(in Operator, n *physical.HashJoin, need []bool, shared func(int) bool) (*joinBuild, error) {
	b := &joinBuild{in: in, join: n, node: n.Right, shared: shared}
	keys := n.RightKeys
	if n.BuildLeft {
		b.node, keys = n.Left, n.LeftKeys
	}
	b.tableMaker = tableMaker{schema: in.Schema(), keys: newJoinKeys(typesOf(keys), n.NullSafe), need: need}
	var err error
	b.ev, err = newComputed(keys, in.Schema())
	return b, err
}

// open keeps the rows of an earlier batch if they are the same ones.
func (b *joinBuild) open(tc *TaskContext) {
	b.tc, b.opened = tc, false
	if v := b.versionIn(&tc.Spec); b.table != nil && b.lease == nil && v != "" && v == b.version {
		b.unmatch()
		return
	}
	b.release()
	b.ev.open(tc)
}

func (b *joinBuild) unmatch() {
	clear(b.matched)
	b.missing = b.table.index.n
}

func (b *joinBuild) release() {
	if b.lease != nil {
		b.lease.end(false)
	} else {
		b.table.release()
	}
	b.table, b.lease, b.version, b.matched = nil, nil, "", nil
}

// finish lets a shared table go when all probe rows have passed.
func (b *joinBuild) finish() {
	if b.lease != nil {
		b.lease.end(true)
		b.table, b.lease = nil, nil
	}
}

// use makes t the table that is probed.
func (b *joinBuild) use(t *joinTable) {
	b.table = t
	if b.matches {
		b.matched = growBools(b.matched, t.n)
	}
	b.missing = t.index.n
}

// input opens the rows, if they are not open.
func (b *joinBuild) input(ctx context.Context) (Operator, error) {
	if b.opened {
		return b.in, nil
	}
	b.opened = true
	return b.in, b.in.Open(ctx, b.tc)
}

// read reads all rows; stop says after each batch whether that is enough, and
// more reports that it did.
func (b *joinBuild) read(ctx context.Context, stop func(held int64, rows int) bool) (recs []arrow.RecordBatch, more bool, err error) {
	in, err := b.input(ctx)
	if err != nil {
		return nil, false, err
	}
	return collect(ctx, in, stop)
}

// sharedKey names the table if other tasks may use it as well.
func (b *joinBuild) sharedKey() (key string, ok bool) {
	if b.tc.Tables == nil || b.matches || !immutable(b.buildKeys()...) {
		return "", false
	}
	in, ok := b.exchanged(&b.tc.Spec)
	if !ok || !b.shared(in.Stage) || b.tc.Spec.Parts <= 1 && in.Version == "" {
		return "", false
	}
	if in.Version != "" {
		return fmt.Sprintf("%d@%s", in.Stage, in.Version), true
	}
	return fmt.Sprintf("%d of batch %d", in.Stage, in.Batch), true
}

func (b *joinBuild) buildKeys() []expr.Expr {
	if b.join.BuildLeft {
		return b.join.LeftKeys
	}
	return b.join.RightKeys
}

// exchanged finds the output that the build side is computed from, if it is
// nothing but that: filtered or projected, in the same way for each task.
func (b *joinBuild) exchanged(spec *batch.TaskSpec) (batch.Input, bool) {
	for n := b.node; ; {
		switch x := n.(type) {
		case *physical.ExchangeRead:
			for _, in := range spec.Inputs {
				if in.Stage == x.Stage {
					return in, true
				}
			}
			return batch.Input{}, false
		case *physical.Filter:
			if !immutable(x.Cond) {
				return batch.Input{}, false
			}
			n = x.Input
		case *physical.Project:
			if !immutable(x.Exprs...) {
				return batch.Input{}, false
			}
			n = x.Input
		default:
			return batch.Input{}, false
		}
	}
}

// versionIn names the rows that the build side would read for a task, or
// returns "" if they may be other ones in each batch.
func (b *joinBuild) versionIn(spec *batch.TaskSpec) string {
	in, ok := b.exchanged(spec)
	if !ok || in.Version == "" {
		return ""
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%d@%s", in.Stage, in.Version)
	if !b.shared(in.Stage) {
		fmt.Fprintf(&s, " part %d of %d", spec.Task.Partition, spec.Parts)
	}
	return s.String()
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
