package avro

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats/builders"
)

// DecoderOptions are what a Decoder has to know besides its columns.
type DecoderOptions struct {
	// Reader has the defaults and aliases of the columns' fields; nil for none.
	Reader *Schema
	// Whole is the column that takes a value that is no record, "" for none.
	Whole string
	// Lenient puts NULL for a value that does not fit its column, and a row of NULLs for
	// bytes that cannot be read. Append tells of both.
	Lenient bool
	Alloc   memory.Allocator
}

// Decoder turns values of Avro into rows. It is used by one goroutine.
type Decoder struct {
	builders.Batch
	alloc   memory.Allocator
	reader  *Schema
	whole   string
	lenient bool
	wrong   error // of the row in hand
	plans   map[*Schema]compiled
	last    *Schema
	plan    *plan
	c       cursor
}

type compiled struct {
	plan *plan
	err  error
}

// maxPlans bounds the writers' schemas whose plans are kept.
const maxPlans = 256

// NewDecoder makes a decoder for columns.
func NewDecoder(schema *arrow.Schema, o DecoderOptions) *Decoder {
	if o.Alloc == nil {
		o.Alloc = memory.DefaultAllocator
	}
	d := &Decoder{Batch: builders.NewBatch(o.Alloc, schema), alloc: o.Alloc, whole: o.Whole, lenient: o.Lenient, plans: map[*Schema]compiled{}}
	d.SetReader(o.Reader)
	return d
}

// SetReader changes the schema that has the defaults and aliases.
func (d *Decoder) SetReader(s *Schema) {
	clear(d.plans)
	d.plan, d.reader = nil, nil
	if s != nil {
		d.reader, _ = s.Nullable()
	}
}

// Check reports whether values of a writer's schema can be read into the columns.
func (d *Decoder) Check(writer *Schema) error {
	if d.last == writer && d.plan != nil {
		return nil
	}
	p, ok := d.plans[writer]
	if !ok {
		if len(d.plans) >= maxPlans {
			clear(d.plans)
		}
		p.plan, p.err = d.compile(writer)
		d.plans[writer] = p
	}
	if p.err != nil {
		return p.err
	}
	d.last, d.plan = writer, p.plan
	return nil
}

// Append appends the value that b starts with, and returns what is behind it. rows is 1
// if a row is there all the same when there is an error; without Lenient the decoder can
// only be released after an error in a value.
func (d *Decoder) Append(writer *Schema, b []byte) (rest []byte, rows int, err error) {
	if err := d.Check(writer); err != nil {
		return nil, 0, err
	}
	c := &d.c
	if d.lenient {
		// What can be read to its end is; so no half of a row is left in the builders.
		c.reset(b)
		if c.skip(writer); c.err != nil {
			return nil, 0, d.unreadable(c)
		}
	}
	c.reset(b)
	d.wrong = nil
	if err := run(c, d.plan.steps); err != nil {
		if c.err != nil {
			err = d.unreadable(c)
		}
		return nil, 0, err
	}
	for _, fill := range d.plan.absent {
		fill()
	}
	d.Appended()
	return b[c.at:], 1, d.wrong
}

func (d *Decoder) unreadable(c *cursor) error {
	return fmt.Errorf("it cannot be read by the schema that it is said to be of: %w", c.err)
}
