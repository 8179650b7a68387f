package executor

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/rowkey"
)

// joinKeys turns the key columns of either side of a join into words. Keys whose
// columns have a fixed width and fit into two words are those words. Any other
// key is the hash of its columns, and pairs with equal hashes are compared
// column by column (keyPairs).
type joinKeys struct {
	types    []arrow.DataType
	nullSafe []bool
	stride   int  // words per key
	exact    bool // equal words mean equal keys
	place    []keyPlace

	hasher rowkey.Hasher
	column []uint64
}

// keyPlace is where a column's word lies in the key.
type keyPlace struct {
	word  int
	shift uint
	null  bool // the bits above the column's say whether it is NULL
	bits  uint
}

func newJoinKeys(types []arrow.DataType, nullSafe []bool) *joinKeys {
	k := &joinKeys{types: types, nullSafe: nullSafe}
	if len(types) == 0 {
		k.exact = true
		return k
	}
	k.stride, k.exact = 1, true
	var used [2]uint
	for i, dt := range types {
		p := keyPlace{bits: 8 * uint(rowkey.Width(dt)), null: k.safe(i)}
		need := p.bits
		if p.null {
			need += 8
		}
		for p.word < 2 && used[p.word]+need > 64 {
			p.word++
		}
		if p.bits == 0 || p.word == 2 {
			k.stride, k.exact, k.place = 1, false, nil
			return k
		}
		p.shift = used[p.word]
		used[p.word] += need
		k.stride = max(k.stride, p.word+1)
		k.place = append(k.place, p)
	}
	return k
}

func (k *joinKeys) safe(i int) bool { return k.nullSafe != nil && k.nullSafe[i] }

// clone returns the same form of key with scratch memory of its own.
func (k *joinKeys) clone() *joinKeys {
	return &joinKeys{types: k.types, nullSafe: k.nullSafe, stride: k.stride, exact: k.exact, place: k.place}
}

// words fills out with the keys of n rows; the length of out is n*stride.
func (k *joinKeys) words(cols []arrow.Array, n int, out []uint64) {
	switch {
	case k.stride == 0:
		return
	case !k.exact:
		k.hasher.Hash(cols, out)
		return
	case len(cols) == 1 && !k.place[0].null:
		fixedWords(cols[0], out)
		return
	}
	clear(out)
	k.column = resized(k.column, n)
	for c, col := range cols {
		p := k.place[c]
		fixedWords(col, k.column)
		nulls := p.null && col.NullN() > 0
		for i, w := range k.column {
			if nulls && col.IsNull(i) {
				w = 1 << p.bits
			}
			out[i*k.stride+p.word] |= w << p.shift
		}
	}
}

func fixedWords(col arrow.Array, out []uint64) {
	d, ok := col.(*array.Dictionary)
	if !ok {
		rowkey.Words(col, out)
		return
	}
	words := make([]uint64, d.Dictionary().Len())
	rowkey.Words(d.Dictionary(), words)
	for i := range out {
		if d.IsValid(i) {
			out[i] = words[d.GetValueIndex(i)]
		}
	}
}

// nullable lists the key columns of which a NULL equals nothing and is there.
func (k *joinKeys) nullable(cols []arrow.Array) (out []arrow.Array) {
	for i, c := range cols {
		if !k.safe(i) && (c.NullN() > 0 || c.DataType().ID() == arrow.NULL) {
			out = append(out, c)
		}
	}
	return out
}

func anyNull(cols []arrow.Array, i int) bool {
	for _, c := range cols {
		if c.DataType().ID() == arrow.NULL || c.IsNull(i) {
			return true
		}
	}
	return false
}

// keyPairs compares keys of which the hashes are equal.
type keyPairs struct {
	safe  []bool
	build []keyColumn
	probe []keyColumn
}

func newKeyPairs(k *joinKeys) *keyPairs {
	p := &keyPairs{safe: make([]bool, len(k.types))}
	for i := range p.safe {
		p.safe[i] = k.safe(i)
	}
	return p
}

// equal appends to keep the positions of the pairs that have the same key.
func (p *keyPairs) equal(probe, build []int32, keep []int32) []int32 {
	for i, r := range probe {
		same := true
		for c := range p.build {
			x, y := &p.probe[c], &p.build[c]
			xn, yn := x.isNull(int(r)), y.isNull(int(build[i]))
			if xn || yn {
				same = xn && yn && p.safe[c]
			} else {
				same = x.same(int(r), y, int(build[i]))
			}
			if !same {
				break
			}
		}
		if same {
			keep = append(keep, int32(i))
		}
	}
	return keep
}

// keyColumn reads one key column in the form that it is compared in.
type keyColumn struct {
	arr   arrow.Array
	nulls bool
	words []uint64 // of fixed width
	data  []byte   // text and binary
	off   []int32
	index *array.Dictionary // into data
	text  bool
	buf   []byte
}

func keyColumns(cols []arrow.Array) []keyColumn {
	out := make([]keyColumn, len(cols))
	for i, c := range cols {
		out[i] = newKeyColumn(c)
	}
	return out
}

func newKeyColumn(arr arrow.Array) keyColumn {
	k := keyColumn{arr: arr, nulls: arr.NullN() > 0 || arr.DataType().ID() == arrow.NULL}
	values := arr
	if d, ok := arr.(*array.Dictionary); ok {
		k.index, values = d, d.Dictionary()
	}
	switch v := values.(type) {
	case *array.String:
		k.text, k.data, k.off = true, textBytes(v.Data()), textOffsets(v.Data())
	case *array.Binary:
		k.text, k.data, k.off = true, textBytes(v.Data()), textOffsets(v.Data())
	default:
		if rowkey.Width(values.DataType()) > 0 {
			k.words = make([]uint64, arr.Len())
			fixedWords(arr, k.words)
		}
	}
	return k
}

func textBytes(d arrow.ArrayData) []byte {
	if b := d.Buffers()[2]; b != nil {
		return b.Bytes()
	}
	return nil
}

func textOffsets(d arrow.ArrayData) []int32 {
	if b := d.Buffers()[1]; b != nil && b.Len() > 0 {
		return arrow.Int32Traits.CastFromBytes(b.Bytes())[d.Offset():]
	}
	return nil
}

func (k *keyColumn) isNull(i int) bool {
	return k.nulls && (k.arr.DataType().ID() == arrow.NULL || k.arr.IsNull(i))
}

func (k *keyColumn) value(i int) []byte {
	if k.index != nil {
		i = k.index.GetValueIndex(i)
	}
	return k.data[k.off[i]:k.off[i+1]]
}

func (k *keyColumn) same(i int, o *keyColumn, at int) bool {
	switch {
	case k.words != nil && o.words != nil:
		return k.words[i] == o.words[at]
	case k.text && o.text:
		return bytes.Equal(k.value(i), o.value(at))
	}
	k.buf = rowkey.AppendKey(k.buf[:0], k.arr, i)
	o.buf = rowkey.AppendKey(o.buf[:0], o.arr, at)
	return bytes.Equal(k.buf, o.buf)
}
