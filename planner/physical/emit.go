package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Emit holds back the changes of a result and puts out, key by key, what they come
// to: when the watermark passes EndKey, and before that at multiples of Every of the
// clock or when the number of rows in Count passes a multiple of Rows. A change that
// comes after the end goes out at once. Without Every and Rows nothing comes out
// before the end.
type Emit struct {
	Input    Node  // with the change column
	Keys     []int // positions; all rows have one key if there are none
	EndKey   int   // position of the key's column that tells when the result is complete, -1 if it never is
	EndShift int64 // microseconds added to it
	Clock    bool  // the end is one of the clock, not of event time
	Every    int64 // microseconds
	Rows     int64
	Count    int // position, -1 without Rows
	Operator string
}

func (*Emit) node() {}

// Schema returns the input's columns.
func (n *Emit) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns the only one.
func (n *Emit) Inputs() []Node { return []Node{n.Input} }

func (n *Emit) String() string {
	s := fmt.Sprintf("Emit %s by %v", n.Operator, n.Keys)
	if n.Every > 0 {
		s += " every " + micros(n.Every)
	}
	if n.Rows > 0 {
		s += fmt.Sprintf(" after %d rows", n.Rows)
	}
	if n.EndKey >= 0 {
		s += " at " + n.Schema().Field(n.EndKey).Name
		if n.EndShift != 0 {
			s += " + " + micros(n.EndShift)
		}
		s += byClock(n.Clock)
	}
	return s
}
