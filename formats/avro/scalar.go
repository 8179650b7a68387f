package avro

import (
	"encoding/hex"

	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/formats/builders"
)

// scalar returns what reads a value that holds no others, nil if the builder cannot
// hold it. Numbers go into wider ones, bytes and texts into each other, and a value with
// a logical type also into a column of the type that it is written as.
func scalar(w *Schema, b array.Builder) put {
	if w.Logical != "" {
		if add := logical(w, b); add != nil {
			return add
		}
	}
	switch w.Kind {
	case Boolean:
		return read(b, builders.Bool, (*cursor).boolean)
	case Int, Long:
		return read(b, builders.Int, (*cursor).long)
	case Float:
		return read(b, builders.Float, func(c *cursor) float64 { return float64(c.float()) })
	case Double:
		if _, narrow := b.(*array.Float32Builder); narrow {
			return nil
		}
		return read(b, builders.Float, (*cursor).double)
	case Bytes, String:
		return read(b, builders.Bytes, (*cursor).bytes)
	case Fixed:
		return read(b, builders.Bytes, func(c *cursor) []byte { return c.take(w.Size) })
	case Enum:
		return enum(w, b)
	default: // the others are behind the switch
	}
	return nil
}

// read puts what get reads, unless it has failed.
func read[T any](b array.Builder, into func(array.Builder) (func(T) error, bool), get func(*cursor) T) put {
	add, ok := into(b)
	if !ok {
		return nil
	}
	return func(c *cursor) error {
		v := get(c)
		if c.err != nil {
			return c.err
		}
		return add(v)
	}
}

func enum(w *Schema, b array.Builder) put {
	add, ok := builders.Bytes(b)
	if !ok {
		return nil
	}
	symbols := make([][]byte, len(w.Symbols))
	for i, s := range w.Symbols {
		symbols[i] = []byte(s)
	}
	return func(c *cursor) error {
		i := c.long()
		if c.err == nil && (i < 0 || i >= int64(len(symbols))) {
			c.fail(errSymbol)
		}
		if c.err != nil {
			return c.err
		}
		return add(symbols[i])
	}
}

// perMicro are the units of logical types, as builders.Micros has them.
var perMicro = map[string]int64{
	"time-millis": -1000, "time-micros": 1,
	"timestamp-millis": -1000, "timestamp-micros": 1, "timestamp-nanos": 1000,
	"local-timestamp-millis": -1000, "local-timestamp-micros": 1, "local-timestamp-nanos": 1000,
}

// logical reads a value as its logical type says.
func logical(w *Schema, b array.Builder) put {
	switch w.Logical {
	case "decimal":
		return read(b, func(b array.Builder) (func([]byte) error, bool) { return builders.Decimal(b, w.Scale) }, func(c *cursor) []byte {
			if w.Kind == Fixed {
				return c.take(w.Size)
			}
			return c.bytes()
		})
	case "date":
		return read(b, builders.Days, (*cursor).long)
	case "time-millis", "time-micros":
		return read(b, func(b array.Builder) (func(int64) error, bool) { return builders.TimeOfDay(b, perMicro[w.Logical]) }, (*cursor).long)
	case "uuid":
		if w.Kind == String {
			return nil
		}
		return fixedUUID(b)
	}
	return read(b, func(b array.Builder) (func(int64) error, bool) { return builders.Micros(b, perMicro[w.Logical]) }, (*cursor).long)
}

// fixedUUID puts the text of a UUID of 16 bytes; into BINARY it goes as it is.
func fixedUUID(b array.Builder) put {
	text, ok := b.(*array.StringBuilder)
	if !ok {
		return nil
	}
	return func(c *cursor) error {
		v := c.take(16)
		if c.err != nil {
			return c.err
		}
		var u [36]byte
		hex.Encode(u[:8], v[:4])
		hex.Encode(u[9:13], v[4:6])
		hex.Encode(u[14:18], v[6:8])
		hex.Encode(u[19:23], v[8:10])
		hex.Encode(u[24:], v[10:])
		u[8], u[13], u[18], u[23] = '-', '-', '-', '-'
		text.BinaryBuilder.Append(u[:])
		return nil
	}
}
