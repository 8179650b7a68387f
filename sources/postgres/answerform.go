package postgres

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/sluice-stream/sluice/batch"
)

// The first words of segments. Those of the first form say nothing of others.
const (
	answersMagic  = "SLUICEA2"
	answersMagic1 = "SLUICEA1"
)

const (
	answersPrefix = "answers-"
	answersSuffix = ".log"
)

// segmentName is a file of the log: of a term, or of the first form, which knew of none.
type segmentName struct {
	first  bool
	term   batch.Term
	number uint64
}

func (n segmentName) magic() string {
	if n.first {
		return answersMagic1
	}
	return answersMagic
}

// String returns the file's name.
func (n segmentName) String() string {
	if n.first {
		return fmt.Sprintf("%s%020d%s", answersPrefix, n.number, answersSuffix)
	}
	return fmt.Sprintf("%s%020d-%06d%s", answersPrefix, n.term, n.number, answersSuffix)
}

// parseSegment reads a file's name.
func parseSegment(name string) (segmentName, bool) {
	digits, ok := strings.CutPrefix(name, answersPrefix)
	digits, ok2 := strings.CutSuffix(digits, answersSuffix)
	if !ok || !ok2 {
		return segmentName{}, false
	}
	n := segmentName{}
	term, number, later := strings.Cut(digits, "-")
	if n.first = !later; n.first {
		number = term
	} else if _, err := fmt.Sscanf(term, "%d", &n.term); err != nil {
		return segmentName{}, false
	}
	if _, err := fmt.Sscanf(number, "%d", &n.number); err != nil {
		return segmentName{}, false
	}
	return n, n.String() == name
}

// compare orders files as they were begun.
func (n segmentName) compare(o segmentName) int {
	rank := func(n segmentName) int {
		if n.first {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(n), rank(o)), cmp.Compare(n.term, o.term), cmp.Compare(n.number, o.number))
}

// recordHead is the length and the checksum in front of a record.
const recordHead = 8

func appendRecord(dst, body []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(body, castagnoli))
	return append(dst, body...)
}

var (
	// errTorn is of a record behind which there is nothing whole.
	errTorn   = errors.New("it was being written")
	errRecord = errors.New("it is damaged")
)

// record cuts the record at a place, and tells where the next one is.
func record(data []byte, at int) (body []byte, next int, err error) {
	if len(data)-at < recordHead {
		return nil, 0, errTorn
	}
	length := int(binary.LittleEndian.Uint32(data[at:]))
	sum := binary.LittleEndian.Uint32(data[at+4:])
	at += recordHead
	switch {
	case length == 0, length > answersRecordMax, length > len(data)-at: // no record is empty: the file was longer than what was written
		return nil, 0, errTorn
	case crc32.Checksum(data[at:at+length], castagnoli) == sum:
		return data[at : at+length], at + length, nil
	case at+length == len(data):
		return nil, 0, errTorn
	}
	return nil, 0, errRecord
}

// counted is how much of a segment counts.
type counted struct {
	name string
	size int64
}

func packHead(all []counted) []byte {
	b := binary.AppendUvarint(nil, uint64(len(all)))
	for _, c := range all {
		b = binary.AppendUvarint(appendString(b, c.name), uint64(c.size))
	}
	return b
}

func unpackHead(body []byte) ([]counted, error) {
	c := &cut{b: body}
	var out []counted
	for range c.uvarint() {
		h := counted{name: c.string(), size: int64(c.uvarint())}
		if c.bad {
			return nil, errRecord
		}
		out = append(out, h)
	}
	if len(c.b) > 0 || c.bad {
		return nil, errRecord
	}
	return out, nil
}

// head reads what a segment says of others; errTorn if that is not whole.
func (a *answers) head(path string) ([]counted, error) {
	data, err := a.read(path, 0, -1)
	if err != nil {
		return nil, err
	}
	if len(data) < len(answersMagic) {
		return nil, errTorn
	}
	if string(data[:len(answersMagic)]) != answersMagic {
		return nil, batch.UserErrorf("the log of answers %s does not begin as one of this version of Sluice", path)
	}
	body, _, err := record(data, len(answersMagic))
	if err == nil {
		var out []counted
		if out, err = unpackHead(body); err == nil {
			return out, nil
		}
	}
	if errors.Is(err, errTorn) {
		return nil, errTorn
	}
	return nil, fmt.Errorf("the log of answers %s is damaged at byte %d: batches behind it cannot be run again", path, len(answersMagic))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func packAnswers(id batch.ID, all []answer) []byte {
	b := binary.AppendVarint(nil, int64(id))
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, a := range all {
		b = appendString(b, a.key)
		b = binary.AppendUvarint(b, uint64(len(a.rows)))
		for _, r := range a.rows {
			b = appendString(b, r)
		}
	}
	return b
}

var errAnswer = errors.New("what is there is no answer")

// cut reads from bytes that may be damaged.
type cut struct {
	b   []byte
	bad bool
}

func (c *cut) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, n = true, 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cut) string() string {
	n := c.uvarint()
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return ""
	}
	s := string(c.b[:n])
	c.b = c.b[n:]
	return s
}

func unpackAnswers(dst []answer, body []byte) ([]answer, error) {
	_, n := binary.Varint(body)
	if n <= 0 {
		return dst, errAnswer
	}
	c := &cut{b: body[n:]}
	for range c.uvarint() {
		a := answer{key: c.string()}
		for range c.uvarint() {
			if c.bad {
				return dst, errAnswer
			}
			a.rows = append(a.rows, c.string())
		}
		if c.bad {
			return dst, errAnswer
		}
		dst = append(dst, a)
	}
	if len(c.b) > 0 || c.bad {
		return dst, errAnswer
	}
	return dst, nil
}

// packRow writes a row's values into one text: for each its length plus one and its
// bytes, 0 for NULL.
func packRow(values [][]byte) string {
	var b []byte
	for _, v := range values {
		if v == nil {
			b = append(b, 0)
			continue
		}
		b = append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
	}
	return string(b)
}

func unpackRow(row string, dst [][]byte) ([][]byte, error) {
	c := &cut{b: []byte(row)}
	for len(c.b) > 0 {
		n := c.uvarint()
		if n == 0 {
			dst = append(dst, nil)
			continue
		}
		if n--; c.bad || n > uint64(len(c.b)) {
			return dst, errAnswer
		}
		dst = append(dst, c.b[:n:n])
		c.b = c.b[n:]
	}
	if c.bad {
		return dst, errAnswer
	}
	return dst, nil
}
