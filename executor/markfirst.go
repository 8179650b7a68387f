package executor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// markFirst remembers which arguments each group has had: [key group][group's
// key][mark][arguments].
type markFirst struct {
	base
	n     *physical.MarkFirst
	ev    *computed // keys, then the arguments and the filter of each mark
	keys  *stateKeys
	marks []mark
	txn   statestore.Txn
	dues  dues

	rows  rowkey.Rows // a mark's arguments
	arena []byte
	seen  []sighting
	list  [][]byte
	over  bool
}

// mark says where a mark's columns are among those computed.
type mark struct {
	first, args int
	filter      int // -1 for none
	enc         *rowkey.Encoder
}

// sighting is a row with arguments that may be new.
type sighting struct {
	key, end int // in the arena
	row      int32
}

func newMarkFirst(n *physical.MarkFirst, in Operator) (*markFirst, error) {
	m := &markFirst{base: base{node: n, in: []Operator{in}}, n: n}
	es := slices.Clone(n.Keys)
	var err error
	for _, k := range n.Marks {
		mk := mark{first: len(es), args: len(k.Args), filter: -1}
		es = append(es, k.Args...)
		if k.Filter != nil {
			mk.filter = len(es)
			es = append(es, k.Filter)
		}
		if mk.enc, err = rowkey.NewEncoder(typesOf(k.Args)); err != nil {
			return nil, err
		}
		m.marks = append(m.marks, mk)
	}
	if m.ev, err = newComputed(es, in.Schema()); err != nil {
		return nil, err
	}
	m.keys, err = newStateKeys(typesOf(n.Keys), n.EndKey, n.EndShift, nil)
	return m, err
}

func (m *markFirst) Open(ctx context.Context, tc *TaskContext) error {
	m.ev.open(tc)
	m.over = false
	if err := m.base.Open(ctx, tc); err != nil {
		return err
	}
	var err error
	if m.txn, err = tc.State(ctx, m.n.Operator); err != nil {
		return err
	}
	return m.dues.load(tc, m.keys, m.txn)
}

func (m *markFirst) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if m.over {
		return nil, io.EOF
	}
	rec, err := m.in[0].Next(ctx)
	if err == io.EOF {
		m.over = true
		if err := m.close(); err != nil {
			return nil, fmt.Errorf("state of %s: %w", m.n.Operator, err)
		}
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	out, err := m.mark(rec)
	if err != nil {
		return nil, fmt.Errorf("state of %s: %w", m.n.Operator, err)
	}
	return out, nil
}

func (m *markFirst) mark(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	n := int(rec.NumRows())
	cols, err := m.ev.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	if err := m.keys.encodeRows(cols[:len(m.n.Keys)], n); err != nil {
		return nil, err
	}
	if m.n.EndKey >= 0 {
		for i := range n {
			end, _, err := m.keys.end(m.keys.rows.Row(i))
			if err != nil {
				return nil, err
			}
			m.dues.add(m.keys.rows.Row(i)[0], end)
		}
	}
	out := make([]arrow.Array, 0, len(rec.Columns())+len(m.marks))
	for _, c := range rec.Columns() {
		c.Retain()
		out = append(out, c)
	}
	for i := range m.marks {
		first, err := m.one(&m.marks[i], byte(i), cols, n)
		if err != nil {
			gather.Release(out)
			return nil, err
		}
		out = append(out, first)
	}
	return newBatch(m.n.Out, out, n), nil
}

// one looks for the rows that are the first with a mark's arguments.
func (m *markFirst) one(mk *mark, tag byte, cols []arrow.Array, n int) (arrow.Array, error) {
	args := cols[mk.first : mk.first+mk.args]
	if err := mk.enc.Encode(args, n, &m.rows); err != nil {
		return nil, err
	}
	m.arena, m.seen = m.arena[:0], m.seen[:0]
	for i := range n {
		if mk.filter >= 0 && !isTrue(cols[mk.filter], i) || slices.ContainsFunc(args, func(a arrow.Array) bool { return a.IsNull(i) }) {
			continue
		}
		s := sighting{key: len(m.arena), row: int32(i)}
		m.arena = append(append(append(m.arena, m.keys.rows.Row(i)...), tag), m.rows.Row(i)...)
		s.end = len(m.arena)
		m.seen = append(m.seen, s)
	}
	key := func(s *sighting) []byte { return m.arena[s.key:s.end:s.end] }
	slices.SortFunc(m.seen, func(a, b sighting) int {
		if c := bytes.Compare(key(&a), key(&b)); c != 0 {
			return c
		}
		return int(a.row - b.row)
	})
	m.seen = slices.CompactFunc(m.seen, func(a, b sighting) bool { return bytes.Equal(key(&a), key(&b)) })
	m.list = m.list[:0]
	for i := range m.seen {
		m.list = append(m.list, key(&m.seen[i]))
	}
	first := make([]bool, n)
	for i := range m.seen {
		first[m.seen[i].row] = true
	}
	err := m.txn.Get(m.list, func(i int, _ []byte) error {
		first[m.seen[i].row] = false
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range m.seen {
		if first[m.seen[i].row] {
			if err := m.txn.Put(m.list[i], nil); err != nil {
				return nil, err
			}
		}
	}
	b := array.NewBooleanBuilder(m.tc.Alloc)
	defer b.Release()
	b.AppendValues(first, nil)
	return b.NewArray(), nil
}

func isTrue(arr arrow.Array, i int) bool {
	b, ok := arr.(*array.Boolean)
	return ok && b.IsValid(i) && b.Value(i)
}

// close forgets the groups whose window is over.
func (m *markFirst) close() error {
	limit := m.tc.Spec.Close
	for g := m.dues.first; g < m.dues.end && m.n.EndKey >= 0; g++ {
		if limit == batch.NoTime || m.dues.at[g] > limit {
			continue
		}
		m.dues.at[g] = batch.EndOfTime
		m.arena, m.seen = m.arena[:0], m.seen[:0]
		err := m.txn.Scan(groupStart(g), groupStart(g+1), func(k, _ []byte) (bool, error) {
			end, _, err := m.keys.end(k)
			if err != nil {
				return false, err
			}
			if end > limit {
				m.dues.at[g] = end
				return false, nil
			}
			from := len(m.arena)
			m.arena = append(m.arena, k...)
			m.seen = append(m.seen, sighting{key: from, end: len(m.arena)})
			return true, nil
		})
		for _, s := range m.seen {
			if err != nil {
				break
			}
			err = m.txn.Delete(m.arena[s.key:s.end])
		}
		if err != nil {
			return err
		}
	}
	m.tc.Result.NextDue = min(m.tc.Result.NextDue, m.dues.next())
	return nil
}
