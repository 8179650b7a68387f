package avro

import (
	"strconv"

	"github.com/sluice-stream/sluice/batch"
)

// Parts takes a record apart: the bytes of each of its fields, in the schema's order, for
// those who look into an envelope before they know what they want of it. They lie in b.
func Parts(s *Schema, b []byte, dst [][]byte) ([][]byte, error) {
	dst = dst[:0]
	if s.Kind != Record {
		return nil, batch.UserErrorf("it is %s and no record", s)
	}
	c := cursor{b: b}
	for i := range s.Fields {
		from := c.at
		if c.skip(s.Fields[i].Schema); c.err != nil {
			return nil, c.err
		}
		dst = append(dst, b[from:c.at:c.at])
	}
	if c.at < len(b) {
		return nil, errRest
	}
	return dst, nil
}

var errRest = batch.UserErrorf("there are bytes behind the value: it is not of the schema that it is said to be of")

// Some takes the branch of a union off a value that was checked, with its type; of any
// other value it returns the value. null says that it is null.
func Some(s *Schema, b []byte) (inner *Schema, rest []byte, null bool) {
	c := cursor{b: b}
	for s.Kind == Union {
		i := c.branch(len(s.Branches))
		if c.err != nil {
			return s, nil, true
		}
		s = s.Branches[i]
	}
	return s, b[c.at:], s.Kind == Null
}

// TextOf is the text of a value that was checked and holds no others; false for null and
// for what holds others.
func TextOf(s *Schema, b []byte) (string, bool) {
	s, b, null := Some(s, b)
	if null {
		return "", false
	}
	c := cursor{b: b}
	switch s.Kind {
	case Boolean:
		return strconv.FormatBool(c.boolean()), c.err == nil
	case Int, Long:
		return strconv.FormatInt(c.long(), 10), c.err == nil
	case Float:
		return strconv.FormatFloat(float64(c.float()), 'g', -1, 32), c.err == nil
	case Double:
		return strconv.FormatFloat(c.double(), 'g', -1, 64), c.err == nil
	case String:
		return string(c.bytes()), c.err == nil
	case Enum:
		i := c.long()
		if c.err != nil || i < 0 || i >= int64(len(s.Symbols)) {
			return "", false
		}
		return s.Symbols[i], true
	default: // the others are behind the switch
	}
	return "", false
}

// Column is the schema of a record with one field "value" of a schema: its values are
// written as those of the field are, so that a Decoder of one column reads any value and
// Encode writes any.
func Column(s *Schema) *Schema {
	r := &Schema{Kind: Record, Name: "value_of_column", Fields: []Field{{Name: "value", Schema: s}}}
	r.size()
	return r
}
