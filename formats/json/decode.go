package json

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// SyntaxError says where in a line something cannot be read.
type SyntaxError struct {
	Column int    // of the line, in bytes, counted from 1
	Field  string // the column's name and path, "" if it is about the line
	Err    error
}

// Error names place, field and cause.
func (e *SyntaxError) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("column %d, field %q: %v", e.Column, e.Field, e.Err)
	}
	return fmt.Sprintf("column %d: %v", e.Column, e.Err)
}

// Unwrap returns the cause.
func (e *SyntaxError) Unwrap() error { return e.Err }

// Decoder turns JSON objects into rows, for files and for messages alike. It
// is used by one goroutine.
type Decoder struct {
	b     *array.RecordBuilder
	root  *object
	line  scanner
	tmp   []byte
	rows  int
	room  int // for how many rows the builders have room
	opts  config
	wrong error // of the row in hand, under quarantine
}

// decode appends a value. The syntax was checked.
type decode func(d *Decoder, v found) error

// object decodes the fields of an object into one builder each.
type object struct {
	names  []string
	index  map[string]int
	fields []field
	values []found // of the object in hand
	expect int     // the field that is likely to come next
	shape  []step  // of the object read last, see read
	learnt int
	op     int // the field that is the kind of change, which is never NULL; -1 for none
}

// field is where the values of one go.
type field struct {
	put  decode
	null func()
	// Of the line's own fields: what most values need not be looked at again for. There
	// is room for the row.
	whole *array.Int64Builder
	plain *array.StringBuilder
}

// NewDecoder makes a decoder of objects with the schema's fields.
func NewDecoder(schema *arrow.Schema, c formats.Config, alloc memory.Allocator) (*Decoder, error) {
	o, err := newConfig(c)
	if err != nil {
		return nil, err
	}
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	d := &Decoder{b: array.NewRecordBuilder(alloc, schema), opts: o}
	builders := make([]array.Builder, schema.NumFields())
	for i := range builders {
		builders[i] = d.b.Field(i)
	}
	if d.root, err = newObject(schema.Fields(), builders, o, ""); err != nil {
		d.b.Release()
		return nil, err
	}
	for i := range d.root.fields {
		if i == d.root.op {
			continue
		}
		switch b := builders[i].(type) {
		case *array.Int64Builder:
			d.root.fields[i].whole = b
		case *array.StringBuilder:
			d.root.fields[i].plain = b
		}
	}
	return d, nil
}

func newObject(fields []arrow.Field, bs []array.Builder, o config, path string) (*object, error) {
	ob := &object{index: map[string]int{}, op: -1}
	for i, f := range fields {
		put, err := newDecode(bs[i], o, path+f.Name)
		if err != nil {
			return nil, err
		}
		if b, is := bs[i].(*array.Int8Builder); is && formats.IsOp(f) {
			put, ob.op = noted(opDecode(b, f.Name), b, o), i
		}
		ob.names = append(ob.names, f.Name)
		ob.index[f.Name] = i
		ob.fields = append(ob.fields, field{put: put, null: bs[i].AppendNull})
	}
	ob.values = make([]found, len(fields))
	return ob, nil
}

// Append decodes one object. After an error the decoder can only be released:
// the builders may hold half a row. Under 'bad-rows' = 'null' there is none: a
// value that cannot be read is NULL, and a line with broken syntax a row of NULLs.
func (d *Decoder) Append(line []byte) error {
	d.wrong = nil
	err := d.append(line)
	if err != nil && d.opts.note {
		return err // nothing was appended
	}
	if err != nil && d.opts.badNull {
		// Only syntax is left to fail, before anything was appended.
		d.AppendNull()
		return nil
	}
	if err == nil {
		d.rows++
	}
	if d.wrong != nil {
		return &valueError{d.wrong}
	}
	return err
}

// Decode implements LineDecoder: a line is a row.
func (d *Decoder) Decode(line []byte) (rows int, err error) {
	if err = d.Append(line); err == nil {
		return 1, nil
	}
	var value *valueError
	if errors.As(err, &value) {
		rows = 1
	}
	return rows, err
}

// valueError is, under quarantine, a row whose syntax is right: it was appended,
// with NULL for what cannot be read.
type valueError struct{ err error }

func (e *valueError) Error() string { return e.err.Error() }
func (e *valueError) Unwrap() error { return e.err }

func (d *Decoder) append(line []byte) error {
	d.line = scanner{b: line}
	s := &d.line
	if s.blank(); s.pos == len(line) || line[s.pos] != '{' {
		return s.fault(errObject)
	}
	values := d.root.none()
	if err := d.root.read(d, values); err != nil {
		if errors.Is(err, errEnd) {
			err = errNewline
		}
		return s.fault(err)
	}
	if s.blank(); s.pos < len(line) {
		return s.fault(errTrail)
	}
	d.makeRoom()
	return d.root.fill(d, values)
}

// roomMin is for how many rows builders make room first, textRoomMin for how many bytes.
const (
	roomMin     = 64
	textRoomMin = 1024
)

// makeRoom makes room for a row, and for as many again as there are.
func (d *Decoder) makeRoom() {
	if d.rows < d.room {
		return
	}
	more := max(d.rows, roomMin)
	d.b.Reserve(more)
	d.room = d.rows + more
}

// textShown is how much of a line an error repeats.
const textShown = 40

// fault says what is wrong at the position, and what stands there.
func (s *scanner) fault(err error) error {
	found := s.b[min(s.pos, len(s.b)):]
	if len(found) == 0 {
		if found = bytes.TrimSpace(s.b); len(found) > textShown {
			found = found[len(found)-textShown:]
		}
		return &SyntaxError{Column: s.pos + 1, Err: fmt.Errorf("%w, after %q", err, found)}
	}
	return &SyntaxError{Column: s.pos + 1, Err: fmt.Errorf("%w, found %q", err, found[:min(len(found), textShown)])}
}

// none returns the values of an object of which nothing is known. An object is in none
// of its own kind, so that there is one at a time.
func (o *object) none() []found {
	clear(o.values)
	return o.values
}

// note keeps the place of a value whose key is a field; the last of equal keys wins.
func (o *object) note(d *Decoder, values []found, key span, v found) {
	k := d.line.b[key.from+1 : key.to-1]
	if bytes.IndexByte(k, '\\') >= 0 {
		d.tmp = unquote(d.tmp[:0], d.line.b[key.from:key.to])
		k = d.tmp
	}
	// Objects of one stream mostly have their keys in one order.
	if o.expect < len(o.names) && o.names[o.expect] == string(k) {
		values[o.expect] = v
		o.expect++
		return
	}
	if i, ok := o.index[string(k)]; ok {
		values[i] = v
		o.expect = i + 1
		if o.expect == len(o.names) {
			o.expect = 0
		}
	}
}

// fill appends the noted values, NULL for those absent.
func (o *object) fill(d *Decoder, values []found) error {
	o.expect = 0
	for i := range values {
		v, f := &values[i], &o.fields[i]
		switch {
		case v.form == wholeNumber && f.whole != nil:
			f.whole.UnsafeAppend(v.whole)
			continue
		case v.form == plainText && f.plain != nil:
			text := d.line.b[v.from+1 : v.to-1]
			if have := f.plain.DataLen(); have+len(text) > f.plain.DataCap() {
				f.plain.ReserveData(max(have, len(text), textRoomMin))
			}
			f.plain.UnsafeAppend(text)
			continue
		case v.form <= null && i != o.op:
			f.null()
			continue
		}
		if err := f.put(d, *v); err != nil {
			return err
		}
	}
	return nil
}

func isNull(b []byte) bool { return len(b) == 4 && b[0] == 'n' }

// newDecode picks the decoding of a column. A decoding that fails has not
// appended to its own builder, so that NULL can be put instead.
func newDecode(b array.Builder, o config, path string) (decode, error) {
	put, err := pick(b, o, path)
	return noted(put, b, o), err
}

// noted makes a decoding put NULL for what it cannot read, if the options say so.
func noted(put decode, b array.Builder, o config) decode {
	if !o.badNull {
		return put
	}
	return func(d *Decoder, v found) error {
		if err := put(d, v); err != nil {
			b.AppendNull()
			if o.note && d.wrong == nil {
				d.wrong = err
			}
		}
		return nil
	}
}

// opDecode reads a kind of change. A row that has none is a bad one.
func opDecode(b *array.Int8Builder, name string) decode {
	add := formats.OpAppender(b)
	return func(d *Decoder, v found) error {
		if err := add(d.text(v)); err != nil {
			return d.bad(name, v, "a kind of change", err)
		}
		return nil
	}
}

func pick(b array.Builder, o config, path string) (decode, error) {
	switch b := b.(type) {
	case *array.StructBuilder:
		return structDecode(b, o, path)
	case *array.MapBuilder:
		return mapDecode(b, o, path)
	case *array.ListBuilder:
		return listDecode(b, o, path)
	case *array.StringBuilder:
		return func(d *Decoder, v found) error {
			b.BinaryBuilder.Append(d.text(v))
			return nil
		}, nil
	}
	return scalarDecode(b, o, path)
}

// text is what a value says: of a string what is between its quotes. It is valid until
// the next is asked for.
func (d *Decoder) text(v found) []byte {
	raw := d.line.b[v.from:v.to]
	switch v.form {
	case plainText:
		return raw[1 : len(raw)-1]
	case escapedText:
		d.tmp = unquote(d.tmp[:0], raw)
		return d.tmp
	default: // what is no string says what is written
		return raw
	}
}

func listDecode(b *array.ListBuilder, o config, path string) (decode, error) {
	elem, err := newDecode(b.ValueBuilder(), o, path+"[]")
	if err != nil {
		return nil, err
	}
	return func(d *Decoder, v found) error {
		if d.line.b[v.from] != '[' {
			return d.bad(path, v, "an array", nil)
		}
		b.Append(true)
		var first error
		s := scanner{b: d.line.b[:v.to], pos: v.from}
		_ = s.array(1, func(e found) { // checked before
			if first != nil {
				return
			}
			if e.form == null {
				b.ValueBuilder().AppendNull()
			} else {
				first = elem(d, e)
			}
		})
		return first
	}, nil
}

// scalarDecode reads numbers, booleans and times, also inside a string.
func scalarDecode(b array.Builder, o config, path string) (decode, error) {
	add, err := text.NewAppender(b, o.times, true)
	if err != nil {
		return nil, batch.UserErrorf("column %q in JSON: %w", path, err)
	}
	dt := b.Type()
	quoted := dt.ID() == arrow.TIMESTAMP && !o.times.Epoch() || dt.ID() == arrow.DATE32 || dt.ID() == arrow.TIME64 || dt.ID() == arrow.BINARY
	return func(d *Decoder, v found) error {
		if c := d.line.b[v.from]; c == '{' || c == '[' || quoted && c != '"' {
			return d.bad(path, v, dt.String(), nil)
		}
		if err := add(d.text(v)); err != nil {
			return d.bad(path, v, dt.String(), err)
		}
		return nil
	}, nil
}

func structDecode(b *array.StructBuilder, o config, path string) (decode, error) {
	bs := make([]array.Builder, b.NumField())
	for i := range bs {
		bs[i] = b.FieldBuilder(i)
	}
	ob, err := newObject(b.Type().(*arrow.StructType).Fields(), bs, o, path+".")
	if err != nil {
		return nil, err
	}
	return func(d *Decoder, v found) error {
		if d.line.b[v.from] != '{' {
			return d.bad(path, v, "an object", nil)
		}
		values := ob.none()
		s := scanner{b: d.line.b[:v.to], pos: v.from}
		_ = s.object(1, func(k span, e found) { ob.note(d, values, k, e) }) // checked before
		b.Append(true)
		return ob.fill(d, values)
	}, nil
}

func mapDecode(b *array.MapBuilder, o config, path string) (decode, error) {
	keys, ok := b.KeyBuilder().(*array.StringBuilder)
	if !ok {
		return nil, batch.UserErrorf("column %q in JSON: the keys of a map are strings, not %s", path, b.KeyBuilder().Type())
	}
	item, err := newDecode(b.ItemBuilder(), o, path+"[]")
	if err != nil {
		return nil, err
	}
	return func(d *Decoder, v found) error {
		if d.line.b[v.from] != '{' {
			return d.bad(path, v, "an object", nil)
		}
		b.Append(true)
		type pair struct {
			key string
			val found
		}
		var pairs []pair
		at := map[string]int{}
		s := scanner{b: d.line.b[:v.to], pos: v.from}
		_ = s.object(1, func(k span, e found) { // checked before
			name := string(unquote(nil, s.b[k.from:k.to]))
			if i, ok := at[name]; ok {
				pairs[i].val = e
				return
			}
			at[name] = len(pairs)
			pairs = append(pairs, pair{name, e})
		})
		for _, p := range pairs {
			keys.Append(p.key)
			if p.val.form == null {
				b.ItemBuilder().AppendNull()
			} else if err := item(d, p.val); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (d *Decoder) bad(path string, v found, want string, err error) error {
	val := text.Quote(d.line.b[v.from:v.to])
	if err == nil {
		return &SyntaxError{Column: v.from + 1, Field: path, Err: fmt.Errorf("cannot read %s as %s", val, want)}
	}
	return &SyntaxError{Column: v.from + 1, Field: path, Err: fmt.Errorf("cannot read %s as %s: %w", val, want, err)}
}

// Rows returns the number of rows since the last Flush.
func (d *Decoder) Rows() int { return d.rows }

// Flush returns the rows so far; the caller owns the batch.
func (d *Decoder) Flush() arrow.RecordBatch {
	n := d.rows
	d.rows, d.room = 0, 0
	if len(d.root.names) == 0 {
		return array.NewRecordBatch(d.b.Schema(), nil, int64(n))
	}
	return d.b.NewRecordBatch()
}

// Release throws away what was not flushed.
func (d *Decoder) Release() { d.b.Release() }

// AppendNull appends a row of NULLs.
func (d *Decoder) AppendNull() {
	for i := range d.root.fields {
		d.root.fields[i].null()
	}
	d.rows++
}
