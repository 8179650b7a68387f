package parquet

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// Reader reads row groups of one file. It is used by one goroutine and starts none.
type Reader struct {
	f       *File
	schema  *arrow.Schema
	columns []*column
	leaves  []*leaf
	alloc   memory.Allocator
	maxRows int
	zone    *time.Location

	conds   []formats.Condition
	filters []formats.RowFilter
	steps   []*step
	firm    int // steps that cannot fail: they come first
	decoded []bool
	counts  batch.ScanCounts
	sel     [2][]int32

	group, end int
	ranges     []rowRange // of the open row group, still to come
	at         int64      // the next row of the open row group
	rows       int        // of a batch in the open row group
	open       bool
}

// NewReader starts to read the row groups of a piece.
func (f *File) NewReader(p formats.Piece, s formats.ReadSpec) (*Reader, error) {
	if p.From < 0 || p.To < p.From || p.To > int64(f.r.NumRowGroups()) {
		return nil, batch.UserErrorf("read Parquet file %q: it has %d row groups and not [%d, %d): was it replaced?", f.name, f.r.NumRowGroups(), p.From, p.To)
	}
	r := &Reader{f: f, schema: s.Schema, alloc: s.Alloc, group: int(p.From), end: int(p.To), maxRows: s.MaxRows, zone: s.Zone}
	if r.alloc == nil {
		r.alloc = memory.DefaultAllocator
	}
	if r.maxRows <= 0 {
		r.maxRows = formats.BatchRows
	}
	nullMissing := s.NullMissing(missingColumns)
	for _, want := range s.Schema.Fields() {
		n := find(f.root, want.Name)
		if n == nil && !nullMissing {
			names := make([]string, len(f.root))
			for i, c := range f.root {
				names[i] = c.name
			}
			return nil, batch.UserErrorf("Parquet file %q has no column %q%s; it has %s (set '%s' = 'null' to read NULL instead)", f.name, want.Name,
				options.Suggest(want.Name, names), strings.Join(names, ", "), missingColumns.Key)
		}
		c, err := r.bind(n, want.Type)
		if err != nil {
			return nil, batch.UserErrorf("read column %q of Parquet file %q: %w", want.Name, f.name, err)
		}
		if err := r.flatten(c); err != nil {
			return nil, batch.UserErrorf("read column %q of Parquet file %q: %w", want.Name, f.name, err)
		}
		r.columns = append(r.columns, c)
	}
	return r, nil
}

// flatten has a column that is not nested read without levels in between.
func (r *Reader) flatten(c *column) error {
	if c.leaf == nil || c.n.rep > 0 || c.n.exists > 0 || c.n.def > 1 {
		return nil
	}
	in, err := emptyReader(c.n)
	if err != nil {
		return err
	}
	v, err := newValues(c.n, c.want, r.zone, in)
	if err != nil {
		return err
	}
	c.flat = v.flat(c.n, c.want)
	c.leaf, c.level = nil, nil
	r.leaves = r.leaves[:len(r.leaves)-1]
	return nil
}

// find looks a name up exactly, and then without regard to case if that is unique.
func find(in []*node, name string) *node {
	var near *node
	for _, n := range in {
		if n.name == name {
			return n
		}
		if strings.EqualFold(n.name, name) {
			if near != nil {
				return nil
			}
			near = n
		}
	}
	return near
}

// bind makes the column that reads a node as the wanted type.
func (r *Reader) bind(n *node, want arrow.DataType) (*column, error) {
	c := &column{n: n, want: want}
	if n == nil {
		return c, nil
	}
	mismatch := fmt.Errorf("it holds %s and %w %s", n.typ, errType, want)
	var wanted []arrow.Field
	var from []*node
	switch n.shape {
	case leafNode:
		if arrow.IsNested(want.ID()) || want.ID() == arrow.DICTIONARY {
			return nil, mismatch
		}
		c.leaf = &leaf{n: n}
		// Found out now and not at the first row group: the types may not fit.
		if err := r.check(n, want); err != nil {
			return nil, err
		}
		r.leaves = append(r.leaves, c.leaf)
		c.level = c.leaf
		return c, nil
	case structNode:
		st, ok := want.(*arrow.StructType)
		if !ok {
			return nil, mismatch
		}
		wanted = st.Fields()
		for _, f := range wanted {
			from = append(from, find(n.children, f.Name))
		}
	case listNode:
		lt, ok := want.(*arrow.ListType)
		if !ok {
			return nil, mismatch
		}
		wanted, from = []arrow.Field{lt.ElemField()}, n.children
	case mapNode:
		mt, ok := want.(*arrow.MapType)
		if !ok {
			return nil, mismatch
		}
		wanted, from = []arrow.Field{mt.KeyField(), mt.ItemField()}, n.children
	}
	for i, f := range wanted {
		k, err := r.bind(from[i], f.Type)
		if err != nil {
			return nil, err
		}
		c.kids = append(c.kids, k)
		if c.level == nil {
			c.level = k.level
		}
	}
	if c.level == nil {
		return nil, fmt.Errorf("none of the fields of %s is in the file, which has %s", want, n.typ)
	}
	return c, nil
}

func (r *Reader) check(n *node, want arrow.DataType) error {
	in, err := emptyReader(n)
	if err != nil {
		return err
	}
	_, err = newValues(n, want, r.zone, in)
	return err
}

// Next returns the next batch. Its rows come from one row group.
func (r *Reader) Next(ctx context.Context) (rec arrow.RecordBatch, err error) {
	defer catch(&err, "read row group %d of Parquet file %q", r.group, r.f.name)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for len(r.ranges) == 0 {
			r.closeGroup()
			if r.group >= r.end {
				return nil, io.EOF
			}
			if err := r.openGroup(); err != nil {
				return nil, err
			}
		}
		n, err := r.gather(ctx)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			return r.assemble(n)
		}
	}
}

// gather reads rows until a batch is full, or half full of what passed the
// conditions, and returns how many it has.
func (r *Reader) gather(ctx context.Context) (held int, err error) {
	room := 0
	for _, g := range r.ranges {
		if room = int(min(int64(r.rows), int64(room)+g.to-g.from)); room == r.rows {
			break
		}
	}
	for _, c := range r.columns {
		if c.flat != nil {
			c.flat.begin(room, r.alloc)
		}
	}
	enough := room
	if len(r.steps) > 0 {
		enough = (room + 1) / 2
	}
	for held < enough && len(r.ranges) > 0 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		g := r.ranges[0]
		if err := r.skipTo(g.from); err != nil {
			return 0, err
		}
		n := int(min(int64(room-held), g.to-r.at))
		k, err := r.window(n)
		if err != nil {
			return 0, err
		}
		held += k
		r.counts.Rows += int64(n)
		r.counts.RowsSifted += int64(n - k)
		r.at += int64(n)
		if r.ranges[0].from = r.at; r.at == g.to {
			r.ranges = r.ranges[1:]
		}
	}
	if held == 0 {
		for _, c := range r.columns {
			if c.flat != nil {
				c.flat.drop()
			}
		}
	}
	return held, nil
}

// skipTo passes over the rows before a range.
func (r *Reader) skipTo(row int64) error {
	gap := int(row - r.at)
	if gap == 0 {
		return nil
	}
	for _, c := range r.columns {
		if c.flat == nil {
			continue
		}
		if err := c.flat.skip(gap); err != nil {
			return r.fail(c.n.name, err)
		}
	}
	r.at = row
	return nil
}

// assemble makes a batch of the n rows held.
func (r *Reader) assemble(n int) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, 0, len(r.columns))
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i, c := range r.columns {
		d, err := c.build(n, r.alloc)
		if err != nil {
			return nil, r.fail(r.schema.Field(i).Name, err)
		}
		a := array.MakeFromData(d)
		d.Release()
		cols = append(cols, a)
		if a.Len() != n {
			return nil, r.fail(r.schema.Field(i).Name, errRagged)
		}
	}
	return array.NewRecordBatch(r.schema, cols, int64(n)), nil
}

func (r *Reader) fail(col string, err error) error {
	return batch.UserErrorf("read row group %d, column %q of Parquet file %q: %w", r.group, col, r.f.name, err)
}

// openGroup binds the leaves to the row group's column chunks.
func (r *Reader) openGroup() error {
	g := r.f.r.RowGroup(r.group)
	ranges, err := r.prune(r.group)
	if err != nil {
		return r.fail("", err)
	}
	rows, wanted := g.NumRows(), int64(0)
	for _, p := range ranges {
		wanted += p.to - p.from
	}
	r.counts.Groups++
	r.counts.Rows += rows - wanted
	r.counts.RowsPruned += rows - wanted
	if wanted == 0 {
		if rows > 0 {
			r.counts.GroupsPruned++
		}
		r.group++
		return nil
	}
	r.ranges, r.at, r.open = ranges, 0, true
	r.orderSteps()
	width := int64(1)
	for _, l := range r.leaves {
		in, err := g.Column(l.n.column)
		if err != nil {
			return r.fail(l.n.prim.Path(), err)
		}
		md, err := g.MetaData().ColumnChunk(l.n.column)
		if err != nil {
			return r.fail(l.n.prim.Path(), err)
		}
		if err := checkPages(r.f.in, md); err != nil {
			return r.fail(l.n.prim.Path(), err)
		}
		width += md.TotalUncompressedSize() / max(1, rows)
		l.in = in
	}
	for _, c := range r.columns {
		if c.flat == nil {
			continue
		}
		md, err := g.MetaData().ColumnChunk(c.n.column)
		if err == nil {
			err = c.flat.bind(r.f, md, rows)
		}
		if err != nil {
			return r.fail(c.n.name, err)
		}
		width += md.TotalUncompressedSize() / max(1, rows)
	}
	// Wide rows come in smaller batches, so that a batch stays near BatchBytes.
	r.rows = min(r.maxRows, int(max(64, formats.BatchBytes/max(1, width))))
	return r.bindValues()
}

func (r *Reader) bindValues() error {
	for _, c := range r.columns {
		if err := c.bindValues(r.zone); err != nil {
			return r.fail(c.n.name, err)
		}
	}
	return nil
}

func (c *column) bindValues(zone *time.Location) error {
	if c.leaf != nil {
		v, err := newValues(c.n, c.want, zone, c.leaf.in)
		if err != nil {
			return err
		}
		c.leaf.vals = v
		c.leaf.levels, c.leaf.used, c.leaf.usedVals = 0, 0, 0
		c.leaf.defs, c.leaf.reps = c.leaf.defs[:0], c.leaf.reps[:0]
	}
	for _, k := range c.kids {
		if err := k.bindValues(zone); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) closeGroup() {
	if !r.open {
		return
	}
	r.open, r.ranges = false, nil
	r.group++
	for _, l := range r.leaves {
		if l.in != nil {
			// Nothing is lost by a failed close of pages that were only read.
			_ = l.in.Close()
			l.in = nil
		}
	}
}

// Close ends the reading.
func (r *Reader) Close() (err error) {
	defer catch(&err, "close Parquet file %q", r.f.name)
	r.closeGroup()
	r.group, r.ranges = r.end, nil
	for _, c := range r.columns {
		if c.flat != nil {
			c.flat.close()
		}
	}
	return nil
}
