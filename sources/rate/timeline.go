package rate

import (
	"math"
	"math/bits"
)

// timeline says which value is due when, in µs since the start.
type timeline struct {
	rate int64 // values a second, 1 to maxRate
	ramp int64 // µs until that rate is reached, linearly; 0 to start with it
}

// maxValue keeps the time of a value within 64 bits at one value a second.
const (
	maxValue = int64(1) << 42
	maxRate  = 1_000_000_000
)

// at is the time of a value. During the ramp n values take sqrt(2·ramp·n/rate),
// after it half the ramp is lost. Only correctly rounded operations are used, so
// that every processor finds the same.
func (l timeline) at(value int64) int64 {
	if l.ramp > 0 {
		lost := float64(l.ramp) * float64(l.rate) / 2e6 // values of the ramp
		if float64(value) < lost {
			return int64(math.Sqrt(2e6 * float64(l.ramp) * (float64(value) / float64(l.rate))))
		}
	}
	return l.ramp/2 + value*1_000_000/l.rate
}

// due is how many values have a time at or before elapsed, less the newest, whose
// place on the timeline has only begun.
func (l timeline) due(elapsed int64) int64 {
	if elapsed <= 0 {
		return 0
	}
	if elapsed < l.ramp {
		n := int64(float64(l.rate) / 2e6 * float64(elapsed) / float64(l.ramp) * float64(elapsed))
		for n > 0 && l.at(n-1) > elapsed { // R1, whatever the rounding
			n--
		}
		return min(n, maxValue)
	}
	hi, lo := bits.Mul64(uint64(elapsed-l.ramp/2), uint64(l.rate))
	if hi >= 1_000_000 {
		return maxValue
	}
	n, _ := bits.Div64(hi, lo, 1_000_000)
	if n > uint64(maxValue) {
		return maxValue
	}
	return int64(n)
}
