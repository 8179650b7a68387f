package executor

import (
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
)

// groupTable numbers the distinct keys of rows from 0, in order of first
// appearance. Every key column becomes one 64-bit word a row: a value of fixed
// width is its own word, any other is interned and stands as its number. So
// there is one table for all types, over keys of a few words, and it compares
// words alone. NULL is a key like any other.
type groupTable struct {
	slots
	types    []arrow.DataType
	width    int // words per key, without the word of NULLs
	interned []*interner
	keys     []uint64 // width+1 words per group if hasNulls, else width
	hasNulls bool
	n        int

	words  []uint64 // of the batch at hand, row-major
	column []uint64 // scratch
	hashes [probe]uint32
	first  [probe]uint64
}

// maxKeys is the number of bits of the word of NULLs.
const maxKeys = 64

// probe is how many rows are hashed and looked up before the first is compared,
// so that their cache misses overlap.
const probe = 256

func newGroupTable(types []arrow.DataType) (*groupTable, error) {
	if _, err := rowkey.NewEncoder(types); err != nil {
		return nil, err
	}
	if len(types) > maxKeys {
		return nil, fmt.Errorf("group by %d columns: at most %d are possible", len(types), maxKeys)
	}
	g := &groupTable{types: types, width: len(types), interned: make([]*interner, len(types))}
	for i, dt := range types {
		if rowkey.Width(dt) == 0 {
			g.interned[i] = &interner{}
		}
	}
	g.Reset()
	return g, nil
}

// Len returns the number of groups.
func (g *groupTable) Len() int { return g.n }

// Bytes is the memory held.
func (g *groupTable) Bytes() int64 {
	sum := g.slots.bytes() + 8*int64(cap(g.keys)+cap(g.words)+cap(g.column))
	for _, t := range g.interned {
		if t != nil {
			sum += t.bytes()
		}
	}
	return sum
}

// Reset forgets all groups and keeps the memory.
func (g *groupTable) Reset() {
	g.slots.reset()
	for _, t := range g.interned {
		if t != nil {
			t.reset()
		}
	}
	g.keys, g.n, g.hasNulls = g.keys[:0], 0, false
}

// Map fills out with the group of each of n rows, new groups included.
func (g *groupTable) Map(cols []arrow.Array, n int, out []uint32) {
	stride := g.load(cols, n, true)
	switch stride {
	case 0:
		g.n = max(g.n, min(n, 1))
		clear(out[:n])
	case 1:
		g.map1(out[:n])
	case 2:
		g.map2(out[:n])
	default:
		g.mapN(out[:n], stride)
	}
}

// Find is Map without new groups: a row whose key is not there gets noGroup.
func (g *groupTable) Find(cols []arrow.Array, n int, out []uint32) {
	g.reserve(0)
	stride := g.load(cols, n, false)
	if stride == 0 {
		fill(out[:n], noGroup)
		if g.n > 0 {
			clear(out[:n])
		}
		return
	}
	for i := range n {
		key := g.words[i*stride : (i+1)*stride]
		_, out[i] = g.search(key, hashWords(key))
	}
}

// noGroup is what Find returns for an unknown key.
const noGroup = ^uint32(0)

func fill(s []uint32, v uint32) {
	for i := range s {
		s[i] = v
	}
}

// load turns the key columns into words and returns how many a row has. The
// word of NULLs is there from the first batch on that has any.
func (g *groupTable) load(cols []arrow.Array, n int, insert bool) int {
	nulls := g.hasNulls
	for i, c := range cols {
		nulls = nulls || g.interned[i] == nil && c.NullN() > 0
	}
	if nulls && !g.hasNulls {
		g.addNullWord()
	}
	stride := g.width
	if nulls {
		stride++
	}
	g.words, g.column = growWords(g.words, n*stride), growWords(g.column, n)
	if stride == 1 {
		g.loadColumn(0, cols[0], insert, g.words)
		return 1
	}
	for c, col := range cols {
		g.loadColumn(c, col, insert, g.column)
		for i, w := range g.column {
			g.words[i*stride+c] = w
		}
	}
	if nulls {
		for i := range n {
			g.words[i*stride+g.width] = 0
		}
		for c, col := range cols {
			if g.interned[c] == nil && col.NullN() > 0 {
				g.markNulls(c, col, n, stride)
			}
		}
	}
	return stride
}

func (g *groupTable) loadColumn(c int, col arrow.Array, insert bool, out []uint64) {
	if t := g.interned[c]; t != nil {
		t.words(col, insert, out)
		return
	}
	if d, ok := col.(*array.Dictionary); ok {
		dictionaryWords(d, out)
		return
	}
	rowkey.Words(col, out)
}

// dictionaryWords is rowkey.Words for a dictionary of values of fixed width.
func dictionaryWords(d *array.Dictionary, out []uint64) {
	words := make([]uint64, d.Dictionary().Len())
	rowkey.Words(d.Dictionary(), words)
	for i := range out {
		if d.IsValid(i) {
			out[i] = words[d.GetValueIndex(i)]
		}
	}
}

func (g *groupTable) markNulls(c int, col arrow.Array, n, stride int) {
	for i := range n {
		if col.IsNull(i) {
			g.words[i*stride+c] = 0
			g.words[i*stride+g.width] |= 1 << c
		}
	}
}

// addNullWord widens the keys that are there by a word that says "no NULL".
func (g *groupTable) addNullWord() {
	g.hasNulls = true
	old := g.keys
	g.keys = make([]uint64, 0, g.n*(g.width+1)+probe)
	g.slots.reset()
	g.slots.reserve(g.n)
	for i := range g.n {
		g.keys = append(append(g.keys, old[i*g.width:(i+1)*g.width]...), 0)
		key := g.keys[i*(g.width+1):]
		h := hashWords(key)
		at := h & g.mask
		for g.table[at] != 0 {
			at = (at + 1) & g.mask
		}
		g.table[at] = uint64(h)<<32 | uint64(i+1)
		g.used++
	}
}

// Keys returns the key columns of groups [first, end).
func (g *groupTable) Keys(alloc memory.Allocator, first, end int) ([]arrow.Array, error) {
	stride := g.width
	if g.hasNulls {
		stride++
	}
	out := make([]arrow.Array, 0, g.width)
	words := make([]uint64, end-first)
	for c, dt := range g.types {
		for i := range words {
			words[i] = g.keys[(first+i)*stride+c]
		}
		var arr arrow.Array
		var err error
		if t := g.interned[c]; t != nil {
			arr, err = t.column(alloc, dt, words)
		} else {
			arr, err = g.fixedColumn(alloc, c, dt, words, first)
		}
		if err != nil {
			gather.Release(out)
			return nil, err
		}
		out = append(out, arr)
	}
	return out, nil
}

func (g *groupTable) fixedColumn(alloc memory.Allocator, c int, dt arrow.DataType, words []uint64, first int) (arrow.Array, error) {
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	b.Reserve(len(words))
	for i, w := range words {
		if g.hasNulls && g.keys[(first+i)*(g.width+1)+g.width]>>c&1 != 0 {
			b.AppendNull()
			continue
		}
		if err := rowkey.AppendWord(b, w); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

func growWords(s []uint64, n int) []uint64 {
	if cap(s) < n {
		return make([]uint64, n, n+n/4)
	}
	return s[:n]
}

// unsafeBytes reads a string's bytes without a copy; they must not be changed.
func unsafeBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
