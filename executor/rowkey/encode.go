package rowkey

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Encoder makes keys of columns of given types. It is used by one goroutine.
type Encoder struct {
	types  []arrow.DataType
	lens   []int32
	cursor []int
	words  []uint64
}

// NewEncoder returns an encoder, or an error that names the type that cannot be a key.
func NewEncoder(types []arrow.DataType) (*Encoder, error) {
	for i, dt := range types {
		if err := checkType(dt, 0); err != nil {
			return nil, fmt.Errorf("key column %d: %w", i, err)
		}
	}
	return &Encoder{types: types}, nil
}

// Encode replaces rows with the keys of n rows.
func (e *Encoder) Encode(cols []arrow.Array, n int, rows *Rows) error {
	return e.encode(cols, nil, n, rows)
}

// EncodeGrouped is Encode with the row's key group as the first byte.
func (e *Encoder) EncodeGrouped(groups []uint8, cols []arrow.Array, rows *Rows) error {
	return e.encode(cols, groups, len(groups), rows)
}

func (e *Encoder) encode(cols []arrow.Array, groups []uint8, n int, rows *Rows) error {
	if len(cols) != len(e.types) {
		return fmt.Errorf("encode a key of %d columns: got %d", len(e.types), len(cols))
	}
	e.lens = grow(e.lens, n)
	lead := int32(0)
	if groups != nil {
		lead = 1
	}
	for i := range e.lens {
		e.lens[i] = lead
	}
	nested := make([]*Rows, len(cols))
	for c, col := range cols {
		if col.Len() != n {
			return fmt.Errorf("encode key column %d: %d rows, want %d", c, col.Len(), n)
		}
		nested[c] = e.measure(col)
	}
	rows.resize(e.lens)
	e.cursor = append(e.cursor[:0], rows.Offsets[:n]...)
	for i, g := range groups {
		rows.Data[e.cursor[i]] = g
		e.cursor[i]++
	}
	for c, col := range cols {
		e.write(col, nested[c], rows.Data)
	}
	return nil
}

// measure adds the lengths of a column's keys. A column that is neither of fixed
// width nor bytes is encoded here, row by row, and copied later.
func (e *Encoder) measure(col arrow.Array) *Rows {
	switch w := int32(Width(col.DataType())); {
	case w > 0 && col.NullN() == 0:
		for i := range e.lens {
			e.lens[i] += 1 + w
		}
	case w > 0:
		for i := range e.lens {
			e.lens[i]++
			if col.IsValid(i) {
				e.lens[i] += w
			}
		}
	case isBytes(col.DataType()):
		c := newBytesCol(col)
		for i := range e.lens {
			e.lens[i]++
			if !nullAt(col, i) {
				v := c.value(i)
				e.lens[i] += int32(len(v) + bytes.Count(v, []byte{escape}) + 2)
			}
		}
	default:
		r := &Rows{}
		r.Reset()
		for i := range e.lens {
			r.Data = AppendKey(r.Data, col, i)
			r.Offsets = append(r.Offsets, len(r.Data))
			e.lens[i] += int32(len(r.Row(i)))
		}
		return r
	}
	return nil
}

func (e *Encoder) write(col arrow.Array, nested *Rows, data []byte) {
	n := len(e.cursor)
	switch w := Width(col.DataType()); {
	case nested != nil:
		for i := range n {
			e.cursor[i] += copy(data[e.cursor[i]:], nested.Row(i))
		}
	case w > 0:
		e.words = grow(e.words, n)
		Words(col, e.words)
		e.writeWords(col, w, data)
	default:
		c := newBytesCol(col)
		for i := range n {
			at := e.cursor[i]
			if nullAt(col, i) {
				data[at] = markNull
				e.cursor[i]++
				continue
			}
			data[at] = markValue
			// The room is measured: append writes in place.
			e.cursor[i] += 1 + len(appendEscaped(data[at+1:at+1], c.value(i)))
		}
	}
}

func (e *Encoder) writeWords(col arrow.Array, width int, data []byte) {
	nulls := col.NullN() > 0
	for i, w := range e.words {
		at := e.cursor[i]
		if nulls && col.IsNull(i) {
			data[at] = markNull
			e.cursor[i]++
			continue
		}
		data[at] = markValue
		switch width {
		case 8:
			binary.BigEndian.PutUint64(data[at+1:], w)
		case 4:
			binary.BigEndian.PutUint32(data[at+1:], uint32(w))
		case 2:
			binary.BigEndian.PutUint16(data[at+1:], uint16(w))
		default:
			data[at+1] = byte(w)
		}
		e.cursor[i] = at + 1 + width
	}
}
