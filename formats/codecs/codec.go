package codecs

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/registry"
	"github.com/sluice-stream/sluice/internal/options"
)

// Spec is what a table says of its messages.
type Spec struct {
	formats.Config
	What   string        // the table, for errors
	Topic  string        // for the name of a subject; "" if there is none, or more than one
	Key    bool          // it is about keys and not values
	Schema *arrow.Schema // all columns that a message holds; nil if they are to be found
	Record string        // the name of a record that is written
}

// Codec reads and writes the messages of a table.
type Codec interface {
	// Infer returns the columns that messages have, where somebody knows.
	Infer(ctx context.Context) (*arrow.Schema, error)
	// NewDecoder makes rows of some of the columns, in any order.
	NewDecoder(columns *arrow.Schema, alloc memory.Allocator) (Decoder, error)
	// NewEncoder writes rows of all columns.
	NewEncoder() (Encoder, error)
}

// Decoder makes rows of messages. It is used by one goroutine.
type Decoder interface {
	// Decode appends the row of a message. rows says whether it is there, also when there
	// is an error.
	Decode(ctx context.Context, b []byte) (rows int, err error)
	// AppendNull appends a row of NULLs.
	AppendNull()
	Rows() int
	Flush() arrow.RecordBatch // the caller owns it
	Release()
}

// Append appends the message of a row. After an error dst is of no use.
type Append func(dst []byte, row int) ([]byte, error)

// Encoder makes messages of rows. It is used by one goroutine.
type Encoder interface {
	// Bind takes a batch, which must outlive the result.
	Bind(ctx context.Context, rec arrow.RecordBatch) (Append, error)
}

// format is an entry of the list.
type format struct {
	name string
	doc  string
	open func(s Spec) (Codec, error)
}

var list = []format{
	{"json", "json, an object", openJSON},
	{"csv", "csv, a record of fields in the order of the columns", openCSV},
	{"avro", "avro, a value of Avro, with 'schema-registry.url' by the schema that its head names, else by 'avro.schema'", openAvro},
	{"protobuf", "protobuf, a message of Protocol Buffers, by a registry's schema or by 'protobuf.schema'", openProtobuf},
	{"raw", "raw, the text or bytes of one column", openRaw},
}

// Names lists the formats.
func Names() []string {
	names := make([]string, len(list))
	for i, f := range list {
		names[i] = f.name
	}
	return names
}

// Doc says what each format is, for the doc of an option.
func Doc() string {
	parts := make([]string, len(list))
	for i, f := range list {
		parts[i] = f.doc
	}
	return strings.Join(parts, "; ")
}

// Options are those of the formats and of the registry. What is about files only has no
// effect on messages.
func Options() []options.Option {
	return slices.Concat(json.New().Options, csv.New().Options, avro.MessageOptions(), protobufOptions(), registry.Options())
}

// Finds reports whether a format can tell the columns of its messages.
func Finds(name string, o options.Map) bool {
	switch strings.ToLower(name) {
	case "avro":
		return registry.Set(o) || o.Get(avro.OptSchema) != ""
	case "protobuf":
		return true
	case envelopeName:
		return registry.Set(o)
	}
	return false
}

// Open checks a table's options and makes its codec. It asks nobody yet.
func Open(name string, s Spec) (Codec, error) {
	i := slices.IndexFunc(list, func(f format) bool { return f.name == strings.ToLower(name) })
	if i < 0 {
		return nil, batch.UserErrorf("%s: unknown format %q%s: want one of %s", s.What, name, options.Suggest(name, Names()), strings.Join(Names(), ", "))
	}
	return list[i].open(s)
}

// lenient reports whether a bad message is a row, or part of one, all the same.
func (s Spec) lenient() bool { return formats.Quarantines(s.Config) || s.nulls() }

// nulls reports whether what is bad is NULL, and no error.
func (s Spec) nulls() bool { return s.Options.Get(formats.BadRows) == "null" }

// subject names the subject of the schemas.
func (s Spec) subject(c registry.Config, record string) (string, error) {
	return c.Subject(s.Topic, record, s.Key)
}
