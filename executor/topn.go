package executor

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// topN keeps the first rows of an order without sorting them all.
type topN struct {
	base
	n      *physical.TopN
	keys   *computed
	enc    *sortEncoder
	chunks [][]arrow.Array
	bytes  rowkey.Rows // keys of the rows at hand
	bound  []byte      // key of the last row that can still be in, once there are enough
	leads  []lead      // the first keys of that row, as far as they are columns
	words  []uint64
	rows   []int32
	near   []int32
	out    cutter
	done   bool
}

func newTopN(n *physical.TopN, in Operator) (*topN, error) {
	if n.Count < 0 || n.Offset < 0 {
		return nil, fmt.Errorf("%s: count and offset must not be negative", n)
	}
	keys, err := newSortKeys(n.Keys, in.Schema())
	if err != nil {
		return nil, err
	}
	enc, err := newSortEncoder(n.Keys)
	return &topN{base: base{node: n, in: []Operator{in}}, n: n, keys: keys, enc: enc}, err
}

func (t *topN) Open(ctx context.Context, tc *TaskContext) error {
	t.reset()
	t.keys.open(tc)
	return t.base.Open(ctx, tc)
}

func (t *topN) reset() {
	for _, c := range t.chunks {
		gather.Release(c)
	}
	t.chunks, t.bound, t.leads, t.done = nil, nil, nil, false
	t.bytes.Reset()
	t.out.reset()
}

func (t *topN) Close() error {
	t.reset()
	return t.base.Close()
}

func (t *topN) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !t.done {
		t.done = true
		if t.n.Count > 0 {
			if err := drain(ctx, t.in[0], t.add); err != nil {
				return nil, err
			}
		}
		if err := t.finish(); err != nil {
			return nil, err
		}
	}
	return t.out.next()
}

func (t *topN) keep() int { return int(min(t.n.Count+t.n.Offset, sortRows)) }

func (t *topN) add(rec arrow.RecordBatch) error {
	keys, err := t.keys.run(rec)
	if err != nil {
		return err
	}
	defer func() { gather.Release(keys) }()
	n := int(rec.NumRows())
	near, all := t.within(keys)
	if !all {
		if len(near) == 0 {
			return nil
		}
		part, err := gather.Columns(t.tc.Alloc, keys, near)
		if err != nil {
			return err
		}
		gather.Release(keys)
		keys, n = part, len(near)
	}
	if err := t.enc.encode(keys, n); err != nil {
		return err
	}
	rows := t.rows[:0]
	for i := range n {
		if t.bound != nil && bytes.Compare(t.enc.rows.Row(i), t.bound) >= 0 {
			continue
		}
		t.bytes.Append(t.enc.rows.Row(i))
		if all {
			rows = append(rows, int32(i))
		} else {
			rows = append(rows, near[i])
		}
	}
	if t.rows = rows; len(rows) == 0 {
		return nil
	}
	cols, err := gather.Columns(t.tc.Alloc, rec.Columns(), rows)
	if err != nil {
		return err
	}
	t.chunks = append(t.chunks, cols)
	// At first rows are pruned early, to have a bound that keeps others out.
	if limit := 2 * t.keep(); t.bytes.Len() > limit+outputRows || t.bound == nil && t.bytes.Len() > limit+64 {
		return t.prune()
	}
	return nil
}

// prune keeps the best rows alone, in order.
func (t *topN) prune() error {
	if len(t.chunks) == 0 {
		return nil
	}
	cols, err := concat(t.tc.Alloc, t.chunks)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	all := sortEncoder{rows: t.bytes}
	order := all.order()
	order = order[:min(len(order), t.keep())]
	best, err := gather.Columns(t.tc.Alloc, cols, order)
	if err != nil {
		return err
	}
	for _, c := range t.chunks {
		gather.Release(c)
	}
	t.chunks = [][]arrow.Array{best}
	t.bytes = rowkey.Rows{}
	for _, r := range order {
		t.bytes.Append(all.rows.Row(int(r)))
	}
	if len(order) == t.keep() {
		t.bound = bytes.Clone(t.bytes.Row(len(order) - 1))
		t.note(best)
	}
	return nil
}

// lead is a key of the bound's row that others are compared with before any of
// their keys is encoded.
type lead struct {
	desc bool
	word uint64
	text []byte // of a text; else nil
}

// note takes the leads from the best rows. Only columns can be leads: other keys
// must not be computed again.
func (t *topN) note(best []arrow.Array) {
	t.leads = t.leads[:0]
	at := t.keep() - 1
	for _, k := range t.n.Keys {
		c, ok := k.Expr.(*expr.Column)
		if !ok || best[c.Index].IsNull(at) {
			return
		}
		l := lead{desc: k.Desc}
		switch a := best[c.Index].(type) {
		case *array.String:
			l.text = append([]byte{}, a.Value(at)...)
		default:
			if rowkey.Width(a.DataType()) == 0 {
				return
			}
			one := array.NewSlice(a, int64(at), int64(at)+1)
			var w [1]uint64
			rowkey.Words(one, w[:])
			one.Release()
			l.word = w[0]
		}
		t.leads = append(t.leads, l)
	}
}

// within returns the rows that the leads do not keep out, or all.
func (t *topN) within(keys []arrow.Array) (rows []int32, all bool) {
	if len(t.leads) == 0 {
		return nil, true
	}
	n := keys[0].Len()
	t.near = t.near[:0]
	t.near = append(t.near, make([]int32, n)...)
	for i := range t.near {
		t.near[i] = int32(i)
	}
	rows = t.near
	var ahead []int32 // rows that an earlier lead has let in
	for c, l := range t.leads {
		if keys[c].NullN() > 0 {
			break
		}
		rows, ahead = t.follow(l, keys[c], rows, ahead)
	}
	if len(ahead) > 0 {
		rows = append(rows, ahead...)
		slices.Sort(rows)
	}
	return rows, len(rows) == n
}

// follow moves the rows that come before a lead to ahead and returns those equal to it.
func (t *topN) follow(l lead, key arrow.Array, rows, ahead []int32) (equal, before []int32) {
	equal = rows[:0]
	if s, ok := key.(*array.String); ok && l.text != nil {
		for _, r := range rows {
			c := bytes.Compare(unsafeBytes(s.Value(int(r))), l.text)
			if l.desc {
				c = -c
			}
			if c == 0 {
				equal = append(equal, r)
			} else if c < 0 {
				ahead = append(ahead, r)
			}
		}
		return equal, ahead
	}
	if l.text != nil || rowkey.Width(key.DataType()) == 0 {
		return rows, ahead
	}
	t.words = resized(t.words, key.Len())
	rowkey.Words(key, t.words)
	flip := uint64(0)
	if l.desc {
		flip = ^uint64(0)
	}
	bound := l.word ^ flip
	for _, r := range rows {
		if w := t.words[r] ^ flip; w == bound {
			equal = append(equal, r)
		} else if w < bound {
			ahead = append(ahead, r)
		}
	}
	return equal, ahead
}

// unsafeBytes reads a string's bytes without a copy; they must not be changed.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func (t *topN) finish() error {
	if err := t.prune(); err != nil {
		return err
	}
	n := t.bytes.Len()
	skip := int(min(t.n.Offset, int64(n)))
	if n == skip {
		return nil
	}
	cols := make([]arrow.Array, len(t.chunks[0]))
	for i, c := range t.chunks[0] {
		cols[i] = array.NewSlice(c, int64(skip), int64(n))
	}
	t.out.set(t.Schema(), cols, n-skip)
	return nil
}
