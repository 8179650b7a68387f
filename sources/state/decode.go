package state

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
)

// rowTail is the input and the digest (or batch and part) at the end of a key of
// physical.RowState.
const rowTail = 17

// Columns returns the columns of a table of a form's rows: the key group, the keys,
// of rows of several inputs which input and how often, and the values. A form
// without columns has key and value as bytes.
func Columns(f physical.StateForm, changes bool) *arrow.Schema {
	var out []arrow.Field
	if changes {
		out = append(out, arrow.Field{Name: "change", Type: arrow.BinaryTypes.String})
	}
	names := map[string]bool{"change": changes}
	add := func(name string, dt arrow.DataType, null bool) {
		for n, base := 2, name; names[name]; n++ { // the same name twice would be ambiguous
			name = fmt.Sprintf("%s_%d", base, n)
		}
		names[name] = true
		out = append(out, arrow.Field{Name: name, Type: dt, Nullable: null})
	}
	add("key_group", arrow.PrimitiveTypes.Int32, false)
	if !Typed(f) {
		add("key", arrow.BinaryTypes.Binary, false)
		add("value", arrow.BinaryTypes.Binary, false)
		return arrow.NewSchema(out, nil)
	}
	for _, k := range f.Keys {
		add(k.Name, k.Type, true)
	}
	if f.Kind == physical.RowState {
		add("input", arrow.PrimitiveTypes.Int8, false)
		add("copies", arrow.PrimitiveTypes.Int64, false)
	}
	for i, vs := range f.Values {
		for _, v := range vs {
			name := v.Name
			if len(f.Values) > 1 {
				name = fmt.Sprintf("in%d.%s", i, name)
			}
			add(name, v.Type, true)
		}
	}
	return arrow.NewSchema(out, nil)
}

// Decoder turns rows of state into columns.
type Decoder struct {
	form    physical.StateForm
	changes bool
	schema  *arrow.Schema
	keys    *rowkey.Encoder
	values  []*rowkey.ValueCodec
	b       *array.RecordBuilder
	rows    int
}

// NewDecoder makes a decoder of a form's rows; changes puts the kind of a change
// in front.
func NewDecoder(f physical.StateForm, changes bool, alloc memory.Allocator) (*Decoder, error) {
	d := &Decoder{form: f, changes: changes, schema: Columns(f, changes)}
	if Typed(f) {
		var err error
		if d.keys, err = rowkey.NewEncoder(typesOf(f.Keys)); err != nil {
			return nil, err
		}
		for _, vs := range f.Values {
			c, err := rowkey.NewValueCodec(typesOf(vs))
			if err != nil {
				return nil, err
			}
			d.values = append(d.values, c)
		}
	}
	d.b = array.NewRecordBuilder(alloc, d.schema)
	return d, nil
}

func typesOf(fields []arrow.Field) []arrow.DataType {
	out := make([]arrow.DataType, len(fields))
	for i, f := range fields {
		out[i] = f.Type
	}
	return out
}

// Schema is that of what Take returns.
func (d *Decoder) Schema() *arrow.Schema { return d.schema }

// Len is how many rows were added since the last Take.
func (d *Decoder) Len() int { return d.rows }

// Take returns the rows added so far.
func (d *Decoder) Take() arrow.RecordBatch {
	d.rows = 0
	return d.b.NewRecordBatch()
}

// Release frees what was not taken.
func (d *Decoder) Release() { d.b.Release() }

// Add appends a row of state. Rows that an operator keeps for itself (that an input
// was read, that a result has come out) are no rows of a table and are left out.
func (d *Decoder) Add(change string, key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("decode a row of %s: %w: no key", d.form.Operator, rowkey.ErrDamaged)
	}
	if d.form.Kind == physical.RowState && len(value) == 0 {
		return nil
	}
	var err error
	switch {
	case !Typed(d.form):
		fields := d.head(change, key)
		fields[0].(*array.BinaryBuilder).Append(key[1:])
		fields[1].(*array.BinaryBuilder).Append(value)
	case d.form.Kind == physical.RowState:
		err = d.addRows(change, key, value)
	default:
		err = d.add(d.head(change, key), key[1:], value, 0)
	}
	if err != nil {
		return fmt.Errorf("decode a row of %s: %w", d.form.Operator, err)
	}
	return nil
}

// head starts a row and returns the builders of what is behind the key group.
func (d *Decoder) head(change string, key []byte) []array.Builder {
	d.rows++
	fields := d.b.Fields()
	if d.changes {
		fields[0].(*array.StringBuilder).Append(change)
		fields = fields[1:]
	}
	fields[0].(*array.Int32Builder).Append(int32(key[0]))
	return fields[1:]
}

// addRows appends the rows of an input that are stored under a key.
func (d *Decoder) addRows(change string, key, value []byte) error {
	at := len(key) - rowTail
	if at < 1 || int(key[at]) >= len(d.values) {
		return rowkey.ErrDamaged
	}
	nk, input := len(d.form.Keys), int(key[at])
	return rowkey.EachStored(value, func(count int64, row []byte) error {
		fields := d.head(change, key)
		fields[nk].(*array.Int8Builder).Append(int8(input))
		fields[nk+1].(*array.Int64Builder).Append(count)
		return d.add(fields, key[1:at], row, input)
	})
}

func (d *Decoder) add(fields []array.Builder, key, value []byte, input int) error {
	nk := len(d.form.Keys)
	if err := d.keys.Decode(key, fields[:nk]); err != nil {
		return err
	}
	rest := fields[nk:]
	if d.form.Kind == physical.RowState {
		rest = rest[2:]
	}
	for i, c := range d.values {
		n := len(d.form.Values[i])
		if i != input {
			for _, b := range rest[:n] {
				b.AppendNull()
			}
		} else if err := c.Decode(value, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}
