package executor

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/rowkey"
)

// groupTable numbers the distinct keys of rows from 0, in order of first
// appearance. A key is a few 64-bit words: a value of fixed width is one, a
// decimal is two, a text is two (see textkeys.go) and so is a value of any other
// type, in its key form. So there is one table for all types, and rows are
// compared by words. NULL is a key like any other.
type groupTable struct {
	slots
	types    []arrow.DataType
	at       []int     // first word of each column
	width    int       // words per key, without the word of NULLs
	texts    []textKey // columns that are kept as texts
	second   []bool    // by word: the second one of a text
	marked   bool      // some column needs the word of NULLs to show them
	hasNulls bool      // keys have the word of NULLs
	n        int
	keys     []uint64 // of the groups, one after the other
	arena    textArena

	words  []uint64 // of the batch at hand, row-major
	column []uint64 // scratch
	sums   []uint64 // of tables with texts: hashes of the batch's rows
	dict   dictGroups
	hashes [probe]uint32
	first  [probe]uint64
}

// textKey is a column whose values are kept as texts.
type textKey struct {
	col, at int
	encoded bool   // the text is the value's key form
	src     []byte // bytes of the batch at hand
	buf     []byte // of encoded values
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
	g := &groupTable{types: types, at: make([]int, len(types))}
	for i, dt := range types {
		g.at[i] = g.width
		switch {
		case rowkey.Width(dt) > 0:
			g.width, g.marked = g.width+1, true
		case dt.ID() == arrow.DECIMAL128:
			g.width, g.marked = g.width+2, true
		default:
			g.texts = append(g.texts, textKey{col: i, at: g.width, encoded: !isText(dt)})
			g.width += 2
		}
	}
	g.second = make([]bool, g.width+1)
	for _, t := range g.texts {
		g.second[t.at+1] = true
	}
	g.Reset()
	return g, nil
}

// isText says which values are kept as they are.
func isText(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.STRING, arrow.BINARY, arrow.LARGE_STRING, arrow.LARGE_BINARY:
		return true
	case arrow.DICTIONARY:
		return isText(dt.(*arrow.DictionaryType).ValueType)
	}
	return false
}

// Len returns the number of groups.
func (g *groupTable) Len() int { return g.n }

// Bytes is the memory held.
func (g *groupTable) Bytes() int64 {
	sum := g.slots.bytes() + 8*int64(cap(g.keys)+cap(g.words)+cap(g.column)+cap(g.sums)) + g.arena.bytes()
	for i := range g.texts {
		sum += int64(cap(g.texts[i].buf))
	}
	return sum + 4*int64(cap(g.dict.groups))
}

// contents is the memory that the groups need, other than Bytes no matter what
// is allocated.
func (g *groupTable) contents() int64 {
	sum := 8 * int64(len(g.keys)+2*g.n)
	for _, c := range g.arena.chunks {
		sum += int64(len(c))
	}
	return sum
}

// Reset forgets all groups and keeps the memory.
func (g *groupTable) Reset() {
	g.slots.reset()
	if cap(g.keys) > 1<<14 && len(g.keys) < cap(g.keys)/64 {
		g.keys = nil
	}
	g.arena.reset()
	g.keys, g.n, g.hasNulls = g.keys[:0], 0, false
	g.dict.forget()
}

// stride is the number of words of a key.
func (g *groupTable) stride() int {
	if g.hasNulls {
		return g.width + 1
	}
	return g.width
}

// Map fills out with the group of each of n rows, new groups included.
func (g *groupTable) Map(cols []arrow.Array, n int, out []uint32) {
	if n == 0 {
		return
	}
	if g.width == 0 {
		g.n = 1
		clear(out[:n])
		return
	}
	if len(cols) == 1 && g.mapDictionary(cols[0], out[:n]) {
		return
	}
	g.load(cols, n)
	g.mapLoaded(n, out)
}

func (g *groupTable) mapLoaded(n int, out []uint32) {
	switch stride := g.stride(); {
	case len(g.texts) == 1 && stride == 2:
		g.mapText(out[:n])
	case len(g.texts) > 0:
		g.mapMixed(out[:n], stride)
	case stride == 1:
		g.map1(out[:n])
	case stride == 2:
		g.map2(out[:n])
	default:
		g.mapN(out[:n], stride)
	}
}

// Find is Map without new groups: a row whose key is not there gets noGroup.
func (g *groupTable) Find(cols []arrow.Array, n int, out []uint32) {
	if g.n == 0 || n == 0 {
		fill(out[:n], noGroup)
		return
	}
	if g.width == 0 {
		clear(out[:n])
		return
	}
	g.reserve(0)
	g.load(cols, n)
	stride := g.stride()
	for i := range n {
		key := g.words[i*stride : (i+1)*stride]
		if len(g.texts) > 0 {
			_, out[i] = g.searchMixed(key, uint32(g.sums[i]))
		} else {
			_, out[i] = g.search(key, hashWords(key))
		}
	}
}

// noGroup is what Find returns for an unknown key.
const noGroup = ^uint32(0)

func fill(s []uint32, v uint32) {
	for i := range s {
		s[i] = v
	}
}

// insert makes the next group of a key that is not there; at is a free slot.
func (g *groupTable) insert(at, h uint32, key ...uint64) uint32 {
	if len(g.keys)+len(key) > cap(g.keys) {
		g.growKeys(len(key))
	}
	g.keys = append(g.keys, key...)
	return g.number(at, h)
}

// number gives the next number to the key that was appended last.
func (g *groupTable) number(at, h uint32) uint32 {
	id := uint32(g.n)
	g.table[at] = uint64(h)<<32 | uint64(id+1)
	g.n++
	g.used++
	return id
}

// growKeys doubles, where append would grow a large slice by a quarter at a time.
func (g *groupTable) growKeys(more int) {
	keys := make([]uint64, len(g.keys), max(2*cap(g.keys), len(g.keys)+more, 64))
	copy(keys, g.keys)
	g.keys = keys
}

// addNullWord widens the keys that are there by a word that says "no NULL".
func (g *groupTable) addNullWord() {
	g.hasNulls = true
	old := g.keys
	stride := g.width + 1
	g.keys = make([]uint64, 0, g.n*stride+64)
	for i := range g.n {
		g.keys = append(append(g.keys, old[i*g.width:(i+1)*g.width]...), 0)
	}
	if len(g.texts) > 0 {
		// Tables with texts hash the word of NULLs only where it is not 0.
		return
	}
	g.slots.used = 0
	clear(g.table)
	g.reserve(g.n)
	for i := range g.n {
		g.place(uint64(hashWords(g.keys[i*stride:(i+1)*stride]))<<32 | uint64(i+1))
	}
	g.used = g.n
}

// resized returns a slice of n elements whose values mean nothing.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
