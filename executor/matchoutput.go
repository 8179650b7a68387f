package executor

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowpattern"
	"github.com/sluice-stream/sluice/planner/expr"
)

// matchOutput makes the rows of the matches of a block, measures included.
type matchOutput struct {
	spec     *expr.MatchSpec
	tests    *matchTests
	measures *overSlots // nil if there are none
	schema   *arrow.Schema
	sets     [][]bool // of slots: the variables whose rows count

	s    *matchSearch
	rows []matchRow
}

// matchRow is a row of the output: of a match, up to one of its labels.
type matchRow struct {
	match int32
	upto  int32 // labels of the match that lie before or are the row
	row   int32 // of the block
}

func newMatchOutput(spec *expr.MatchSpec, in, out *arrow.Schema, t *matchTests) (*matchOutput, error) {
	o := &matchOutput{spec: spec, tests: t, schema: out}
	for i := range spec.Slots {
		o.sets = append(o.sets, t.set(spec.Slots[i].Vars))
	}
	if len(spec.Measures) == 0 {
		return o, nil
	}
	var err error
	o.measures, err = newOverSlots(spec, spec.Measures)
	return o, err
}

// make returns the columns of the output for all that was found, and how many rows.
func (o *matchOutput) make(s *matchSearch) (cols []arrow.Array, n int, err error) {
	o.s = s
	o.list()
	n = len(o.rows)
	if n == 0 {
		return nil, 0, nil
	}
	measures, err := o.measured()
	defer gather.Release(measures)
	if err != nil {
		return nil, 0, err
	}
	n = len(o.rows)
	idx := make([]int32, n)
	for i, r := range o.rows {
		idx[i] = r.row
	}
	for _, c := range o.spec.Cols {
		var arr arrow.Array
		if c < 0 {
			arr = measures[^c]
			arr.Retain()
		} else if arr, err = gather.Take(s.tc.Alloc, o.block().rec.Column(c), idx); err != nil {
			gather.Release(cols)
			return nil, 0, err
		}
		cols = append(cols, arr)
	}
	return cols, n, nil
}

func (o *matchOutput) block() *matchBlock { return o.tests.block }

// list lists the rows of the output.
func (o *matchOutput) list() {
	o.rows = o.rows[:0]
	for i := range o.s.found {
		f := &o.s.found[i]
		size := f.end - f.from
		switch {
		case !o.spec.AllRows:
			o.rows = append(o.rows, matchRow{match: int32(i), upto: int32(size), row: int32(f.start)})
		case size == 0:
			if f.unmatched || o.spec.Empty != expr.OmitEmpty {
				o.rows = append(o.rows, matchRow{match: int32(i), row: int32(f.start)})
			}
		default:
			for k, l := range o.s.labels[f.from:f.end] {
				if !l.Excluded {
					o.rows = append(o.rows, matchRow{match: int32(i), upto: int32(k + 1), row: int32(l.Row)})
				}
			}
		}
	}
}

// measured computes the measures; all of a row in no match are NULL. Rows whose
// measures cannot be computed are set aside.
func (o *matchOutput) measured() ([]arrow.Array, error) {
	if o.measures == nil {
		return nil, nil
	}
	cols := make([]arrow.Array, 0, len(o.measures.slots))
	defer func() { gather.Release(cols) }()
	for _, i := range o.measures.slots {
		arr, err := o.slot(i)
		if err != nil {
			return nil, err
		}
		cols = append(cols, arr)
	}
	n := len(o.rows)
	rec := array.NewRecordBatch(o.measures.out, cols, int64(n))
	defer rec.Release()
	out, err := o.run(rec)
	if n = len(o.rows); err != nil || o.spec.Empty != expr.ShowUnmatched || !o.spec.AllRows {
		return out, err
	}
	defer gather.Release(out)
	idx := seq(0, n)
	for i, r := range o.rows {
		if o.s.found[r.match].unmatched {
			idx[i] = -1
		}
	}
	return gather.Columns(o.s.tc.Alloc, out, idx)
}

// run computes the measures over the slots of all rows.
func (o *matchOutput) run(rec arrow.RecordBatch) ([]arrow.Array, error) {
	out, err := o.measures.ev.Run(&o.tests.kc, rec)
	u := o.tests.tc.unfit
	if !u.takes(err) {
		return out, err
	}
	c := o.tests.again(o.measures.ev, o.measures.exprs, o.measures.out)
	if u.null {
		return c.runNull(rec)
	}
	fit, keep, err := c.fit(nil, rec)
	if err != nil {
		return nil, err
	}
	defer fit.Release()
	for i, row := range keep {
		o.rows[i] = o.rows[row]
	}
	o.rows = o.rows[:len(keep)]
	return c.run(fit)
}

// slot computes a slot for every row of the output.
func (o *matchOutput) slot(i int) (arrow.Array, error) {
	x := &o.spec.Slots[i]
	switch x.Kind {
	case expr.SlotNumber:
		b := array.NewInt64Builder(o.s.tc.Alloc)
		defer b.Release()
		for _, r := range o.rows {
			b.Append(o.s.found[r.match].number)
		}
		return b.NewArray(), nil
	case expr.SlotAggregate:
		if o.spec.AllRows && !x.Final {
			return o.running(i)
		}
		return o.whole(i)
	case expr.SlotClassifier:
		_, vars := o.navigate(i)
		b := array.NewStringBuilder(o.s.tc.Alloc)
		defer b.Release()
		for _, v := range vars {
			if v < 0 {
				b.AppendNull()
			} else {
				b.Append(o.spec.Vars[v])
			}
		}
		return b.NewArray(), nil
	default:
		at, _ := o.navigate(i)
		return o.values(i, at)
	}
}

// navigate finds for every row of the output the row that a slot reads and, if it
// is one of the match, its variable; -1 for none.
func (o *matchOutput) navigate(i int) (at, vars []int32) {
	x, set := &o.spec.Slots[i], o.sets[i]
	at, vars = make([]int32, len(o.rows)), make([]int32, len(o.rows))
	var of []int32 // labels of the set in the match, up to the row
	match, seen := int32(-1), int32(0)
	var labels []rowpattern.Label
	for k, r := range o.rows {
		f := &o.s.found[r.match]
		if r.match != match {
			match, seen, of = r.match, 0, of[:0]
			labels = o.s.labels[f.from:f.end]
		}
		upto := r.upto
		if x.Final {
			upto = int32(len(labels))
		}
		for ; seen < upto; seen++ {
			if set[labels[seen].Var] {
				of = append(of, seen)
			}
		}
		n := x.N
		if !x.First {
			n = len(of) - 1 - x.N
		}
		at[k], vars[k] = -1, -1
		if n < 0 || n >= len(of) {
			continue
		}
		row := labels[of[n]].Row + x.Offset
		if row < f.first || row >= f.last {
			continue
		}
		at[k] = int32(row)
		if in := row - labels[0].Row; in >= 0 && in < int(upto) { // the rows of a match follow each other
			vars[k] = int32(labels[in].Var)
		}
	}
	return at, vars
}

// values evaluates what a slot reads for the rows that it reads alone.
func (o *matchOutput) values(i int, at []int32) (arrow.Array, error) {
	if c, ok := o.spec.Slots[i].Value.(*expr.Column); ok && arrow.TypeEqual(o.block().rec.Column(c.Index).DataType(), c.DT) {
		return gather.Take(o.s.tc.Alloc, o.block().rec.Column(c.Index), at)
	}
	place := make([]int32, len(at))
	some := make([]int32, 0, len(at))
	for k, row := range at {
		if place[k] = -1; row >= 0 {
			place[k] = int32(len(some))
			some = append(some, row)
		}
	}
	rec, err := gather.Batch(o.s.tc.Alloc, o.block().rec, some)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	out, err := o.tests.run(o.tests.values[i], o.spec.Slots[i].Value, rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(out)
	return gather.Take(o.s.tc.Alloc, out[0], place)
}

// members lists the rows that an aggregate is over, match by match, and evaluates
// its arguments and filter for them.
func (o *matchOutput) members(i int) (rows []int32, groups []uint32, cols []arrow.Array, err error) {
	for m := range o.s.found {
		f := &o.s.found[m]
		for _, l := range o.s.labels[f.from:f.end] {
			if o.sets[i][l.Var] {
				rows, groups = append(rows, int32(l.Row)), append(groups, uint32(m))
			}
		}
	}
	rec, err := gather.Batch(o.s.tc.Alloc, o.block().rec, rows)
	if err != nil {
		return nil, nil, nil, err
	}
	defer rec.Release()
	cols, err = o.tests.arguments(i, rec)
	return rows, groups, cols, err
}

// whole computes an aggregate over whole matches.
func (o *matchOutput) whole(i int) (arrow.Array, error) {
	rows, groups, cols, err := o.members(i)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	args, filter := o.arguments(i, cols)
	acc := o.spec.Slots[i].Agg.Func.New(o.s.tc.Alloc)
	defer acc.Release()
	acc.Resize(len(o.s.found))
	var sel []int32
	if filter != nil {
		if sel = trueRows(filter, len(rows), nil); sel == nil {
			sel = []int32{}
		}
		of := make([]uint32, len(sel))
		for k, row := range sel {
			of[k] = groups[row]
		}
		groups = of
	}
	if len(groups) > 0 {
		if err := acc.Update(groups, args, sel, len(rows)); err != nil {
			return nil, err
		}
	}
	out, err := acc.Final(0, len(o.s.found))
	if err != nil || !o.spec.AllRows {
		return out, err
	}
	defer out.Release()
	idx := make([]int32, len(o.rows))
	for k, r := range o.rows {
		idx[k] = r.match
	}
	return gather.Take(o.s.tc.Alloc, out, idx)
}

func (o *matchOutput) arguments(i int, cols []arrow.Array) (args []expr.Vec, filter arrow.Array) {
	n := len(o.tests.args[i])
	for _, c := range cols[:n] {
		args = append(args, expr.Vec{Arr: c})
	}
	if len(cols) > n {
		filter = cols[n]
	}
	return args, filter
}

// running computes an aggregate over each match up to each of its rows.
func (o *matchOutput) running(i int) (arrow.Array, error) {
	members, _, cols, err := o.members(i)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	args, filter := o.arguments(i, cols)
	acc := o.spec.Slots[i].Agg.Func.New(o.s.tc.Alloc)
	defer acc.Release()
	var finals []arrow.Array // each time that it changes
	defer func() { gather.Release(finals) }()
	idx := make([]int32, len(o.rows))
	member, at := int32(0), 0 // in members, in o.rows
	for m := range o.s.found {
		f := &o.s.found[m]
		acc.Reset()
		acc.Resize(1)
		changed := true
		labels := o.s.labels[f.from:f.end]
		for k := 0; ; k++ {
			for ; at < len(o.rows) && int(o.rows[at].match) == m && int(o.rows[at].upto) == k; at++ {
				if changed {
					final, err := acc.Final(0, 1)
					if err != nil {
						return nil, err
					}
					finals, changed = append(finals, final), false
				}
				idx[at] = int32(len(finals) - 1)
			}
			if k == len(labels) {
				break
			}
			if !o.sets[i][labels[k].Var] {
				continue
			}
			if filter == nil || isTrue(filter, int(member)) {
				if err := acc.Update(nil, args, []int32{member}, len(members)); err != nil {
					return nil, err
				}
				changed = true
			}
			member++
		}
	}
	one, err := array.Concatenate(finals, o.s.tc.Alloc)
	if err != nil {
		return nil, err
	}
	defer one.Release()
	return gather.Take(o.s.tc.Alloc, one, idx)
}
