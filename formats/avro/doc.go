// Package avro reads and writes values of Apache Avro straight out of and into Arrow.
//
// A Decoder compiles the schema that a value was written by together with the columns
// that are wanted into a list of steps: each field of the writer is appended to its
// column's builder, or passed over by its length. A column takes the field of its name,
// of an alias that the reader's schema gives it, or of its name in other case; without
// one it is the reader's default, or NULL. A type that the column cannot hold is told
// when the steps are made, with the field's name and both types. No value becomes a Go
// object on its way.
//
// Promotions are those of Avro (int to long, float, double; bytes and string) and those
// that lose nothing beside them: whole numbers into narrower columns and decimals where
// they fit, decimals into those of more digits, times of any unit into microseconds. A
// union takes each of its branches that the column can hold; one of several types may also
// be a STRUCT with the fields member0, member1 and so on.
//
// What it never does: believe a length, hold what does not lie in the bytes, or read
// values that hold each other too deep. The files of Avro are in format.go.
//
// Example:
//
//	d := avro.NewDecoder(columns, avro.DecoderOptions{})
//	_, rows, err := d.Append(writer, message)
package avro
