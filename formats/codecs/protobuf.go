package codecs

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/protobuf"
	"github.com/sluice-stream/sluice/formats/registry"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	optProto      = options.Option{Key: "protobuf.schema", Kind: options.Text, Doc: "The text of a .proto file, for messages without a registry and for what is written; by default what is written is made of the columns."}
	optKeyProto   = options.Option{Key: "protobuf.key-schema", Kind: options.Text, Doc: "The same for the keys of messages."}
	optDescriptor = options.Option{Key: "protobuf.descriptor-file", Kind: options.Text, Doc: "Instead of 'protobuf.schema', a file that protoc has written with --descriptor_set_out and --include_imports."}
	optMessage    = options.Option{Key: "protobuf.message", Kind: options.Text, Doc: "The name of the message; by default the first of the schema."}
	optZeros      = options.Option{Key: "protobuf.default-values", Kind: options.Boolean, Default: "true", Doc: "Whether a field without presence (proto3 without optional) that is not there has its zero value, as Protocol Buffers define it, and is not NULL."}
	optEnums      = options.Option{Key: "protobuf.enum-numbers", Kind: options.Boolean, Default: "false", Doc: "Whether the numbers of enums are read into texts, and not the names."}
)

func protobufOptions() []options.Option {
	return []options.Option{optProto, optKeyProto, optDescriptor, optMessage, optZeros, optEnums}
}

// protoCodec is messages of Protocol Buffers, with the head of a registry or without.
type protoCodec struct {
	s      Spec
	client *registry.Client // nil: there is none
	own    *protobuf.Type   // of the options; nil if there is none
	text   string           // of own, if it was given as text
	name   string           // of the message
	files  schemas[*protobuf.File]
}

func openProtobuf(s Spec) (Codec, error) {
	c := &protoCodec{s: s, name: s.Options.Get(optMessage)}
	var err error
	if c.client, err = openRegistry(s); err != nil {
		return nil, err
	}
	opt, file := optProto, s.Options.Get(optDescriptor)
	if s.Key {
		opt, file, c.name = optKeyProto, "", ""
	}
	c.text = s.Options.Get(opt)
	var f *protobuf.File
	switch {
	case c.text != "" && file != "":
		return nil, batch.UserErrorf("%s: set '%s' or '%s', not both", s.What, opt.Key, optDescriptor.Key)
	case c.text != "":
		f, err = protobuf.Parse(c.text)
	case file != "":
		b, rerr := os.ReadFile(file)
		if rerr != nil {
			return nil, batch.UserErrorf("%s: option '%s': %w", s.What, optDescriptor.Key, rerr)
		}
		f, err = protobuf.ParseSet(b)
	default:
		return c, nil
	}
	if err == nil {
		c.own, err = f.Message(c.name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.What, err)
	}
	return c, nil
}

// made is the type of what is written, with the text of its schema.
func (c *protoCodec) made() (*protobuf.Type, string, error) {
	if c.own != nil {
		if c.text == "" && c.client != nil {
			return nil, "", batch.UserErrorf("%s: to write with a registry, give the schema's text in '%s'", c.s.What, optProto.Key)
		}
		return c.own, c.text, nil
	}
	name := c.name
	if name == "" {
		name = avro.NameOf(c.s.Record)
	}
	text, err := protobuf.SchemaFor(c.s.Schema, name)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.s.What, err)
	}
	f, err := protobuf.Parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.s.What, err)
	}
	t, err := f.Message("")
	return t, text, err
}

func (c *protoCodec) compile(ctx context.Context, got *registry.Schema) (*protobuf.File, error) {
	if got.Kind() != registry.Protobuf {
		return nil, batch.UserErrorf("schema %d is of the type %s and not of Protobuf", got.ID, got.Kind())
	}
	used, err := c.client.References(ctx, got)
	if err != nil {
		return nil, err
	}
	imports := make([]protobuf.Named, len(used))
	for i, u := range used {
		imports[i] = protobuf.Named(u)
	}
	f, err := protobuf.Parse(got.Text, imports...)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", got.ID, err)
	}
	return f, nil
}

func (c *protoCodec) Infer(ctx context.Context) (*arrow.Schema, error) {
	t := c.own
	if t == nil {
		if c.client == nil {
			return nil, batch.UserErrorf("%s: declare the columns, or set '%s', '%s' or 'schema-registry.url'", c.s.What, optProto.Key, optDescriptor.Key)
		}
		subject, err := c.s.subject(c.client.Config(), c.name)
		if err != nil {
			return nil, err
		}
		got, err := c.client.Version(ctx, subject, registry.Latest)
		if err != nil {
			return nil, err
		}
		f, err := c.compile(ctx, got)
		if err == nil {
			t, err = f.Message(c.name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: subject %q: %w", c.s.What, subject, err)
		}
	}
	columns, err := t.Columns()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.s.What, err)
	}
	return columns, nil
}

func (c *protoCodec) NewDecoder(columns *arrow.Schema, alloc memory.Allocator) (Decoder, error) {
	d := &protoDecoder{c: c}
	if c.client == nil {
		var err error
		if d.all, _, err = c.made(); err != nil {
			return nil, err
		}
	}
	d.Decoder = protobuf.NewDecoder(columns, protobuf.DecoderOptions{
		Lenient: c.s.lenient(), NoZeros: !c.s.Options.Bool(optZeros), EnumNumbers: c.s.Options.Bool(optEnums), Alloc: alloc,
	})
	return d, nil
}

type protoDecoder struct {
	*protobuf.Decoder
	c     *protoCodec
	all   *protobuf.Type // of all messages; nil: each names its own
	place []int          // of the type in hand
	last  struct {
		id    int32
		place []int
		t     *protobuf.Type
	}
}

func (d *protoDecoder) Decode(ctx context.Context, b []byte) (rows int, err error) {
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

func (d *protoDecoder) decode(ctx context.Context, b []byte) (rows int, err error) {
	if d.all != nil {
		return d.Append(d.all, b)
	}
	id, rest, err := registry.Head(b)
	if err != nil {
		return 0, err
	}
	if d.place, rest, err = registry.Indexes(rest, d.place); err != nil {
		return 0, err
	}
	if d.last.t == nil || d.last.id != id || !slices.Equal(d.last.place, d.place) {
		f, err := d.c.files.get(ctx, d.c.client, id, d.c.compile)
		if err != nil {
			return 0, err
		}
		if d.last.t, err = f.At(d.place); err != nil {
			return 0, fmt.Errorf("%s: %w", d.c.s.schemaName(d.c.client, id), err)
		}
		d.last.id, d.last.place = id, append(d.last.place[:0], d.place...)
	}
	rows, err = d.Append(d.last.t, rest)
	if err != nil {
		err = fmt.Errorf("%s: %w", d.c.s.schemaName(d.c.client, id), err)
	}
	return rows, err
}

// schemaName is a schema for errors, with its subject if the table tells it.
func (s Spec) schemaName(c *registry.Client, id int32) string {
	if subject, err := s.subject(c.Config(), ""); err == nil {
		return fmt.Sprintf("schema %d of subject %q", id, subject)
	}
	return fmt.Sprintf("schema %d", id)
}

func (c *protoCodec) NewEncoder() (Encoder, error) {
	t, text, err := c.made()
	if err != nil {
		return nil, err
	}
	return &protoEncoder{c: c, t: t, text: text}, nil
}

type protoEncoder struct {
	c    *protoCodec
	t    *protobuf.Type
	text string
	head []byte // once it is registered
}

func (e *protoEncoder) Bind(ctx context.Context, rec arrow.RecordBatch) (Append, error) {
	if e.c.client != nil && e.head == nil {
		subject, err := e.c.s.subject(e.c.client.Config(), e.t.Name())
		if err != nil {
			return nil, err
		}
		id, err := e.c.client.Register(ctx, subject, registry.Schema{Type: registry.Protobuf, Text: e.text})
		if err != nil {
			return nil, err
		}
		e.head = registry.AppendIndexes(registry.AppendHead(nil, id), e.t.Place())
	}
	row, err := protobuf.Encode(e.t, rec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.c.s.What, err)
	}
	return func(dst []byte, i int) ([]byte, error) { return row(append(dst, e.head...), i) }, nil
}
