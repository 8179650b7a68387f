package avro

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
)

// put reads a value and appends it. Of a value that is read and does not fit it appends
// nothing; of bytes that cannot be read it may have appended a part.
type put func(c *cursor) error

// plan is how messages of one writer's schema become rows.
type plan struct {
	writer *Schema
	steps  []step   // the writer's fields in order
	absent []func() // columns that the writer does not have
}

// step is what is done with one field of the writer.
type step struct {
	skip *Schema // nil if it is wanted
	put  put
	name string
}

// compiler makes a plan. reader is the reader's schema, for names and defaults; it may be nil.
type compiler struct {
	d     *Decoder
	depth int
}

// compile makes a plan for a writer's schema.
func (d *Decoder) compile(writer *Schema) (*plan, error) {
	p := &plan{writer: writer}
	k := &compiler{d: d}
	fields := d.Schema().Fields()
	bs := make([]array.Builder, len(fields))
	for i := range bs {
		bs[i] = d.Field(i)
	}
	if w, _ := writer.Nullable(); w.Kind != Record {
		return p, k.bare(p, fields, bs)
	}
	w, null := writer.Nullable()
	steps, absent, err := k.fields(w, d.reader, fields, bs, "")
	if null && err == nil {
		inner := steps
		at := 0
		if writer.Branches[0].Kind == Null {
			at = 1
		}
		p.steps = []step{{put: func(c *cursor) error {
			if c.branch(2) != at {
				if c.err == nil {
					return errNullRow
				}
				return c.err
			}
			return run(c, inner)
		}}}
		p.absent = absent
		return p, nil
	}
	p.steps, p.absent = steps, absent
	return p, err
}

var errNullRow = fmt.Errorf("it is null and no record")

// bare makes a plan for values that are no records: they are the one column.
func (k *compiler) bare(p *plan, fields []arrow.Field, bs []array.Builder) error {
	w := p.writer
	for i, f := range fields {
		if f.Name != k.d.whole {
			return batch.UserErrorf("it is %s and no record: it can be read into a table of one column only", w)
		}
		add, err := k.value(w, nil, bs[i], f.Name)
		if err != nil {
			return err
		}
		p.steps = []step{{put: add, name: f.Name}}
	}
	if len(p.steps) == 0 {
		p.steps = []step{{skip: w}}
	}
	return nil
}

// run carries out the steps of a record.
func run(c *cursor, steps []step) error {
	for i := range steps {
		s := &steps[i]
		if s.skip != nil {
			if c.skip(s.skip); c.err != nil {
				return c.err
			}
			continue
		}
		if err := s.put(c); err != nil {
			return err
		}
	}
	return c.err
}

// fields pairs columns with the fields of a writer's record.
func (k *compiler) fields(w, r *Schema, columns []arrow.Field, bs []array.Builder, path string) (steps []step, absent []func(), err error) {
	steps = make([]step, len(w.Fields))
	for i := range w.Fields {
		steps[i].skip = w.Fields[i].Schema
	}
	for i, col := range columns {
		rf := r.field(col.Name)
		at := w.find(col.Name, rf)
		if at < 0 {
			fill, err := k.missing(rf, bs[i], col, path+col.Name)
			if err != nil {
				return nil, nil, err
			}
			absent = append(absent, fill)
			continue
		}
		var inner *Schema
		if rf != nil {
			inner, _ = rf.Schema.Nullable()
		}
		add, err := k.value(w.Fields[at].Schema, inner, bs[i], path+col.Name)
		if err != nil {
			return nil, nil, err
		}
		if steps[at].skip == nil { // two columns of one field
			first := steps[at].put
			steps[at].put = func(c *cursor) error {
				from := *c
				if err := first(c); err != nil {
					return err
				}
				*c = from
				return add(c)
			}
			continue
		}
		steps[at] = step{put: add, name: col.Name}
	}
	return merged(steps), absent, nil
}

// merged puts neighbours together that are passed over in one step.
func merged(steps []step) []step {
	out := steps[:0]
	for _, s := range steps {
		if n := len(out); n > 0 && s.skip != nil && s.skip.exact && s.skip.Kind != Boolean && out[n-1].skip != nil && out[n-1].skip.exact && out[n-1].skip.Kind != Boolean {
			out[n-1].skip = &Schema{Kind: Fixed, least: out[n-1].skip.least + s.skip.least, exact: true}
			continue
		}
		out = append(out, s)
	}
	return out
}

// field is a record's field of that name, nil if there is none or no record.
func (s *Schema) field(name string) *Field {
	if s == nil || s.Kind != Record {
		return nil
	}
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i]
		}
	}
	for i := range s.Fields {
		if strings.EqualFold(s.Fields[i].Name, name) {
			return &s.Fields[i]
		}
	}
	return nil
}

// find is the place of the writer's field for a column: of its name, of an alias that
// the reader's schema gives it, or of its name in other case; -1 if there is none.
func (s *Schema) find(name string, reader *Field) int {
	for i, f := range s.Fields {
		if f.Name == name {
			return i
		}
	}
	if reader != nil {
		for _, alias := range reader.Aliases {
			for i, f := range s.Fields {
				if f.Name == alias {
					return i
				}
			}
		}
	}
	at := -1
	for i, f := range s.Fields {
		if strings.EqualFold(f.Name, name) {
			if at >= 0 {
				return -1
			}
			at = i
		}
	}
	return at
}

// missing returns what fills a column that the writer does not have: the reader's
// default, else NULL.
func (k *compiler) missing(f *Field, b array.Builder, col arrow.Field, path string) (func(), error) {
	if f == nil || !f.HasDefault || f.Default == nil {
		if !col.Nullable {
			return nil, batch.UserErrorf("it has no field for the column %q, which is NOT NULL and has no default", path)
		}
		return b.AppendNull, nil
	}
	// A default is of the first type of a union.
	s := f.Schema
	text, err := appendDefault(nil, s, f.Default)
	if err != nil {
		return nil, batch.UserErrorf("the default of field %q: %w", path, err)
	}
	add, err := k.value(s, nil, b, path)
	if err != nil {
		return nil, fmt.Errorf("the default: %w", err)
	}
	c := &cursor{}
	if err := k.try(s, b.Type(), text, path); err != nil {
		return nil, err
	}
	return func() {
		c.reset(text)
		_ = add(c) // it was tried
	}, nil
}

// try reads a default once, to tell now and not in each row that it does not fit.
func (k *compiler) try(s *Schema, dt arrow.DataType, text []byte, path string) error {
	b := array.NewBuilder(k.d.alloc, dt)
	defer b.Release()
	add, err := k.value(s, nil, b, path)
	if err != nil {
		return err
	}
	lenient := k.d.lenient
	k.d.lenient = false
	defer func() { k.d.lenient = lenient }()
	c := &cursor{b: text}
	if err := add(c); err != nil {
		return batch.UserErrorf("the default of field %q: %w", path, err)
	}
	return nil
}

// value returns what reads a writer's value into a builder. The path names the column in errors.
func (k *compiler) value(w, r *Schema, b array.Builder, path string) (put, error) {
	if k.depth++; k.depth > maxSchemaDepth {
		return nil, batch.UserErrorf("column %q nests deeper than %d levels", path, maxSchemaDepth)
	}
	defer func() { k.depth-- }()
	var add put
	var err error
	switch {
	case w.Kind == Union:
		add, err = k.union(w, r, b, path)
	case w.Kind == Null:
		return func(*cursor) error { b.AppendNull(); return nil }, nil
	default:
		add, err = k.pick(w, r, b, path)
	}
	if err != nil {
		return nil, err
	}
	return k.d.noted(add, b, path), nil
}

// noted names the column in an error, or puts NULL for what does not fit, if that is the
// table's policy.
func (d *Decoder) noted(add put, b array.Builder, path string) put {
	return func(c *cursor) error {
		err := add(c)
		if err == nil {
			return nil
		}
		if c.err != nil {
			return c.err
		}
		if _, named := err.(*FieldError); !named {
			err = &FieldError{Field: path, Err: err}
		}
		if d.lenient {
			b.AppendNull()
			if d.wrong == nil {
				d.wrong = err
			}
			return nil
		}
		return err
	}
}

// key puts the key of a map. One that is no text is made one where rows go on, since the
// map is begun and the row is known to be bad.
func (d *Decoder) key(add func([]byte) error, name []byte, path string) error {
	err := add(name)
	if err == nil {
		return nil
	}
	err = &FieldError{Field: path, Err: fmt.Errorf("a key: %w", err)}
	if !d.lenient {
		return err
	}
	if d.wrong == nil {
		d.wrong = err
	}
	return add(bytes.ToValidUTF8(name, []byte("\ufffd")))
}

// FieldError names the column whose value could not be read.
type FieldError struct {
	Field string
	Err   error
}

// Error names field and cause.
func (e *FieldError) Error() string { return fmt.Sprintf("field %q: %v", e.Field, e.Err) }

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

func incompatible(w *Schema, b array.Builder, path string) error {
	return batch.UserErrorf("field %q is written as %s, which cannot be read as %s", path, w, b.Type())
}

// union reads any branch that the column can hold.
func (k *compiler) union(w, r *Schema, b array.Builder, path string) (put, error) {
	if st, ok := b.(*array.StructBuilder); ok && memberNames(st.Type().(*arrow.StructType), w) {
		return k.members(w, st, path)
	}
	branches := make([]put, len(w.Branches))
	var first error
	some := false
	for i, branch := range w.Branches {
		if branch.Kind == Null {
			branches[i] = func(*cursor) error { b.AppendNull(); return nil }
			continue
		}
		add, err := k.pick(branch, r, b, path)
		if err != nil {
			if first == nil {
				first = err
			}
			refused := fmt.Errorf("it is %s, which cannot be read as %s", branch, b.Type())
			branches[i] = func(c *cursor) error {
				c.skip(branch)
				return refused
			}
			continue
		}
		branches[i], some = add, true
	}
	if !some && first != nil {
		return nil, first
	}
	if _, null := w.Nullable(); null && len(branches) == 2 {
		return nullable(w, branches, b), nil
	}
	return func(c *cursor) error {
		i := c.branch(len(branches))
		if c.err != nil {
			return c.err
		}
		return branches[i](c)
	}, nil
}

// nullable is the union of null and one type, which is by far the most common.
func nullable(w *Schema, branches []put, b array.Builder) put {
	null, add := 0, branches[1]
	if w.Branches[1].Kind == Null {
		null, add = 1, branches[0]
	}
	return func(c *cursor) error {
		i := c.branch(2)
		if c.err != nil {
			return c.err
		}
		if i == null {
			b.AppendNull()
			return nil
		}
		return add(c)
	}
}

// memberNames reports whether a struct is what a union becomes: member0, member1 ...
func memberNames(st *arrow.StructType, w *Schema) bool {
	n := 0
	for _, branch := range w.Branches {
		if branch.Kind == Null {
			continue
		}
		if n >= st.NumFields() || st.Field(n).Name != memberName(n) {
			return false
		}
		n++
	}
	return n > 1 && n == st.NumFields()
}

func memberName(i int) string { return fmt.Sprintf("member%d", i) }

// members reads a union into a struct of its types, of which one is set.
func (k *compiler) members(w *Schema, st *array.StructBuilder, path string) (put, error) {
	adds, at := make([]put, len(w.Branches)), make([]int, len(w.Branches))
	n := 0
	for i, branch := range w.Branches {
		if at[i] = -1; branch.Kind == Null {
			continue
		}
		add, err := k.value(branch, nil, st.FieldBuilder(n), path+"."+memberName(n))
		if err != nil {
			return nil, err
		}
		adds[i], at[i] = add, n
		n++
	}
	return func(c *cursor) error {
		i := c.branch(len(adds))
		if c.err != nil {
			return c.err
		}
		if at[i] < 0 {
			st.AppendNull()
			return nil
		}
		st.Append(true)
		for m := range n {
			if m != at[i] {
				st.FieldBuilder(m).AppendNull()
			}
		}
		return adds[i](c)
	}, nil
}

// pick returns what reads a value that is no union.
func (k *compiler) pick(w, r *Schema, b array.Builder, path string) (put, error) {
	switch w.Kind {
	case Record:
		return k.record(w, r, b, path)
	case Array:
		return k.array(w, r, b, path)
	case Map:
		return k.mapping(w, r, b, path)
	case Null:
		return func(*cursor) error { b.AppendNull(); return nil }, nil
	default: // the others are behind the switch
	}
	if add := scalar(w, b); add != nil {
		return add, nil
	}
	return nil, incompatible(w, b, path)
}

func (k *compiler) record(w, r *Schema, b array.Builder, path string) (put, error) {
	st, ok := b.(*array.StructBuilder)
	if !ok {
		return nil, incompatible(w, b, path)
	}
	dt := st.Type().(*arrow.StructType)
	bs := make([]array.Builder, st.NumField())
	for i := range bs {
		bs[i] = st.FieldBuilder(i)
	}
	steps, absent, err := k.fields(w, r, dt.Fields(), bs, path+".")
	if err != nil {
		return nil, err
	}
	return func(c *cursor) error {
		if !c.deeper() {
			return c.err
		}
		st.Append(true)
		err := run(c, steps)
		for _, fill := range absent {
			fill()
		}
		c.depth--
		return err
	}, nil
}

func (k *compiler) array(w, r *Schema, b array.Builder, path string) (put, error) {
	list, ok := b.(*array.ListBuilder)
	if !ok {
		return nil, incompatible(w, b, path)
	}
	if r != nil && r.Kind == Array {
		r, _ = r.Items.Nullable()
	} else {
		r = nil
	}
	item, err := k.value(w.Items, r, list.ValueBuilder(), path+"[]")
	if err != nil {
		return nil, err
	}
	return func(c *cursor) error {
		if !c.deeper() {
			return c.err
		}
		list.Append(true)
		for {
			n, _ := c.block(w)
			if n == 0 {
				c.depth--
				return c.err
			}
			for ; n > 0; n-- {
				if err := item(c); err != nil {
					return err
				}
			}
		}
	}, nil
}

func (k *compiler) mapping(w, r *Schema, b array.Builder, path string) (put, error) {
	m, ok := b.(*array.MapBuilder)
	if !ok {
		return nil, incompatible(w, b, path)
	}
	key, ok := builders.Bytes(m.KeyBuilder())
	if !ok {
		return nil, incompatible(w, b, path)
	}
	if r != nil && r.Kind == Map {
		r, _ = r.Items.Nullable()
	} else {
		r = nil
	}
	item, err := k.value(w.Items, r, m.ItemBuilder(), path+"[]")
	if err != nil {
		return nil, err
	}
	return func(c *cursor) error {
		if !c.deeper() {
			return c.err
		}
		m.Append(true)
		for {
			n, _ := c.block(w)
			if n == 0 {
				c.depth--
				return c.err
			}
			for ; n > 0; n-- {
				name := c.bytes()
				if c.err != nil {
					return c.err
				}
				if err := k.d.key(key, name, path); err != nil {
					return err
				}
				if err := item(c); err != nil {
					return err
				}
			}
		}
	}, nil
}
