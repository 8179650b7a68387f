package executor

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/executor/rowpattern"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// match finds row patterns in sorted rows. It takes whole partitions, as many as
// make a batch of some size, so that conditions of small partitions are computed
// together; a partition that is larger is held whole.
type match struct {
	base
	n      *physical.Match
	keys   *computed // partition keys, then order keys
	npart  int
	part   edges
	peer   edges
	search *matchSearch
	chunks []arrow.RecordBatch
	marks  []uint8 // of the rows in chunks
	cut    int     // rows before the start of the last partition
	enough int
	out    cutter
	ended  bool
	mem    account
}

func newMatch(n *physical.Match, in Operator) (*match, error) {
	m := &match{base: base{node: n, in: []Operator{in}}, n: n, npart: len(n.Partition), enough: outputRows}
	es := append([]expr.Expr{}, n.Partition...)
	for _, k := range n.Order {
		es = append(es, k.Expr)
	}
	var err error
	if m.part.enc, err = rowkey.NewEncoder(typesOf(es[:m.npart])); err != nil {
		return nil, err
	}
	if m.peer.enc, err = rowkey.NewEncoder(typesOf(es[m.npart:])); err != nil {
		return nil, err
	}
	if m.keys, err = newComputed(es, in.Schema()); err != nil {
		return nil, err
	}
	m.search, err = newMatchSearch(n.Spec, n.Order, in.Schema(), n.Out)
	return m, err
}

func (m *match) Open(ctx context.Context, tc *TaskContext) error {
	m.reset()
	m.mem.open(tc)
	m.keys.open(tc)
	m.search.open(tc)
	return m.base.Open(ctx, tc)
}

func (m *match) reset() {
	m.chunks = release(m.chunks)
	m.search.release()
	m.out.reset()
	m.part.reset()
	m.peer.reset()
	m.marks, m.cut, m.ended = m.marks[:0], 0, false
}

func (m *match) Close() error {
	m.reset()
	_ = m.mem.set(0) // giving back cannot be refused
	return m.base.Close()
}

func (m *match) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := m.out.next()
		if err != io.EOF {
			return rec, err
		}
		if m.ended {
			return nil, io.EOF
		}
		in, err := m.in[0].Next(ctx)
		if err == io.EOF {
			m.ended = true
			if err := m.compute(len(m.marks)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		err = m.add(in)
		in.Release()
		if err == nil && m.cut >= m.enough {
			err = m.compute(m.cut)
		}
		if err != nil {
			return nil, err
		}
	}
}

// add keeps a batch and marks where partitions and peers start in it.
func (m *match) add(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	if len(m.marks)+n > math.MaxInt32 {
		return fmt.Errorf("a partition of more than %d rows is too large for MATCH_RECOGNIZE", math.MaxInt32)
	}
	keys, err := m.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	rec.Retain()
	m.chunks = append(m.chunks, rec)
	first := len(m.marks)
	m.marks = append(m.marks, make([]uint8, n)...)
	if err := m.peer.mark(keys[m.npart:], m.marks[first:], startsPeers); err != nil {
		return err
	}
	if err := m.part.mark(keys[:m.npart], m.marks[first:], startsPartition|startsPeers); err != nil {
		return err
	}
	for i := len(m.marks) - 1; i >= max(first, 1); i-- {
		if m.marks[i]&startsPartition != 0 {
			m.cut = i
			break
		}
	}
	return m.charge()
}

func (m *match) charge() error { return m.mem.set(int64(len(m.marks)) + m.search.bytes()) }

// compute finds the matches in the first n rows at hand, which are whole partitions.
func (m *match) compute(n int) error {
	if n == 0 {
		return nil
	}
	cols, err := m.take(n)
	if err != nil {
		return err
	}
	marks := m.marks[:n]
	untied, err := m.search.untie(m.tc.Alloc, cols, marks)
	gather.Release(cols)
	if err != nil {
		return err
	}
	b := &matchBlock{rec: newBatch(m.in[0].Schema(), untied, n), n: n}
	defer b.rec.Release()
	for i, mark := range marks {
		if mark&startsPartition != 0 {
			b.parts = append(b.parts, i)
		}
	}
	b.parts = append(b.parts, n)
	defer m.search.release()
	if err := m.search.start(b); err != nil {
		return err
	}
	for p := range len(b.parts) - 1 {
		at := &matchState{next: b.parts[p], covered: -1}
		if err := m.search.partition(p, rowpattern.Rows{Limit: b.parts[p+1], Closed: true}, at); err != nil {
			return err
		}
	}
	if err := m.charge(); err != nil {
		return err
	}
	out, rows, err := m.search.out.make(m.search)
	if err != nil {
		return err
	}
	if rows > 0 {
		m.out.set(m.Schema(), out, rows)
	}
	rest := copy(m.marks, m.marks[n:])
	m.marks, m.cut = m.marks[:rest], 0
	return nil
}

// take joins the columns of the first n rows at hand and forgets these.
func (m *match) take(n int) ([]arrow.Array, error) {
	var parts [][]arrow.Array
	defer func() {
		for _, p := range parts {
			gather.Release(p)
		}
	}()
	for n > 0 {
		rec := m.chunks[0]
		size := int(rec.NumRows())
		if size > n {
			parts = append(parts, sliced(rec.Columns(), 0, n))
			m.chunks[0] = rec.NewSlice(int64(n), int64(size))
			rec.Release()
			break
		}
		parts = append(parts, sliced(rec.Columns(), 0, size))
		rec.Release()
		m.chunks[0] = nil
		m.chunks = m.chunks[1:]
		n -= size
	}
	return concat(m.tc.Alloc, parts)
}
