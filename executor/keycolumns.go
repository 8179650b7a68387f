package executor

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// load turns the key columns into words, row-major, and hashes the rows of a
// table with texts. The word of NULLs is there from the first batch on that
// has any which other words do not show.
func (g *groupTable) load(cols []arrow.Array, n int) {
	if g.marked && !g.hasNulls {
		for i, c := range cols {
			if c.NullN() > 0 && !g.isTextColumn(i) {
				g.addNullWord()
				break
			}
		}
	}
	stride := g.stride()
	g.words = resized(g.words, n*stride)
	if len(g.texts) > 0 {
		g.sums = resized(g.sums, n)
		for i := range g.sums {
			g.sums[i] = hashSeed
		}
	}
	if stride == 1 {
		g.fixedWords(cols[0], g.words)
		return
	}
	if g.hasNulls {
		for i := range n {
			g.words[i*stride+g.width] = 0
		}
	}
	text := 0
	for c, col := range cols {
		switch {
		case text < len(g.texts) && g.texts[text].col == c:
			g.loadText(&g.texts[text], col, n, stride)
			text++
			continue
		case g.types[c].ID() == arrow.DECIMAL128:
			for i, v := range col.(*array.Decimal128).Values() {
				g.words[i*stride+g.at[c]], g.words[i*stride+g.at[c]+1] = v.LowBits(), uint64(v.HighBits())
			}
		default:
			g.column = resized(g.column, n)
			g.fixedWords(col, g.column)
			for i, w := range g.column {
				g.words[i*stride+g.at[c]] = w
			}
		}
		if col.NullN() > 0 {
			g.markNulls(c, col, n, stride)
		}
		g.hashFixed(c, n, stride)
	}
	if g.hasNulls && len(g.texts) > 0 {
		for i := range g.sums {
			if w := g.words[i*stride+g.width]; w != 0 {
				g.sums[i] = mix(g.sums[i], w)
			}
		}
	}
}

func (g *groupTable) isTextColumn(c int) bool {
	for i := range g.texts {
		if g.texts[i].col == c {
			return true
		}
	}
	return false
}

// hashFixed adds a column of fixed width to the hashes of a table with texts.
func (g *groupTable) hashFixed(c, n, stride int) {
	if len(g.texts) == 0 {
		return
	}
	for i := range n {
		h := mix(g.sums[i], g.words[i*stride+g.at[c]])
		if g.types[c].ID() == arrow.DECIMAL128 {
			h = mix(h, g.words[i*stride+g.at[c]+1])
		}
		g.sums[i] = h
	}
}

func (g *groupTable) markNulls(c int, col arrow.Array, n, stride int) {
	decimal := g.types[c].ID() == arrow.DECIMAL128
	for i := range n {
		if col.IsNull(i) {
			g.words[i*stride+g.at[c]] = 0
			if decimal {
				g.words[i*stride+g.at[c]+1] = 0
			}
			g.words[i*stride+g.width] |= 1 << c
		}
	}
}

// fixedWords is rowkey.Words, for a dictionary of values of fixed width too.
func (g *groupTable) fixedWords(col arrow.Array, out []uint64) {
	d, ok := col.(*array.Dictionary)
	if !ok {
		rowkey.Words(col, out)
		return
	}
	words := make([]uint64, d.Dictionary().Len())
	rowkey.Words(d.Dictionary(), words)
	for i := range out {
		out[i] = 0
		if d.IsValid(i) {
			out[i] = words[d.GetValueIndex(i)]
		}
	}
}

// loadText fills a column's two words and adds it to the rows' hashes.
func (g *groupTable) loadText(t *textKey, col arrow.Array, n, stride int) {
	dst := g.words[t.at:]
	g.column = resized(g.column, n)
	hashes := g.column
	if stride == 2 {
		hashes = g.sums // of the only column
	}
	switch d, dict := col.(*array.Dictionary); {
	case t.encoded:
		t.encode(col, dst, hashes, stride)
	case dict:
		t.src = g.dict.load(d, dst, hashes, stride)
	default:
		t.src = loadTexts(col, dst, hashes, stride)
	}
	if stride == 2 {
		return
	}
	for i, h := range hashes {
		g.sums[i] = mix(g.sums[i], h)
	}
}

// loadTexts fills in the words of len(hashes) texts, stride words apart, and
// their hashes. It returns where the bytes of long ones are.
func loadTexts(col arrow.Array, dst, hashes []uint64, stride int) []byte {
	data := col.Data()
	var src []byte
	if b := data.Buffers()[2]; b != nil {
		src = b.Bytes()
	}
	switch col.DataType().ID() {
	case arrow.LARGE_STRING, arrow.LARGE_BINARY:
		loadOffsets(keyOffsets[int64](data), src, dst, hashes, stride)
	default:
		loadOffsets(keyOffsets[int32](data), src, dst, hashes, stride)
	}
	if col.NullN() > 0 {
		for i := range hashes {
			if col.IsNull(i) {
				dst[i*stride], dst[i*stride+1], hashes[i] = nullText, 0, hashOther
			}
		}
	}
	return src
}

func keyOffsets[O int32 | int64](data arrow.ArrayData) []O {
	b := data.Buffers()[1]
	if b == nil || b.Len() == 0 {
		return make([]O, data.Len()+1)
	}
	return arrow.GetData[O](b.Bytes())[data.Offset():]
}

func loadOffsets[O int32 | int64](off []O, src []byte, dst, hashes []uint64, stride int) {
	off = off[:len(hashes)+1]
	start, at := int(off[0]), 0
	for i := range hashes {
		end := int(off[i+1])
		dst[at], dst[at+1], hashes[i] = textWords(src, start, end)
		start, at = end, at+stride
	}
}

// encode is loadTexts for the key forms of values of any type.
func (t *textKey) encode(col arrow.Array, dst, hashes []uint64, stride int) {
	t.buf = t.buf[:0]
	for i := range hashes {
		t.buf = rowkey.AppendKey(t.buf, col, i)
		hashes[i] = uint64(len(t.buf))
	}
	t.src = t.buf
	start := 0
	for i, end := range hashes {
		dst[i*stride], dst[i*stride+1], hashes[i] = textWords(t.src, start, int(end))
		start = int(end)
	}
}

// dictGroups holds what is known of the dictionary seen last.
type dictGroups struct {
	of     arrow.ArrayData // compared, never read: it may be released
	groups []uint32        // of its entries, noGroup where no row had one yet
	words  []uint64
	hashes []uint64
}

func (d *dictGroups) forget() { d.of, d.groups = nil, d.groups[:0] }

// load computes the words of each entry once.
func (d *dictGroups) load(col *array.Dictionary, dst, hashes []uint64, stride int) []byte {
	values := col.Dictionary()
	m := values.Len()
	if m > 4*len(hashes)+64 {
		plain, err := vec.Decode(memory.DefaultAllocator, col)
		if err == nil {
			defer plain.Release() // Go's memory: the bytes stay while src is held
			return loadTexts(plain, dst, hashes, stride)
		}
	}
	d.words, d.hashes = resized(d.words, 2*m), resized(d.hashes, m)
	src := loadTexts(values, d.words, d.hashes, 2)
	for i := range hashes {
		dst[i*stride], dst[i*stride+1], hashes[i] = nullText, 0, hashOther
		if col.IsValid(i) {
			e := col.GetValueIndex(i)
			dst[i*stride], dst[i*stride+1], hashes[i] = d.words[2*e], d.words[2*e+1], d.hashes[e]
		}
	}
	return src
}

// mapDictionary maps a key that is one dictionary by its entries: each is looked
// up once, over all batches that share the dictionary. It declines where the
// entries are many.
func (g *groupTable) mapDictionary(col arrow.Array, out []uint32) bool {
	d, ok := col.(*array.Dictionary)
	if !ok || len(g.texts) != 1 || g.texts[0].encoded || d.NullN() > 0 || d.Dictionary().NullN() > 0 {
		return false
	}
	m := d.Dictionary().Len()
	known := g.dict.of == d.Dictionary().Data()
	if !known && m > 2*len(out)+64 {
		return false
	}
	if !known {
		g.dict.of = d.Dictionary().Data()
		g.dict.groups = resized(g.dict.groups, m)
		fill(g.dict.groups, noGroup)
	}
	var values []arrow.Array
	defer func() { gather.Release(values) }()
	for i := range out {
		e := d.GetValueIndex(i)
		id := g.dict.groups[e]
		if id == noGroup {
			one := array.NewSlice(d.Dictionary(), int64(e), int64(e)+1)
			values = append(values[:0], one)
			g.load(values, 1)
			g.mapLoaded(1, out[i:i+1])
			id = out[i]
			g.dict.groups[e] = id
			one.Release()
			values = values[:0]
		}
		out[i] = id
	}
	return true
}

// Keys returns the key columns of groups [first, end).
func (g *groupTable) Keys(alloc memory.Allocator, first, end int) ([]arrow.Array, error) {
	out := make([]arrow.Array, 0, len(g.types))
	text := 0
	for c := range g.types {
		var arr arrow.Array
		var err error
		if text < len(g.texts) && g.texts[text].col == c {
			arr, err = g.textColumn(alloc, &g.texts[text], first, end)
			text++
		} else {
			arr, err = g.fixedColumn(alloc, c, first, end)
		}
		if err != nil {
			gather.Release(out)
			return nil, err
		}
		out = append(out, arr)
	}
	return out, nil
}

func (g *groupTable) fixedColumn(alloc memory.Allocator, c, first, end int) (arrow.Array, error) {
	n, stride, dt := end-first, g.stride(), g.types[c]
	var words []uint64
	if n > 0 {
		words = g.keys[first*stride+g.at[c]:]
	}
	mask := vec.NewMask(alloc, n)
	if g.hasNulls {
		for i := range n {
			if g.keys[(first+i)*stride+g.width]>>c&1 != 0 {
				mask.SetNull(i)
			}
		}
	}
	switch dt.ID() {
	case arrow.INT64, arrow.TIMESTAMP, arrow.DURATION, arrow.TIME64, arrow.DATE64:
		buf, out := vec.NewFixed[uint64](alloc, n)
		for i := range out {
			out[i] = words[i*stride] ^ 1<<63
		}
		return mask.Array(dt, buf), nil
	case arrow.INT32, arrow.DATE32, arrow.TIME32, arrow.INTERVAL_MONTHS:
		buf, out := vec.NewFixed[uint32](alloc, n)
		for i := range out {
			out[i] = uint32(words[i*stride]) ^ 1<<31
		}
		return mask.Array(dt, buf), nil
	case arrow.DECIMAL128:
		buf, out := vec.NewFixed[decimal128.Num](alloc, n)
		for i := range out {
			out[i] = decimal128.New(int64(words[i*stride+1]), words[i*stride])
		}
		return mask.Array(dt, buf), nil
	}
	defer mask.Release()
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	b.Reserve(n)
	for i := range n {
		if mask.IsNull(i) {
			b.AppendNull()
		} else if err := rowkey.AppendWord(b, words[i*stride]); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}
