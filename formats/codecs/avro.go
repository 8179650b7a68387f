package codecs

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/registry"
)

// avroCodec is values of Avro, with the head of a registry or without.
type avroCodec struct {
	s       Spec
	client  *registry.Client // nil: there is none
	own     *avro.Schema     // of the option; nil if there is none
	version int              // of the reader's schema; 0 is none
	whole   string           // the only column

	parsed schemas[*avro.Schema]
	mu     struct {
		sync.Mutex
		reader *avro.Schema
	}
}

func openAvro(s Spec) (Codec, error) {
	c := &avroCodec{s: s, version: int(s.Options.Int(avro.OptReader))}
	opt := avro.OptSchema
	if s.Key {
		opt, c.version = avro.OptKeySchema, 0
	}
	var err error
	if text := s.Options.Get(opt); text != "" {
		if c.own, err = avro.Parse(text); err != nil {
			return nil, fmt.Errorf("%s: option '%s': %w", s.What, opt.Key, err)
		}
	}
	if c.client, err = openRegistry(s); err != nil {
		return nil, err
	}
	if c.version < 0 || c.version > 0 && (c.client == nil || c.own != nil) {
		return nil, batch.UserErrorf("%s: option '%s' is a version of a registry's subject, 1 or more, and not beside '%s'", s.What, avro.OptReader.Key, avro.OptSchema.Key)
	}
	if s.Schema != nil && s.Schema.NumFields() == 1 {
		c.whole = s.Schema.Field(0).Name
	}
	return c, nil
}

// openRegistry makes a client if the table names a registry.
func openRegistry(s Spec) (*registry.Client, error) {
	if !registry.Set(s.Options) {
		return nil, nil
	}
	config, err := registry.Parse(s.What, s.Options)
	if err != nil {
		return nil, err
	}
	return registry.New(config)
}

// schema returns the schema with an ID.
func (c *avroCodec) schema(ctx context.Context, id int32) (*avro.Schema, error) {
	return c.parsed.get(ctx, c.client, id, c.parse)
}

func (c *avroCodec) parse(ctx context.Context, got *registry.Schema) (*avro.Schema, error) {
	if got.Kind() != registry.Avro {
		return nil, batch.UserErrorf("schema %d is of the type %s and not of Avro", got.ID, got.Kind())
	}
	used, err := c.client.References(ctx, got)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(used))
	for i, u := range used {
		texts[i] = u.Text
	}
	s, err := avro.Parse(got.Text, texts...)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", got.ID, err)
	}
	return s, nil
}

// reader returns the schema that has defaults and aliases, nil if there is none.
func (c *avroCodec) reader(ctx context.Context) (*avro.Schema, error) {
	if c.own != nil || c.version == 0 {
		return c.own, nil
	}
	c.mu.Lock()
	s := c.mu.reader
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := c.atVersion(ctx, c.version)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.reader = s
	return s, nil
}

// atVersion is the schema of a version of the subject.
func (c *avroCodec) atVersion(ctx context.Context, version int) (*avro.Schema, error) {
	subject, err := c.s.subject(c.client.Config(), c.record())
	if err != nil {
		return nil, err
	}
	got, err := c.client.Version(ctx, subject, version)
	if err != nil {
		return nil, err
	}
	s, err := c.parse(ctx, got)
	if err != nil {
		return nil, fmt.Errorf("%s: subject %q: %w", c.s.What, subject, err)
	}
	return s, nil
}

// record is the name of the record that is written.
func (c *avroCodec) record() string {
	if c.own != nil {
		return c.own.Name
	}
	if name := c.s.Options.Get(avro.OptRecord); name != "" {
		return name
	}
	return avro.NameOf(c.s.Record)
}

func (c *avroCodec) Infer(ctx context.Context) (*arrow.Schema, error) {
	s := c.own
	if s == nil {
		if c.client == nil {
			return nil, batch.UserErrorf("%s: declare the columns, or set '%s' or 'schema-registry.url'", c.s.What, avro.OptSchema.Key)
		}
		var err error
		if s, err = c.atVersion(ctx, c.version); err != nil {
			return nil, err
		}
	}
	name := "value"
	if c.s.Key {
		name = "key"
	}
	columns, err := avro.Columns(s, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.s.What, err)
	}
	return columns, nil
}

func (c *avroCodec) NewDecoder(columns *arrow.Schema, alloc memory.Allocator) (Decoder, error) {
	d := &avroDecoder{c: c, asked: c.version == 0}
	if c.client == nil {
		if d.writer = c.own; d.writer == nil {
			var err error
			if d.writer, err = avro.SchemaFor(c.s.Schema, "row"); err != nil {
				return nil, fmt.Errorf("%s: %w", c.s.What, err)
			}
		}
	}
	d.Decoder = avro.NewDecoder(columns, avro.DecoderOptions{Reader: c.own, Whole: c.whole, Lenient: c.s.lenient(), Alloc: alloc})
	return d, nil
}

type avroDecoder struct {
	*avro.Decoder
	c      *avroCodec
	asked  bool         // for the reader's schema
	writer *avro.Schema // of all messages; nil: each names its own
	id     int32
	named  *avro.Schema // of the ID
}

// ready asks for the reader's schema before the first message.
func (d *avroDecoder) ready(ctx context.Context) error {
	if d.asked {
		return nil
	}
	reader, err := d.c.reader(ctx)
	if err == nil {
		d.SetReader(reader)
		d.asked = true
	}
	return err
}

var errBehind = errors.New("there are bytes behind the value: it is not of the schema that it is said to be of")

func (d *avroDecoder) Decode(ctx context.Context, b []byte) (rows int, err error) {
	if err := d.ready(ctx); err != nil {
		return 0, outside(err)
	}
	rows, err = d.decode(ctx, b)
	if err != nil && d.c.s.nulls() {
		if k, _ := batch.KindOf(err); k == batch.External || ctx.Err() != nil {
			return rows, err
		}
		if rows == 0 {
			d.AppendNull()
		}
		return 1, nil
	}
	return rows, err
}

// outside marks an error that is about no message, so that none is put aside for it.
func outside(err error) error {
	if k, _ := batch.KindOf(err); k == batch.External {
		return err
	}
	return batch.ExternalError(err, false)
}

func (d *avroDecoder) decode(ctx context.Context, b []byte) (rows int, err error) {
	w := d.writer
	if w == nil {
		var id int32
		if id, b, err = registry.Head(b); err != nil {
			return 0, err
		}
		if id != d.id || d.named == nil {
			if d.named, err = d.c.schema(ctx, id); err != nil {
				return 0, err
			}
			d.id = id
		}
		w = d.named
	}
	rest, rows, err := d.Append(w, b)
	if err == nil && len(rest) > 0 {
		err = errBehind
	}
	if err != nil && d.writer == nil {
		err = fmt.Errorf("%s: %w", d.c.s.schemaName(d.c.client, d.id), err)
	}
	return rows, err
}

func (c *avroCodec) NewEncoder() (Encoder, error) {
	s := c.own
	if s == nil {
		var err error
		if c.whole != "" && c.s.Key { // a key of one column is its value
			if s, err = avro.SchemaFor(c.s.Schema, "key"); err == nil {
				s, _ = s.Fields[0].Schema.Nullable()
			}
		} else {
			s, err = avro.SchemaFor(c.s.Schema, c.record())
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.s.What, err)
		}
	}
	return &avroEncoder{c: c, schema: s}, nil
}

type avroEncoder struct {
	c      *avroCodec
	schema *avro.Schema
	head   []byte // once it is registered
}

func (e *avroEncoder) Bind(ctx context.Context, rec arrow.RecordBatch) (Append, error) {
	if e.c.client != nil && e.head == nil {
		subject, err := e.c.s.subject(e.c.client.Config(), e.schema.Name)
		if err != nil {
			return nil, err
		}
		id, err := e.c.client.Register(ctx, subject, registry.Schema{Text: e.schema.Text()})
		if err != nil {
			return nil, err
		}
		e.head = registry.AppendHead(nil, id)
	}
	row, err := avro.Encode(e.schema, rec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.c.s.What, err)
	}
	return func(dst []byte, i int) ([]byte, error) { return row(append(dst, e.head...), i) }, nil
}
