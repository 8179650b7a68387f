package rowkey

// Rows holds encoded rows back to back. It is reused from batch to batch, so
// that encoding allocates nothing once it is warm.
type Rows struct {
	Data    []byte
	Offsets []int // row i is Data[Offsets[i]:Offsets[i+1]]
}

// Len returns the number of rows.
func (r *Rows) Len() int { return max(len(r.Offsets)-1, 0) }

// Row returns row i, valid until the rows are changed.
func (r *Rows) Row(i int) []byte { return r.Data[r.Offsets[i]:r.Offsets[i+1]:r.Offsets[i+1]] }

// Reset forgets all rows and keeps the memory.
func (r *Rows) Reset() {
	r.Data = r.Data[:0]
	r.Offsets = append(r.Offsets[:0], 0)
}

// Append adds a copy of an encoded row.
func (r *Rows) Append(row []byte) {
	if len(r.Offsets) == 0 {
		r.Offsets = append(r.Offsets, 0)
	}
	r.Data = append(r.Data, row...)
	r.Offsets = append(r.Offsets, len(r.Data))
}

// List returns all rows as slices of the buffer, appended to dst.
func (r *Rows) List(dst [][]byte) [][]byte {
	for i := range r.Len() {
		dst = append(dst, r.Row(i))
	}
	return dst
}

// Bytes is the memory held.
func (r *Rows) Bytes() int64 { return int64(cap(r.Data)) + 8*int64(cap(r.Offsets)) }

// resize makes room for n rows whose lengths are in lens and sets the offsets.
func (r *Rows) resize(lens []int32) {
	r.Offsets = append(r.Offsets[:0], 0)
	total := 0
	for _, l := range lens {
		total += int(l)
		r.Offsets = append(r.Offsets, total)
	}
	if cap(r.Data) < total {
		r.Data = make([]byte, total, total+total/4)
	}
	r.Data = r.Data[:total]
}

// grow returns s with length n, its contents undefined.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
