package executor

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowpattern"
	"github.com/sluice-stream/sluice/planner/expr"
)

// overSlots is expressions over some slots, with an evaluator whose columns are
// those slots alone.
type overSlots struct {
	exprs []expr.Expr
	slots []int // of the columns
	ev    *eval.Evaluator
	out   *arrow.Schema // the columns
}

func newOverSlots(spec *expr.MatchSpec, es []expr.Expr) (*overSlots, error) {
	o := &overSlots{}
	var fields []arrow.Field
	all := spec.SlotSchema()
	for _, e := range es {
		o.exprs = append(o.exprs, expr.Remap(e, func(i int) int {
			at := slices.Index(o.slots, i)
			if at < 0 {
				at = len(o.slots)
				o.slots, fields = append(o.slots, i), append(fields, all.Field(i))
			}
			return at
		}))
	}
	o.out = arrow.NewSchema(fields, nil)
	var err error
	o.ev, err = eval.New(o.exprs, o.out)
	return o, err
}

// matchCondition is the condition of a variable: what depends on the row and its
// neighbours alone, which is computed for all rows at once, and the rest.
type matchCondition struct {
	local, rest *overSlots // nil if there is none
	fast        scalar     // rest, if it is a common expression
	cells       []atom
	// Of the rows at hand: whether local holds; nil if it failed for some row, which
	// may be one that nobody asks about, and is computed row by row.
	holds []bool
}

// slotPlace says where the matcher has what a slot reads.
type slotPlace struct {
	track, sum int
	current    map[int]bool // variables in whose condition the slot is the current row
}

// matchTests decides the conditions of DEFINE over the rows of a block.
type matchTests struct {
	spec    *expr.MatchSpec
	conds   []matchCondition
	places  []slotPlace
	history rowpattern.History
	values  []*eval.Evaluator // of slots: over the input
	args    [][]*eval.Evaluator
	filters []*eval.Evaluator

	m     *rowpattern.Matcher
	tc    *TaskContext
	kc    expr.KernelContext
	block *matchBlock
	vals  []arrow.Array   // of slots of values; nil where one failed or nothing asks
	aggs  [][]arrow.Array // of slots of aggregates: arguments and, last, the filter
	part  int             // of the block's partitions, the one that is searched
	num   int64           // of the match that is looked for
	err   error           // of a condition that was asked for a row alone
}

var _ rowpattern.Tests = (*matchTests)(nil)

func newMatchTests(spec *expr.MatchSpec, in *arrow.Schema) (*matchTests, error) {
	t := &matchTests{spec: spec, conds: make([]matchCondition, len(spec.Vars)), places: make([]slotPlace, len(spec.Slots)),
		values: make([]*eval.Evaluator, len(spec.Slots)), args: make([][]*eval.Evaluator, len(spec.Slots)), filters: make([]*eval.Evaluator, len(spec.Slots))}
	for i := range t.places {
		t.places[i] = slotPlace{track: -1, sum: -1, current: map[int]bool{}}
	}
	rests := make([][]expr.Expr, len(spec.Vars))
	for v, d := range spec.Define {
		var local []expr.Expr
		for _, c := range expr.Conjuncts(d) {
			if t.isLocal(c, v) {
				local = append(local, c)
			} else {
				rests[v] = append(rests[v], c)
			}
		}
		var err error
		if len(local) > 0 {
			if t.conds[v].local, err = newOverSlots(spec, []expr.Expr{expr.AndAll(local)}); err != nil {
				return nil, err
			}
		}
		if len(rests[v]) > 0 {
			rest := expr.AndAll(rests[v])
			if t.conds[v].rest, err = newOverSlots(spec, []expr.Expr{rest}); err != nil {
				return nil, err
			}
			t.conds[v].fast = compileScalar(t.conds[v].rest.exprs[0])
			t.conds[v].cells = make([]atom, len(t.conds[v].rest.slots))
		}
	}
	t.plan()
	return t, t.evaluators(in)
}

// isLocal reports whether a condition of v reads the row itself and neighbours of it alone.
func (t *matchTests) isLocal(c expr.Expr, v int) bool {
	local := true
	expr.Walk(c, func(x expr.Expr) bool {
		if col, ok := x.(*expr.Column); ok {
			local = local && t.isCurrent(col.Index, v)
		}
		return true
	})
	return local
}

// isCurrent reports whether a slot counts from the row that v is asked about.
func (t *matchTests) isCurrent(slot, v int) bool {
	s := &t.spec.Slots[slot]
	return s.Kind == expr.SlotValue && !s.First && s.N == 0 && (s.Vars == nil || slices.Contains(s.Vars, v))
}

// plan says what the matcher has to keep of the rows that were taken.
func (t *matchTests) plan() {
	type key struct {
		vars  string
		first bool
	}
	tracks := map[key]int{}
	needs := make([][]int, len(t.conds)) // tracks, and sums as ^sum
	for v := range t.conds {
		if t.conds[v].rest == nil {
			continue
		}
		for _, i := range t.conds[v].rest.slots {
			s, p := &t.spec.Slots[i], &t.places[i]
			switch {
			case s.Kind == expr.SlotNumber:
				t.history.Other = true
			case s.Kind == expr.SlotAggregate:
				if p.sum < 0 {
					p.sum = len(t.history.Sums)
					t.history.Sums = append(t.history.Sums, t.sum(i))
				}
				needs[v] = append(needs[v], ^p.sum)
			case t.isCurrent(i, v):
				p.current[v] = true
			default:
				set := t.set(s.Vars)
				k := key{vars: string(boolBytes(set)), first: s.First}
				at, ok := tracks[k]
				if !ok {
					at = len(t.history.Tracks)
					tracks[k] = at
					t.history.Tracks = append(t.history.Tracks, rowpattern.Track{Vars: set, First: s.First})
				}
				tr := &t.history.Tracks[at]
				tr.Depth = max(tr.Depth, s.N+1)
				tr.Variables = tr.Variables || s.Kind == expr.SlotClassifier
				p.track = at
				needs[v] = append(needs[v], at)
			}
		}
	}
	t.history.Needs = make([][]bool, len(t.conds))
	for v := range t.conds {
		if t.conds[v].rest == nil {
			continue
		}
		t.history.Needs[v] = make([]bool, len(t.history.Tracks)+len(t.history.Sums))
		for _, n := range needs[v] {
			if n < 0 {
				n = len(t.history.Tracks) + ^n
			}
			t.history.Needs[v][n] = true
		}
	}
}

// set is a list of variables as a truth for each; nil is all.
func (t *matchTests) set(vars []int) []bool {
	out := make([]bool, len(t.spec.Vars))
	for i := range out {
		out[i] = vars == nil || slices.Contains(vars, i)
	}
	return out
}

func boolBytes(set []bool) []byte {
	out := make([]byte, len(set))
	for i, b := range set {
		if b {
			out[i] = 1
		}
	}
	return out
}

// sum is the aggregate of a slot for the matcher to keep.
func (t *matchTests) sum(slot int) rowpattern.Sum {
	s := &t.spec.Slots[slot]
	return rowpattern.Sum{
		Vars: t.set(s.Vars),
		New:  func() expr.Accumulator { return s.Agg.Func.New(t.tc.Alloc) },
		Add:  func(acc expr.Accumulator, row int) error { return t.add(slot, acc, row) },
	}
}

// evaluators prepares what the slots read of the input.
func (t *matchTests) evaluators(in *arrow.Schema) error {
	one := func(e expr.Expr) (*eval.Evaluator, error) { return eval.New([]expr.Expr{e}, in) }
	for i := range t.spec.Slots {
		s := &t.spec.Slots[i]
		var err error
		if s.Kind == expr.SlotValue {
			t.values[i], err = one(s.Value)
		}
		if s.Kind == expr.SlotAggregate {
			for _, a := range s.Agg.Args {
				ev, argErr := one(a)
				if argErr != nil {
					return argErr
				}
				t.args[i] = append(t.args[i], ev)
			}
			if s.Agg.Filter != nil {
				t.filters[i], err = one(s.Agg.Filter)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *matchTests) open(tc *TaskContext) {
	t.tc, t.kc = tc, kernelContext(tc)
}

// release lets go of the block.
func (t *matchTests) release() {
	gather.Release(t.vals)
	for _, a := range t.aggs {
		gather.Release(a)
	}
	for v := range t.conds {
		t.conds[v].holds = nil
	}
	t.vals, t.aggs, t.block, t.err = nil, nil, nil, nil
}

// start computes what can be for all rows of a block.
func (t *matchTests) start(b *matchBlock) error {
	t.release()
	t.block = b
	t.vals, t.aggs = make([]arrow.Array, len(t.spec.Slots)), make([][]arrow.Array, len(t.spec.Slots))
	for v := range t.conds {
		c := &t.conds[v]
		for _, o := range []*overSlots{c.local, c.rest} {
			if o == nil {
				continue
			}
			for _, i := range o.slots {
				t.compute(i)
			}
		}
		if c.local != nil {
			c.holds = t.localHolds(c.local)
		}
	}
	return nil
}

// compute evaluates what a slot reads. Where that fails, it is asked again row by
// row: the row at fault may be one that no condition is asked about.
func (t *matchTests) compute(i int) {
	s := &t.spec.Slots[i]
	if s.Kind == expr.SlotValue && t.vals[i] == nil {
		if out, err := t.run(t.values[i], s.Value, t.block.rec); err == nil {
			t.vals[i] = out[0]
		}
	}
	if s.Kind == expr.SlotAggregate && t.aggs[i] == nil {
		if out, err := t.arguments(i, t.block.rec); err == nil {
			t.aggs[i] = out
		}
	}
}

// run evaluates an expression over rows of the input. Under the policy null it is
// NULL where it cannot be computed.
func (t *matchTests) run(ev *eval.Evaluator, e expr.Expr, rec arrow.RecordBatch) ([]arrow.Array, error) {
	out, err := ev.Run(&t.kc, rec)
	if t.tc.unfit.takes(err) && t.tc.unfit.null {
		return t.again(ev, []expr.Expr{e}, rec.Schema()).runNull(rec)
	}
	return out, err
}

// again is expressions of which one could not be computed.
func (t *matchTests) again(ev *eval.Evaluator, exprs []expr.Expr, in *arrow.Schema) *computed {
	return &computed{ev: ev, exprs: exprs, in: in, kc: t.kc, unfit: t.tc.unfit, tc: t.tc}
}

// arguments evaluates the arguments of an aggregate and then its filter.
func (t *matchTests) arguments(slot int, rec arrow.RecordBatch) ([]arrow.Array, error) {
	out := make([]arrow.Array, 0, len(t.args[slot])+1)
	evs, exprs := t.args[slot], t.spec.Slots[slot].Agg.Args
	if t.filters[slot] != nil {
		evs = append(slices.Clone(evs), t.filters[slot])
		exprs = append(slices.Clone(exprs), t.spec.Slots[slot].Agg.Filter)
	}
	for i, ev := range evs {
		cols, err := t.run(ev, exprs[i], rec)
		if err != nil {
			gather.Release(out)
			return nil, err
		}
		out = append(out, cols[0])
	}
	return out, nil
}

// add adds a row to an aggregate.
func (t *matchTests) add(slot int, acc expr.Accumulator, row int) error {
	cols := t.aggs[slot]
	if cols == nil {
		one := t.block.rec.NewSlice(int64(row), int64(row+1))
		defer one.Release()
		var err error
		if cols, err = t.arguments(slot, one); err != nil {
			return err
		}
		defer gather.Release(cols)
		row = 0
	}
	n := len(t.args[slot])
	if len(cols) > n && !isTrue(cols[n], row) {
		return nil
	}
	args := make([]expr.Vec, n)
	rows := 1
	for i := range args {
		args[i] = expr.Vec{Arr: cols[i]}
		rows = cols[i].Len()
	}
	if n == 0 {
		return acc.Update(nil, nil, nil, 1)
	}
	return acc.Update(nil, args, []int32{int32(row)}, rows)
}

// localHolds computes a condition for all rows; nil if it fails for one.
func (t *matchTests) localHolds(o *overSlots) []bool {
	b := t.block
	cols := make([]arrow.Array, 0, len(o.slots))
	defer func() { gather.Release(cols) }()
	for _, i := range o.slots {
		arr := t.vals[i]
		if arr == nil {
			return nil
		}
		off := t.spec.Slots[i].Offset
		if off == 0 {
			arr.Retain()
			cols = append(cols, arr)
			continue
		}
		moved, err := gather.Take(t.tc.Alloc, arr, b.neighbours(off))
		if err != nil {
			return nil
		}
		cols = append(cols, moved)
	}
	rec := array.NewRecordBatch(o.out, cols, int64(b.n))
	defer rec.Release()
	res, err := o.ev.Run(&t.kc, rec)
	if err != nil {
		return nil
	}
	defer gather.Release(res)
	out := make([]bool, b.n)
	for _, row := range trueRows(res[0], b.n, nil) {
		out[row] = true
	}
	return out
}

// Row implements rowpattern.Tests.
func (t *matchTests) Row(v, row int) bool {
	c := &t.conds[v]
	if c.local == nil {
		return true
	}
	if c.holds != nil {
		return c.holds[row]
	}
	ok, err := t.evaluate(c.local, v, row, nil)
	if err != nil && t.err == nil {
		t.err = err
	}
	return ok
}

// Holds implements rowpattern.Tests.
func (t *matchTests) Holds(v, row int, s *rowpattern.State) (bool, error) {
	c := &t.conds[v]
	if t.err != nil {
		return false, t.err
	}
	if c.fast != nil {
		if ok, err := t.cells(c, v, row, s); err != nil {
			return false, err
		} else if ok {
			if out, ok := c.fast(c.cells); ok {
				return !out.null && out.i != 0, nil
			}
		}
	}
	return t.evaluate(c.rest, v, row, s)
}

// at returns the row that a slot reads, -1 for none, and what it was taken as.
func (t *matchTests) at(slot, v, row int, s *rowpattern.State) (at, variable int) {
	x, p := &t.spec.Slots[slot], &t.places[slot]
	at, variable = row, v
	if s != nil && !t.isCurrent(slot, v) {
		at, variable = t.m.Row(s, p.track, x.N)
	}
	if at < 0 || x.Offset == 0 {
		return at, variable
	}
	at += x.Offset
	if at < t.block.parts[t.part] || at >= t.block.parts[t.part+1] {
		return -1, -1
	}
	return at, -1
}

// cells fills in what a condition reads; false if a value has no atom.
func (t *matchTests) cells(c *matchCondition, v, row int, s *rowpattern.State) (bool, error) {
	for j, i := range c.rest.slots {
		switch x := &t.spec.Slots[i]; x.Kind {
		case expr.SlotNumber:
			c.cells[j] = atom{i: t.num}
		case expr.SlotAggregate:
			out, err := t.m.Acc(s, t.places[i].sum).Final(0, 1)
			if err != nil {
				return false, err
			}
			var ok bool
			c.cells[j], ok = cellOf(out, 0)
			if c.cells[j].s != "" { // it points into what is released
				ok = false
			}
			out.Release()
			if !ok {
				return false, nil
			}
		case expr.SlotClassifier:
			at, variable := t.classified(i, v, row, s)
			c.cells[j] = atom{null: at < 0 || variable < 0}
			if !c.cells[j].null {
				c.cells[j].s = t.spec.Vars[variable]
			}
		case expr.SlotValue:
			at, _ := t.at(i, v, row, s)
			if t.vals[i] == nil {
				return false, nil
			}
			if at < 0 {
				c.cells[j] = atom{null: true}
				continue
			}
			var ok bool
			if c.cells[j], ok = cellOf(t.vals[i], at); !ok {
				return false, nil
			}
		}
	}
	return true, nil
}

// classified is at for CLASSIFIER, whose row must be one of the match.
func (t *matchTests) classified(slot, v, row int, s *rowpattern.State) (at, variable int) {
	return t.m.Row(s, t.places[slot].track, t.spec.Slots[slot].N)
}

// evaluate computes a condition for one row. Where rows that cannot be computed do
// not stop the query, a condition over several rows that cannot be does not hold:
// no single one of them is bad.
func (t *matchTests) evaluate(o *overSlots, v, row int, s *rowpattern.State) (bool, error) {
	ok, err := t.holds(o, v, row, s)
	if t.tc.unfit.takes(err) {
		return false, nil
	}
	return ok, err
}

func (t *matchTests) holds(o *overSlots, v, row int, s *rowpattern.State) (bool, error) {
	cols := make([]arrow.Array, 0, len(o.slots))
	defer func() { gather.Release(cols) }()
	for _, i := range o.slots {
		arr, err := t.one(i, v, row, s)
		if err != nil {
			return false, err
		}
		cols = append(cols, arr)
	}
	rec := array.NewRecordBatch(o.out, cols, 1)
	defer rec.Release()
	res, err := o.ev.Run(&t.kc, rec)
	if err != nil {
		return false, err
	}
	defer gather.Release(res)
	return isTrue(res[0], 0), nil
}

// one returns what a slot reads as an array of one row.
func (t *matchTests) one(slot, v, row int, s *rowpattern.State) (arrow.Array, error) {
	x := &t.spec.Slots[slot]
	switch x.Kind {
	case expr.SlotAggregate:
		return t.m.Acc(s, t.places[slot].sum).Final(0, 1)
	case expr.SlotNumber:
		b := array.NewInt64Builder(t.tc.Alloc)
		defer b.Release()
		b.Append(t.num)
		return b.NewArray(), nil
	case expr.SlotClassifier:
		b := array.NewStringBuilder(t.tc.Alloc)
		defer b.Release()
		if at, variable := t.classified(slot, v, row, s); at < 0 || variable < 0 {
			b.AppendNull()
		} else {
			b.Append(t.spec.Vars[variable])
		}
		return b.NewArray(), nil
	case expr.SlotValue:
	}
	at, _ := t.at(slot, v, row, s)
	switch {
	case at < 0:
		return array.MakeArrayOfNull(t.tc.Alloc, x.DT, 1), nil
	case t.vals[slot] != nil:
		return gather.Take(t.tc.Alloc, t.vals[slot], []int32{int32(at)})
	}
	rec := t.block.rec.NewSlice(int64(at), int64(at+1))
	defer rec.Release()
	out, err := t.run(t.values[slot], x.Value, rec)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}
