package executor

// slots is an open-addressing table of numbered entries. A slot holds the
// entry's number plus one and 32 bits of its hash; the position comes from the
// same 32 bits, so that growing never looks at an entry again.
type slots struct {
	table []uint64
	mask  uint32
	used  int
}

const minSlots = 256

// reset empties the table. One that a large batch has blown up would cost every
// small one after it, and goes with the first of them. A table without entries says
// nothing about batches: it was reset before, and is as the next one needs it.
func (s *slots) reset() {
	if s.table == nil || s.used > 0 && len(s.table) > 1<<12 && s.used < len(s.table)/64 {
		s.table = make([]uint64, minSlots)
	} else if s.used > 0 {
		clear(s.table)
	}
	s.mask = uint32(len(s.table) - 1)
	s.used = 0
}

// reserve keeps the table at most half full with n more entries.
func (s *slots) reserve(n int) {
	size := max(len(s.table), minSlots)
	for size < 2*(s.used+n) {
		size *= 2
	}
	if size == len(s.table) {
		return
	}
	old := s.table
	s.table = make([]uint64, size)
	s.mask = uint32(size - 1)
	for _, slot := range old {
		if slot != 0 {
			s.place(slot)
		}
	}
}

// place puts a slot, of an entry that is not in the table, where it belongs.
func (s *slots) place(slot uint64) {
	at := uint32(slot>>32) & s.mask
	for s.table[at] != 0 {
		at = (at + 1) & s.mask
	}
	s.table[at] = slot
}

func (s *slots) bytes() int64 { return 8 * int64(len(s.table)) }
