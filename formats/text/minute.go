package text

import (
	"encoding/binary"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// minute reads timestamps of ISO 8601 in UTC. It keeps the minute of the last one, as
// neighbours in a column are mostly of one.
type minute struct {
	date, clock uint64 // its text, yyyy-MM-ddTHH:mm, in two words
	micros      int64
	known       bool
}

// minuteSize is the length of a text with seconds and without a fraction.
const minuteSize = len("yyyy-MM-ddTHH:mm:ss")

// parse reads what ParseTimestamp does.
func (m *minute) parse(b []byte) (arrow.Timestamp, error) {
	if len(b) < minuteSize {
		t, err := ParseTimestamp(b, time.UTC)
		return arrow.Timestamp(t), err
	}
	date, clock := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if m.known && m.date == date && m.clock == clock && b[16] == ':' {
		if within, ok := seconds(b[17:]); ok {
			return arrow.Timestamp(m.micros + within), nil
		}
	}
	t, err := ParseTimestamp(b, time.UTC)
	if err != nil {
		return 0, err
	}
	if b[7] == '-' && b[13] == ':' && b[16] == ':' { // each number has its two digits
		if within, ok := seconds(b[17:]); ok {
			m.date, m.clock, m.micros, m.known = date, clock, t-within, true
		}
	}
	return arrow.Timestamp(t), nil
}

// seconds reads ss, or ss.f with up to nine digits, and a Z behind it or nothing, as
// microseconds. What is written in any other way it does not know.
func seconds(b []byte) (int64, bool) {
	if n := len(b); b[n-1] == 'Z' {
		b = b[:n-1]
	}
	if len(b) < 2 {
		return 0, false
	}
	s1, s0 := b[0]-'0', b[1]-'0'
	if s1 > 5 || s0 > 9 {
		return 0, false
	}
	us := (int64(s1)*10 + int64(s0)) * secondMicros
	if len(b) == 2 {
		return us, true
	}
	if b[2] != '.' || len(b) == 3 || len(b) > 12 {
		return 0, false
	}
	unit := int64(secondMicros / 10)
	for _, c := range b[3:] {
		if c -= '0'; c > 9 {
			return 0, false
		}
		us += int64(c) * unit
		unit /= 10
	}
	return us, true
}
