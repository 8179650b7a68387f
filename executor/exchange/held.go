package exchange

// Held returns how many rows are to come and whether they lie in memory sorted
// by key group: then reading them in several parts costs no more than once.
func (c *chain) Held() (rows int64, parted bool) {
	parted = true
	for _, r := range c.readers {
		t, ok := r.(*reader)
		if !ok || t.out == nil {
			return 0, false
		}
		for _, s := range t.out.segments[t.at:] {
			if s.starts == nil || s.rec == nil {
				parted = false
				continue
			}
			rows += int64(s.starts[t.end] - s.starts[t.first])
		}
	}
	return rows, parted
}
