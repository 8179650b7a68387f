package parquet

import (
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// estimateGroups is how many row groups are looked at for bounds; a file with
// more is sampled evenly.
const estimateGroups = 256

// Estimate says what the file holds by its footer: rows, and of each column
// bounds, NULLs, the width of a value and, by the dictionary of the first row
// group, about how many values differ. It reads a few bytes of each dictionary.
func (f *File) Estimate() (st formats.Stats, err error) {
	defer catch(&err, "read the statistics of Parquet file %q", f.name)
	st = formats.Stats{Rows: f.r.NumRows(), Columns: map[string]batch.ColumnStats{}}
	if f.r.NumRowGroups() == 0 {
		return st, nil
	}
	width := 0.0
	for _, n := range f.root {
		if n.shape != leafNode {
			width += nestedWidth
			continue
		}
		c, err := f.estimateColumn(n)
		if err != nil {
			return st, err
		}
		st.Columns[n.name] = c
		width += c.Width
	}
	st.Bytes = int64(width * float64(st.Rows))
	return st, nil
}

// nestedWidth is what a value of an array, map or struct is taken to need.
const nestedWidth = 64

func (f *File) estimateColumn(n *node) (batch.ColumnStats, error) {
	var (
		b      = bounds{sorted: true}
		nulls  int64
		seen   int64
		groups = f.r.NumRowGroups()
		step   = (groups + estimateGroups - 1) / estimateGroups
	)
	for g := 0; g < groups; g += step {
		cc, err := f.r.MetaData().RowGroup(g).ColumnChunk(n.column)
		if err != nil {
			return batch.ColumnStats{}, err
		}
		s, err := cc.Statistics()
		if err != nil || s == nil {
			b.unknown, nulls = true, -1
			continue
		}
		seen += cc.NumValues()
		if nulls >= 0 && s.HasNullCount() {
			nulls += s.NullCount()
		} else {
			nulls = -1
		}
		lo, hi := boundsOf(n, s)
		b.add(lo, hi)
	}
	c := batch.ColumnStats{Nulls: nulls}
	if nulls > 0 && seen > 0 {
		c.Nulls = int64(float64(nulls) / float64(seen) * float64(f.r.NumRows()))
	}
	if !b.unknown {
		c.Min, c.Max = b.lo, b.hi
	}
	first, err := f.r.MetaData().RowGroup(0).ColumnChunk(n.column)
	if err != nil {
		return batch.ColumnStats{}, err
	}
	values, plain, ok := f.dictionary(first)
	c.Width = widthOf(n, first, values, plain, ok)
	if ok {
		c.Distinct = distinct(float64(values), float64(first.NumValues()), float64(f.r.NumRows()), b.sorted && !b.unknown && groups > 1)
		if b.whole() { // no more integers differ than there are between the bounds
			c.Distinct = min(c.Distinct, float64(b.hi.(int64))-float64(b.lo.(int64))+1)
		}
	}
	return c, nil
}

// distinct estimates how many values differ in rows of which sample hold d
// different ones. In a sorted column each row group has values of its own; in any
// other the sample is taken as drawn at random from all values.
func distinct(d, sample, rows float64, sorted bool) float64 {
	switch {
	case sample <= 0 || d <= 0:
		return 0
	case sample >= rows:
		return d
	case sorted || d >= 0.98*sample:
		return min(rows, max(1, d/sample*rows))
	}
	// d = D (1 - exp(-sample/D)), solved for D; the right side grows with D.
	lo, hi := d, rows
	for range 60 {
		mid := (lo + hi) / 2
		if mid*(1-math.Exp(-sample/mid)) < d {
			lo = mid
		} else {
			hi = mid
		}
	}
	return min(hi, rows)
}

// bounds are those of a column over row groups.
type bounds struct {
	lo, hi  any
	unknown bool
	sorted  bool // each row group begins where the one before ended, or later
}

func (b *bounds) add(lo, hi any) {
	if lo == nil || hi == nil {
		b.unknown = true
		return
	}
	if b.lo == nil {
		b.lo, b.hi = lo, hi
		return
	}
	b.sorted = b.sorted && !batch.BoundLess(lo, b.hi)
	if batch.BoundLess(lo, b.lo) {
		b.lo = lo
	}
	if batch.BoundLess(b.hi, hi) {
		b.hi = hi
	}
}

func (b *bounds) whole() bool {
	_, ok := b.lo.(int64)
	return ok && !b.unknown
}

// boundsOf is statsOf with decimals, rounded.
func boundsOf(n *node, st metadata.TypedStatistics) (lo, hi any) {
	if dec, ok := n.prim.LogicalType().(schema.DecimalLogicalType); ok && st.HasMinMax() {
		scale := math.Pow10(-int(dec.Scale()))
		switch st := st.(type) {
		case *metadata.Int32Statistics:
			return float64(st.Min()) * scale, float64(st.Max()) * scale
		case *metadata.Int64Statistics:
			return float64(st.Min()) * scale, float64(st.Max()) * scale
		}
		return nil, nil
	}
	s := statsOf(n, st)
	return s.Min, s.Max
}

// widthOf is what a value takes in memory: texts by their dictionary, where a
// column chunk does not tell how often each was written.
func widthOf(n *node, c *metadata.ColumnChunkMetaData, values, plain int64, dict bool) float64 {
	if t, err := naturalType(n.prim); err == nil {
		if f, ok := t.(arrow.FixedWidthDataType); ok {
			return math.Ceil(float64(f.BitWidth()) / 8)
		}
	}
	const perText = 4 // the offset; in a file the length
	if dict && values > 0 {
		return float64(plain) / float64(values)
	}
	if c.NumValues() > 0 {
		return perText + float64(c.TotalUncompressedSize())/float64(c.NumValues())
	}
	return perText
}

// dictionaryPageType is the type of a page in the statistics of encodings.
const dictionaryPageType = 2

// dictionary reads the header of a column chunk's dictionary: how many values it
// has and how long they are. ok is false where there is none, or it does not hold all.
func (f *File) dictionary(c *metadata.ColumnChunkMetaData) (values, plain int64, ok bool) {
	if !c.HasDictionaryPage() || c.Type() == apq.Types.Boolean {
		return 0, 0, false
	}
	for _, s := range c.EncodingStats() {
		if s.PageType != dictionaryPageType && s.Encoding != apq.Encodings.RLEDict && s.Encoding != apq.Encodings.PlainDict {
			return 0, 0, false // the dictionary grew too long, and the rest was written plain
		}
	}
	buf := make([]byte, min(128, f.in.Size-c.DictionaryPageOffset()))
	if _, err := f.in.ReadAt(buf, c.DictionaryPageOffset()); err != nil {
		return 0, 0, false
	}
	return dictionaryHeader(buf)
}

// dictionaryHeader reads the two numbers out of a PageHeader in Thrift's compact protocol.
func dictionaryHeader(buf []byte) (values, plain int64, ok bool) {
	const pagePlainSize, pageDictionary, dictValues = 2, 7, 1
	w := thriftWalk{b: buf}
	for id := int64(0); len(w.b) > 0 && w.b[0] != 0; {
		h := w.b[0]
		w.b = w.b[1:]
		if h>>4 == 0 {
			return 0, 0, false
		}
		id += int64(h >> 4)
		switch {
		case id == pagePlainSize && h&15 == 5:
			v, n := binary.Varint(w.b)
			if n <= 0 {
				return 0, 0, false
			}
			plain, w.b = v, w.b[n:]
		case id == pageDictionary && h&15 == 12:
			if len(w.b) < 2 || w.b[0] != dictValues<<4|5 {
				return 0, 0, false
			}
			v, n := binary.Varint(w.b[1:])
			return v, plain, n > 0 && v > 0 && plain >= 0
		case h&15 == 1 || h&15 == 2: // a boolean's value is its type
		default:
			if w.value(h&15, 0) != nil {
				return 0, 0, false
			}
		}
	}
	return 0, 0, false
}
