package rowpattern

// deadEnds remembers where searches without a match have been: where conditions
// look at rows alone, a later search that comes to the same place finds nothing
// there either. It keeps a pattern that rarely matches from looking at every row
// once for each row before it.
type deadEnds struct {
	first, width int
	bits         []uint64
	size         int
	trail        []int // of the search under way
}

// deadRows is how many rows a search must have looked at to be worth remembering.
const deadRows = 16

// deadBits is the largest partition, in places, that is remembered.
const deadBits = 1 << 30

func (d *deadEnds) reset(first, limit, width int) {
	d.first, d.width, d.trail = first, width, d.trail[:0]
	d.size = (limit - first) * width
	d.bits = d.bits[:0]
}

// visit reports whether a place is a dead end, and notes that it was tried.
func (d *deadEnds) visit(row, pc int) bool {
	if d.size > deadBits {
		return false
	}
	at := (row-d.first)*d.width + pc
	if len(d.bits) > 0 && d.bits[at>>6]>>(at&63)&1 != 0 {
		return true
	}
	d.trail = append(d.trail, at)
	return false
}

// forget drops the trail of a search that has matched.
func (d *deadEnds) forget() { d.trail = d.trail[:0] }

// keep makes dead ends of the trail of a search over some rows.
func (d *deadEnds) keep(rows int) {
	if rows >= deadRows || len(d.bits) > 0 {
		if len(d.bits) == 0 {
			n := (d.size + 63) >> 6
			if cap(d.bits) < n {
				d.bits = make([]uint64, n)
			}
			d.bits = d.bits[:n]
			clear(d.bits)
		}
		for _, at := range d.trail {
			d.bits[at>>6] |= 1 << (at & 63)
		}
	}
	d.trail = d.trail[:0]
}
