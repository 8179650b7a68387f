// Package codecs is the formats of single messages, for every connector that moves them:
// bytes of a value or a key to a row and back. Its list has them by name; what it leaves
// to the packages beside it is what each format is.
//
// A Codec is made once for a table and used by many goroutines; it keeps the schemas that
// it has asked a registry for. Of it come Decoders and Encoders, each for one goroutine.
// A Decoder appends one row for each message; of a bad one it says whether the row is
// there all the same, so that its caller can put the message aside and drop the row.
//
// Errors of kind External mean that a registry cannot be reached: they are about no
// message, which must not be put aside for it.
//
// Example:
//
//	c, err := codecs.Open("avro", codecs.Spec{Config: config, What: `table "t"`, Topic: "t", Schema: columns})
//	d, err := c.NewDecoder(columns, alloc)
//	rows, err := d.Decode(ctx, value)
package codecs
