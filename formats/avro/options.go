package avro

import "github.com/sluice-stream/sluice/internal/options"

// The options of messages and files of Avro.
var (
	OptSchema    = options.Option{Key: "avro.schema", Kind: options.Text, Doc: "A schema as JSON. Of messages with a registry, and of files, it is the reader's: its defaults and aliases are used; without a registry messages are of it. What is written is of it, too; by default it is made of the columns."}
	OptKeySchema = options.Option{Key: "avro.key-schema", Kind: options.Text, Doc: "The same for the keys of messages."}
	OptReader    = options.Option{Key: "avro.reader-version", Kind: options.Int, Default: "0", Doc: "The version of the subject that is the reader's schema, for its defaults and aliases; 0 is none."}
	OptRecord    = options.Option{Key: "avro.record-name", Kind: options.Text, Doc: "The full name of the record that is written; by default the table's name."}
	optCodec     = options.Option{Key: "avro.codec", Kind: options.Enum, Default: "zstandard", Values: []string{"null", "deflate", "snappy", "zstandard"}, Doc: "How the blocks of a written file are compressed."}
	optMissing   = options.Option{Key: "avro.missing-columns", Kind: options.Enum, Default: "null", Values: []string{"fail", "null"}, Doc: "What a declared column reads as that a file's schema does not have, nor 'avro.schema' a default for."}
)

// MessageOptions are those of messages.
func MessageOptions() []options.Option {
	return []options.Option{OptSchema, OptKeySchema, OptReader, OptRecord}
}
