package kafka

import (
	"errors"
	"fmt"
)

// An era is one more than a leader epoch; 0 is none that is known. Each leader of a
// partition has an epoch of its own, which stands in each record batch that it took. So
// who names the epoch of the message in front of an offset is told by the broker if the
// log was cut off before it and went on under another leader, even if it has become
// longer than it was (E9 of the failure list).

func eraOf(epoch int32) int32 { return max(0, epoch+1) }

// eraBefore is the era of the message in front of an offset of the piece.
func (p piece) eraBefore(at int64) int32 {
	if at == p.to {
		return p.era
	}
	for i := range p.runs {
		if r := &p.runs[i]; r.first < at && at <= r.end {
			return r.era
		}
	}
	return 0 // in front of it is what nobody may read, such as a marker
}

// cutOff says that the log is not the one that was read: from end on it is another.
type cutOff struct{ end int64 }

func (c *cutOff) Error() string {
	return fmt.Sprintf("the log was cut off at offset %d and went on with other messages", c.end)
}

func isCutOff(err error) bool {
	var c *cutOff
	return errors.As(err, &c)
}
