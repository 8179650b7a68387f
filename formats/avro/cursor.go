package avro

import (
	"encoding/binary"
	"errors"
	"math"
)

// Limits on values.
const (
	maxDepth = 5000    // of values that hold each other
	maxEmpty = 1 << 16 // elements of a message that take no bytes
)

var (
	errEnd    = errors.New("it ends in the middle of a value")
	errVarint = errors.New("a number is longer than 64 bits")
	errLength = errors.New("a length is negative or goes beyond the end")
	errBranch = errors.New("the number of a union's branch is out of range")
	errBool   = errors.New("a boolean is neither 0 nor 1")
	errDepth  = errors.New("values hold each other too deep")
	errEmpty  = errors.New("there are too many elements without a byte")
	errSymbol = errors.New("the number of an enum's symbol is out of range")
)

// cursor reads the values of a message. Once it has failed it reads zeros; whoever
// loops looks at err.
type cursor struct {
	b     []byte
	at    int
	depth int
	empty int // elements so far that took no bytes
	err   error
}

func (c *cursor) reset(b []byte) { *c = cursor{b: b} }

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.at = len(c.b)
}

func (c *cursor) long() int64 {
	if c.at < len(c.b) && c.b[c.at] < 0x80 {
		u := c.b[c.at]
		c.at++
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(c.b[c.at:])
	if n <= 0 {
		if n < 0 {
			c.fail(errVarint)
		} else {
			c.fail(errEnd)
		}
		return 0
	}
	c.at += n
	return v
}

func (c *cursor) float() float32 {
	b := c.take(4)
	if b == nil {
		return 0
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b))
}

func (c *cursor) double() float64 {
	b := c.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func (c *cursor) boolean() bool {
	b := c.take(1)
	if b == nil {
		return false
	}
	if b[0] > 1 {
		c.fail(errBool)
	}
	return b[0] == 1
}

// take returns the next n bytes, nil if there are not so many.
func (c *cursor) take(n int) []byte {
	if n > len(c.b)-c.at {
		c.fail(errEnd)
		return nil
	}
	b := c.b[c.at : c.at+n : c.at+n]
	c.at += n
	return b
}

// bytes returns bytes with their length before them. They are never nil unless it fails.
func (c *cursor) bytes() []byte {
	n := c.long()
	if n < 0 || n > int64(len(c.b)-c.at) {
		c.fail(errLength)
		return nil
	}
	return c.take(int(n))
}

// branch reads which type of a union comes.
func (c *cursor) branch(n int) int {
	i := c.long()
	if i < 0 || i >= int64(n) {
		c.fail(errBranch)
		return 0
	}
	return int(i)
}

// block reads how many elements of an array or a map come next; 0 is the end. size is
// how many bytes they take, if it is told, else -1.
func (c *cursor) block(s *Schema) (n int64, size int64) {
	n, size = c.long(), -1
	if n < 0 {
		if n == math.MinInt64 {
			c.fail(errLength)
			return 0, -1
		}
		n, size = -n, c.long()
		if size < 0 || size > int64(len(c.b)-c.at) {
			c.fail(errLength)
			return 0, -1
		}
	}
	if n == 0 || c.err != nil {
		return 0, -1
	}
	least := int64(s.Items.least)
	if s.Kind == Map {
		least++ // of the key
	}
	if least == 0 {
		if n > maxEmpty || c.empty+int(n) > maxEmpty {
			c.fail(errEmpty)
			return 0, -1
		}
		c.empty += int(n)
	} else if n > int64(len(c.b)-c.at)/least {
		c.fail(errLength)
		return 0, -1
	}
	return n, size
}

// skip passes over a value, and checks what lies in it.
func (c *cursor) skip(s *Schema) {
	if s.exact && s.Kind != Boolean {
		c.take(s.least)
		return
	}
	switch s.Kind {
	case Boolean:
		c.boolean()
	case Int, Long:
		c.long()
	case Bytes, String:
		c.bytes()
	case Enum:
		if i := c.long(); i < 0 || i >= int64(len(s.Symbols)) {
			c.fail(errSymbol)
		}
	case Union:
		if i := c.branch(len(s.Branches)); c.err == nil {
			c.skip(s.Branches[i])
		}
	case Record:
		if c.deeper() {
			for i := range s.Fields {
				if c.skip(s.Fields[i].Schema); c.err != nil {
					break
				}
			}
			c.depth--
		}
	case Array, Map:
		if c.deeper() {
			c.skipBlocks(s)
			c.depth--
		}
	case Null, Float, Double, Fixed: // exact
	}
}

func (c *cursor) deeper() bool {
	if c.depth >= maxDepth {
		c.fail(errDepth)
		return false
	}
	c.depth++
	return true
}

func (c *cursor) skipBlocks(s *Schema) {
	for {
		n, size := c.block(s)
		if n == 0 {
			return
		}
		if size >= 0 {
			c.take(int(size))
			continue
		}
		for ; n > 0 && c.err == nil; n-- {
			if s.Kind == Map {
				c.bytes()
			}
			c.skip(s.Items)
		}
	}
}
