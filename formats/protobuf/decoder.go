package protobuf

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-stream/sluice/formats/builders"
)

// DecoderOptions are what a Decoder has to know besides its columns.
type DecoderOptions struct {
	// Lenient puts NULL for a value that does not fit its column, and no row for bytes that
	// cannot be read. Append tells of both.
	Lenient bool
	// NoZeros has a field without presence be NULL where it is not there, and not zero.
	NoZeros bool
	// EnumNumbers reads enums as numbers where the column is a text.
	EnumNumbers bool
	Alloc       memory.Allocator
}

// Decoder turns messages into rows. It is used by one goroutine.
type Decoder struct {
	builders.Batch
	o     DecoderOptions
	wrong error // of the row in hand
	plans map[protoreflect.MessageDescriptor]planned
}

type planned struct {
	root *object
	err  error
}

// maxPlans bounds the types whose plans are kept.
const maxPlans = 256

// NewDecoder makes a decoder for columns.
func NewDecoder(schema *arrow.Schema, o DecoderOptions) *Decoder {
	if o.Alloc == nil {
		o.Alloc = memory.DefaultAllocator
	}
	return &Decoder{Batch: builders.NewBatch(o.Alloc, schema), o: o, plans: map[protoreflect.MessageDescriptor]planned{}}
}

// Check reports whether messages of a type can be read into the columns.
func (d *Decoder) Check(t *Type) error {
	_, err := d.plan(t)
	return err
}

func (d *Decoder) plan(t *Type) (*object, error) {
	p, ok := d.plans[t.desc]
	if !ok {
		if len(d.plans) >= maxPlans {
			clear(d.plans)
		}
		bs := make([]array.Builder, d.Schema().NumFields())
		for i := range bs {
			bs[i] = d.Field(i)
		}
		p.root, p.err = d.object(t.desc, d.Schema().Fields(), bs, "", 0)
		d.plans[t.desc] = p
	}
	return p.root, p.err
}

// Append appends the row of a message. rows is 1 if a row is there, also when there is
// an error; without Lenient the decoder can only be released after one.
func (d *Decoder) Append(t *Type, b []byte) (rows int, err error) {
	root, err := d.plan(t)
	if err != nil {
		return 0, err
	}
	d.wrong = nil
	if d.o.Lenient {
		// What can be read to its end is; so no half of a row is left in the builders.
		if err := d.check(root, b); err != nil {
			return 0, unreadable(err)
		}
	}
	if err := d.fill(root, b); err != nil {
		return 0, err
	}
	d.Appended()
	return 1, d.wrong
}

func unreadable(err error) error { return fmt.Errorf("it is no message of its type: %w", err) }

// value is one of a field's as it lies in the message.
type value struct {
	num uint64
	b   []byte
}

// seen are the values of a field: all of a repeated one and of a message, else the last.
type seen struct {
	n   int
	all []value
}

// object is how a message becomes columns.
type object struct {
	fields []*field
	small  []int16 // number of a field to its place and one more, for small numbers
	large  map[protowire.Number]int
	free   [][]seen
}

// field is how a field becomes a column.
type field struct {
	wire   protowire.Type
	many   bool // a list or a map
	packed bool // may come as many values in one
	join   bool // values that come twice are put together: a message
	inner  *object
	put    func(s *seen) error // appends a column's value, also for none
}

const maxSmall = 1 << 10

func (o *object) place(n protowire.Number) int {
	if int(n) < len(o.small) {
		return int(o.small[n]) - 1
	}
	if i, ok := o.large[n]; ok {
		return i
	}
	return -1
}

func (o *object) know(n protowire.Number, at int) {
	if n >= maxSmall {
		if o.large == nil {
			o.large = map[protowire.Number]int{}
		}
		o.large[n] = at
		return
	}
	for int(n) >= len(o.small) {
		o.small = append(o.small, 0)
	}
	o.small[n] = int16(at + 1)
}

func (o *object) take() []seen {
	if n := len(o.free); n > 0 {
		s := o.free[n-1]
		o.free = o.free[:n-1]
		return s
	}
	return make([]seen, len(o.fields))
}

func (o *object) give(s []seen) {
	for i := range s {
		s[i].n = 0
		s[i].all = s[i].all[:0]
	}
	o.free = append(o.free, s)
}

// walk notes where the wanted fields of a message lie.
func (o *object) walk(b []byte, s []seen) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		at := o.place(num)
		if at >= 0 {
			if f := o.fields[at]; typ != f.wire && (typ != protowire.BytesType || !f.packed) {
				at = -1 // as if it were another field
			}
		}
		if at < 0 {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		v, n := consume(num, typ, b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		e, f := &s[at], o.fields[at]
		if e.n++; !f.many && !f.join {
			e.all = e.all[:0]
		}
		if f.packed && typ == protowire.BytesType {
			if err := unpack(e, f.wire, v.b); err != nil {
				return err
			}
			continue
		}
		e.all = append(e.all, v)
	}
	return nil
}

func consume(num protowire.Number, typ protowire.Type, b []byte) (v value, n int) {
	switch typ {
	case protowire.VarintType:
		v.num, n = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		var u uint32
		u, n = protowire.ConsumeFixed32(b)
		v.num = uint64(u)
	case protowire.Fixed64Type:
		v.num, n = protowire.ConsumeFixed64(b)
	case protowire.StartGroupType:
		v.b, n = protowire.ConsumeGroup(num, b)
	default:
		v.b, n = protowire.ConsumeBytes(b)
	}
	return v, n
}

// unpack notes the values of a packed field. Each takes a byte at least.
func unpack(e *seen, wire protowire.Type, b []byte) error {
	for len(b) > 0 {
		v, n := consume(1, wire, b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		e.all, b = append(e.all, v), b[n:]
	}
	return nil
}

// fill appends a message's columns.
func (d *Decoder) fill(o *object, b []byte) error {
	s := o.take()
	defer o.give(s)
	if err := o.walk(b, s); err != nil {
		return unreadable(err)
	}
	for i, f := range o.fields {
		if err := f.put(&s[i]); err != nil {
			return err
		}
	}
	return nil
}

// check walks through a message and those in it that are wanted.
func (d *Decoder) check(o *object, b []byte) error {
	s := o.take()
	defer o.give(s)
	if err := o.walk(b, s); err != nil {
		return err
	}
	for i, f := range o.fields {
		if f.inner == nil {
			continue
		}
		for _, v := range s[i].all {
			if err := d.check(f.inner, v.b); err != nil {
				return err
			}
		}
	}
	return nil
}

// together is the bytes of a message, of which parts may have come one after the other.
func (d *Decoder) together(s *seen) []byte {
	if len(s.all) == 1 {
		return s.all[0].b
	}
	var all []byte
	for _, v := range s.all {
		all = append(all, v.b...)
	}
	return all
}

// find is the field of a message for a column.
func find(m protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	fields := m.Fields()
	if f := fields.ByName(protoreflect.Name(name)); f != nil {
		return f
	}
	var found protoreflect.FieldDescriptor
	for i := range fields.Len() {
		f := fields.Get(i)
		if strings.EqualFold(string(f.Name()), name) || strings.EqualFold(f.JSONName(), name) {
			if found != nil {
				return nil
			}
			found = f
		}
	}
	return found
}
