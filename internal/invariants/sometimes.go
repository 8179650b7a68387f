package invariants

import "sync/atomic"

// draw holds the seed and the number of calls of Sometimes, mixed into one word.
var draw atomic.Uint64

// step is the golden-ratio increment of splitmix64: an odd number whose
// multiples visit every 64-bit word before they repeat.
const step = 0x9e3779b97f4a7c15

// Seed starts the sequence of Sometimes again. The simulator calls it with the
// seed of the run.
func Seed(seed uint64) { draw.Store(seed * step) }

// Sometimes returns true in about percent of 100 calls under the tag
// `invariants`, and never without it. It makes rare paths common in tests, such
// as a flush before the buffer is full: what is allowed sometimes must be
// right at any time.
func Sometimes(percent int) bool {
	if !Enabled {
		return false
	}
	z := draw.Add(step)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	z ^= z >> 31
	return int(z%100) < percent
}
