package executor

import "testing"

// TestSlotsKeepTheirSize: a table as large as batches need it is not made anew for each,
// however often it is emptied between two, and one that is far too large goes.
func TestSlotsKeepTheirSize(t *testing.T) {
	var s slots
	s.reset()
	fill := func(n int) {
		s.reserve(n)
		for i := range n {
			s.place(uint64(i)*0x9e3779b97f4a7c15<<32 | uint64(i+1))
			s.used++
		}
	}
	const large = 100_000
	fill(large)
	size := len(s.table)
	for range 3 {
		s.reset()
	}
	if len(s.table) != size {
		t.Errorf("%d slots after it was emptied again, %d before", len(s.table), size)
	}
	for i, slot := range s.table {
		if slot != 0 {
			t.Fatalf("slot %d is not empty", i)
		}
	}
	fill(10)
	s.reset()
	if len(s.table) != minSlots {
		t.Errorf("%d slots after a batch of 10 entries", len(s.table))
	}
}
