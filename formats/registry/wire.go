package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeadBytes is the length of what stands before a message: a zero and the schema's ID.
const HeadBytes = 5

// maxIndexes bounds how deep a message's type may nest in its Protobuf file.
const maxIndexes = 64

var errShort = errors.New("it is too short to name a schema: a message of a Schema Registry starts with a zero byte and a schema's ID of four bytes")

// AppendHead appends the head of a message.
func AppendHead(dst []byte, id int32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), uint32(id))
}

// Head takes the head off a message.
func Head(b []byte) (id int32, rest []byte, err error) {
	if len(b) < HeadBytes {
		return 0, nil, errShort
	}
	if b[0] != 0 {
		return 0, nil, fmt.Errorf("its first byte is %#02x and not the zero that a message of a Schema Registry starts with", b[0])
	}
	id = int32(binary.BigEndian.Uint32(b[1:]))
	if id < 0 {
		return 0, nil, fmt.Errorf("%d is no ID of a schema", id)
	}
	return id, b[HeadBytes:], nil
}

// AppendIndexes appends the place of a message's type in its Protobuf file: the number
// of the message on each level. That of the first message is one zero.
func AppendIndexes(dst []byte, at []int) []byte {
	if len(at) == 1 && at[0] == 0 {
		return append(dst, 0)
	}
	dst = binary.AppendVarint(dst, int64(len(at)))
	for _, i := range at {
		dst = binary.AppendVarint(dst, int64(i))
	}
	return dst
}

// Indexes takes the place of a message's type off a message behind its head. The place
// is written into at.
func Indexes(b []byte, at []int) (_ []int, rest []byte, err error) {
	at = at[:0]
	n, size := binary.Varint(b)
	if size <= 0 || n < 0 || n > maxIndexes {
		return nil, nil, errors.New("the place of the message's type in its file cannot be read")
	}
	b = b[size:]
	if n == 0 {
		return append(at, 0), b, nil
	}
	for range n {
		i, size := binary.Varint(b)
		if size <= 0 || i < 0 || i > 1<<16 {
			return nil, nil, errors.New("the place of the message's type in its file cannot be read")
		}
		at, b = append(at, int(i)), b[size:]
	}
	return at, b, nil
}
