package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// generate makes rows of the elements of arrays and maps. A batch of the input
// gives as many batches as its elements need.
type generate struct {
	base
	n    *physical.Generate
	args *computed

	whole arrow.RecordBatch // input batch at hand
	from  int64             // where rec ends in it
	step  int64             // rows that give about as many elements as are made at once
	bad   int64             // rows whose arguments cannot be computed
	rec   arrow.RecordBatch // some rows of it
	lists []arrow.Array     // the arguments over them
	row   int               // where in rec the next element is
	elem  int               // and which of the row's it is

	parent []int32   // row of rec for each row made
	pos    []int32   // position of the element, -1 for none
	at     [][]int32 // for each argument, where its element is among all of them
}

func newGenerate(n *physical.Generate, in Operator) (*generate, error) {
	args, err := newComputed(n.Args, in.Schema())
	if err != nil {
		return nil, err
	}
	for _, a := range n.Args {
		if id := a.Type().ID(); id != arrow.LIST && id != arrow.LARGE_LIST && id != arrow.FIXED_SIZE_LIST && id != arrow.MAP {
			return nil, fmt.Errorf("%s: %s is no array or map", n, a)
		}
	}
	return &generate{base: base{node: n, in: []Operator{in}}, n: n, args: args, at: make([][]int32, len(n.Args)), step: firstStep}, nil
}

// firstStep is how many rows the arguments are computed for while nobody knows how
// many elements they have: few, for each may have millions.
const firstStep = 16

func (g *generate) Open(ctx context.Context, tc *TaskContext) error {
	g.drop()
	g.args.open(tc)
	g.bad = 0
	return g.base.Open(ctx, tc)
}

func (g *generate) drop() {
	if g.whole != nil {
		g.whole.Release()
		g.whole = nil
	}
	g.dropRows()
}

func (g *generate) dropRows() {
	if g.rec != nil {
		g.rec.Release()
		gather.Release(g.lists)
		g.rec, g.lists = nil, nil
	}
}

func (g *generate) Close() error {
	g.drop()
	return g.base.Close()
}

func (g *generate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if g.rec == nil {
			if err := g.read(ctx); err != nil {
				return nil, err
			}
		}
		g.fill()
		if len(g.parent) == 0 {
			g.dropRows()
			continue
		}
		return g.batch()
	}
}

// read computes the arguments for the next rows of the input. Arrays are many
// times larger than the rows they come from, so a batch is taken in steps.
func (g *generate) read(ctx context.Context) error {
	for g.whole == nil || g.from >= g.whole.NumRows() {
		g.drop()
		var err error
		if g.whole, err = g.in[0].Next(ctx); err != nil {
			g.whole = nil
			return err
		}
		g.from = 0
	}
	rec := g.whole.NewSlice(g.from, min(g.from+g.step, g.whole.NumRows()))
	taken := rec.NumRows()
	lists, err := g.args.run(rec)
	if g.args.unfit.takes(err) {
		rec, lists, err = g.fit(rec)
	}
	if err != nil {
		rec.Release()
		return err
	}
	g.rec, g.lists, g.row, g.elem = rec, lists, 0, 0
	g.from += taken
	elems := int64(0)
	for _, l := range lists {
		elems = max(elems, elementsOf(l))
	}
	// Twice as many at most: the next rows may be other ones.
	g.step = max(1, min(g.step*2, outputRows, rec.NumRows()*outputRows/max(elems, 1)))
	return nil
}

// fit computes the arguments of the rows in hand for which that can be done, and
// sets the others aside. It takes rec over.
func (g *generate) fit(rec arrow.RecordBatch) (arrow.RecordBatch, []arrow.Array, error) {
	origin := traced(g.in[0])
	fit, _, err := g.args.fit(func(i int) (sourceRow, bool) {
		if origin == nil {
			return sourceRow{}, false
		}
		return origin(int(g.from) + i)
	}, rec)
	if err != nil {
		return rec, nil, err
	}
	g.bad += rec.NumRows() - fit.NumRows()
	rec.Release()
	lists, err := g.args.run(fit)
	return fit, lists, err
}

func (g *generate) below() Operator { return g.in[0] }
func (g *generate) setAside() int64 { return g.bad }

// elementsOf is how many elements the rows of a list or map have together.
func elementsOf(arr arrow.Array) int64 {
	n := arr.Len()
	if n == 0 {
		return 0
	}
	list, ok := arr.(array.ListLike)
	if !ok {
		return int64(n)
	}
	start, _ := list.ValueOffsets(0)
	_, end := list.ValueOffsets(n - 1)
	return end - start
}

// elements returns where the elements of row i start and end.
func elements(arr arrow.Array, i int) (start, end int64) {
	if arr.IsNull(i) {
		return 0, 0
	}
	return arr.(array.ListLike).ValueOffsets(i)
}

// fill notes the next rows to make, up to outputRows.
func (g *generate) fill() {
	g.parent, g.pos = g.parent[:0], g.pos[:0]
	for a := range g.at {
		g.at[a] = g.at[a][:0]
	}
	for n := int(g.rec.NumRows()); g.row < n && len(g.parent) < outputRows; {
		count := 0
		for _, l := range g.lists {
			start, end := elements(l, g.row)
			count = max(count, int(end-start))
		}
		if count == 0 && g.n.Outer {
			g.add(-1)
		}
		stop := min(count, g.elem+outputRows-len(g.parent))
		for ; g.elem < stop; g.elem++ {
			g.add(int32(g.elem))
		}
		if g.elem >= count {
			g.row, g.elem = g.row+1, 0
		}
	}
}

// add notes one row: element e of every argument, or none for -1.
func (g *generate) add(e int32) {
	g.parent, g.pos = append(g.parent, int32(g.row)), append(g.pos, e)
	for a, l := range g.lists {
		start, end := elements(l, g.row)
		at := int32(-1)
		if e >= 0 && start+int64(e) < end {
			at = int32(start + int64(e))
		}
		g.at[a] = append(g.at[a], at)
	}
}

// kept are the columns of the input that the rows carry.
func (g *generate) kept() []arrow.Array {
	if g.n.Keep == nil {
		return g.rec.Columns()
	}
	out := make([]arrow.Array, len(g.n.Keep))
	for i, c := range g.n.Keep {
		out[i] = g.rec.Column(c)
	}
	return out
}

// batch makes the rows noted.
func (g *generate) batch() (arrow.RecordBatch, error) {
	cols, err := gather.Columns(g.tc.Alloc, g.kept(), g.parent)
	if err != nil {
		return nil, err
	}
	if g.n.Pos == logical.PosFirst {
		cols = append(cols, g.numbers(0))
	}
	for a, l := range g.lists {
		for _, values := range g.values(l) {
			col, err := gather.Take(g.tc.Alloc, values, g.within(values, l, a))
			if err != nil {
				gather.Release(cols)
				return nil, err
			}
			cols = append(cols, col)
		}
	}
	if g.n.Pos == logical.Ordinality {
		cols = append(cols, g.numbers(1))
	}
	return newBatch(g.Schema(), cols, len(g.parent)), nil
}

// values returns the columns that an argument's elements are made of.
func (g *generate) values(l arrow.Array) []arrow.Array {
	if m, ok := l.(*array.Map); ok {
		return []arrow.Array{m.Keys(), m.Items()}
	}
	v := l.(array.ListLike).ListValues()
	st, ok := v.(*array.Struct)
	if !ok || !g.n.Inline {
		return []arrow.Array{v}
	}
	out := make([]arrow.Array, st.NumField())
	for i := range out {
		out[i] = st.Field(i)
	}
	return out
}

// within returns the positions for one column of argument a: the fields of a
// struct that is NULL are NULL.
func (g *generate) within(values, l arrow.Array, a int) []int32 {
	list, ok := l.(array.ListLike)
	if _, isMap := l.(*array.Map); !ok || isMap || !g.n.Inline || list.ListValues() == values || list.ListValues().NullN() == 0 {
		return g.at[a]
	}
	st := list.ListValues()
	out := make([]int32, len(g.at[a]))
	for i, at := range g.at[a] {
		if out[i] = at; at >= 0 && st.IsNull(int(at)) {
			out[i] = -1
		}
	}
	return out
}

// numbers is the column of positions, from first.
func (g *generate) numbers(first int32) arrow.Array {
	b := array.NewInt32Builder(g.tc.Alloc)
	defer b.Release()
	b.Reserve(len(g.pos))
	for _, p := range g.pos {
		if p < 0 {
			b.UnsafeAppendBoolToBitmap(false)
			continue
		}
		b.UnsafeAppend(p + first)
	}
	return b.NewArray()
}
