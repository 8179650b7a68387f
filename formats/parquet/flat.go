package parquet

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/metadata"
)

// flatColumn reads a column that is not nested, straight from its pages into
// the buffers of an array. The rows that it holds are those of the batch in hand.
type flatColumn interface {
	// bind starts the column chunk of a row group, which has that many rows.
	bind(f *File, md *metadata.ColumnChunkMetaData, rows int64) error
	// begin makes room for a batch of at most n rows.
	begin(n int, alloc memory.Allocator)
	read(n int) error
	// pick takes, of the next n rows, those at the positions sel, which ascend.
	pick(n int, sel []int32) error
	skip(n int) error
	// sift is pick for the rows that pass t. It appends their positions to dst; a nil sel is all rows.
	sift(n int, sel []int32, t *test, dst []int32) ([]int32, error)
	held() int
	// compact keeps, of the rows held from from on, those at the positions sel.
	compact(from int, sel []int32)
	// array returns the rows held from from on; it shares their memory.
	array(from int, alloc memory.Allocator) (arrow.Array, error)
	// emit hands all rows held over and forgets them.
	emit(alloc memory.Allocator) (arrow.ArrayData, error)
	// drop forgets the rows held.
	drop()
	close()
}

// store says what the values of a column look like in a page and in memory.
type store[T any] interface {
	// plain decodes len(dst) values of the PLAIN encoding from body[at:] and returns where they end.
	plain(body []byte, at int, dst []T) (int, error)
	skip(body []byte, at, n int) (int, error)
	// reshape changes the n values of a page to others that plain reads; nil leaves them.
	reshape(body []byte, n int) ([]byte, error)
	// buffers makes the buffers of an array behind the validity where T is not what Arrow holds.
	buffers(vals []T, segs []segment, alloc memory.Allocator) ([]*memory.Buffer, error)
	// direct says that T is what Arrow holds.
	direct() bool
}

// segment says that the values from from on refer to the bytes of base.
type segment struct {
	from int
	base []byte
}

// blockRows is how many indexes are unpacked at once: they stay in the first cache.
const blockRows = 1024

type flat[T any] struct {
	n     *node
	want  arrow.DataType
	st    store[T]
	ch    chunk
	left  int64 // rows of the chunk behind the page in hand
	total int64 // rows of the chunk
	owed  int   // rows to be passed over before the next one is read
	index func() []pagePlace

	dict     []T
	hasDict  bool
	dictBody []byte // what the dictionary's values refer to
	dictPage []byte // its buffer

	// The page in hand.
	rows   int // not read yet
	loaded bool
	coded  bool // by indexes of the dictionary
	body   []byte
	at     int // in body
	idx    hybrid
	defs   []byte // levels of the whole page; nil if nothing is NULL
	row    int    // in defs
	dense  int    // values not read yet
	owned  [][]byte

	// The batch in hand.
	room    int
	buf     *memory.Buffer // of out, if T is what Arrow holds
	out     []T
	valid   *memory.Buffer // nil: no NULL yet
	nulls   int
	segs    []segment
	spare   [][]byte // pages that the batch still refers to
	scratch []T
	defBuf  []byte
}

func newFlat[T any](n *node, want arrow.DataType, st store[T]) flatColumn {
	return &flat[T]{n: n, want: want, st: st}
}

func (f *flat[T]) bind(in *File, md *metadata.ColumnChunkMetaData, rows int64) error {
	f.endPage()
	f.freeSpare()
	f.dropDictionary()
	f.rows, f.left, f.total, f.owed = 0, rows, rows, 0
	f.ch.open(in.in, md)
	f.index = sync.OnceValue(func() []pagePlace { return in.pagePlaces(md, rows) })
	return nil
}

func (f *flat[T]) dropDictionary() {
	putBuffer(f.dictPage)
	f.dict, f.hasDict, f.dictBody, f.dictPage = f.dict[:0], false, nil, nil
}

func (f *flat[T]) held() int { return len(f.out) }

func (f *flat[T]) begin(n int, alloc memory.Allocator) {
	f.room, f.nulls, f.segs = n, 0, f.segs[:0]
	if f.st.direct() {
		f.buf = newBuffer(alloc, n*sizeOf[T]())
		f.out = castTo[T](f.buf.Bytes(), n)[:0]
		return
	}
	f.out = slices.Grow(f.out[:0], n)
}

// page makes sure that there is a page with rows to read. It is not unpacked yet.
func (f *flat[T]) page() error {
	for f.rows == 0 {
		f.endPage()
		ok, err := f.ch.next()
		if err != nil {
			return err
		}
		if !ok {
			return errShort
		}
		h := &f.ch.head
		if h.kind == dictionaryPage {
			if err := f.readDictionary(); err != nil {
				return fmt.Errorf("dictionary page at byte %d: %w", f.ch.body, err)
			}
			continue
		}
		if h.values > f.left || h.kind == dataPageV2 && h.rows != 0 && h.rows != h.values {
			return fmt.Errorf("page at byte %d declares %d values in %d rows, and its row group has %d left", f.ch.body, h.values, h.rows, f.left)
		}
		f.rows, f.left = int(h.values), f.left-h.values
	}
	return nil
}

func (f *flat[T]) readDictionary() error {
	h := f.ch.head
	if f.hasDict || h.encoding != encPlain && h.encoding != encPlainDictionary {
		return fmt.Errorf("a second one, or of encoding %d", h.encoding)
	}
	page, err := f.ch.load()
	if err != nil {
		return err
	}
	n := int(h.values)
	body, err := f.plainBody(encPlain, page, n)
	if err != nil {
		return err
	}
	if n*leastBytes(f.n) > len(body) {
		return errShort // said before there is room for so many
	}
	f.dict = slices.Grow(f.dict[:0], n)[:n]
	if _, err := f.st.plain(body, 0, f.dict); err != nil {
		return err
	}
	f.hasDict, f.dictBody, f.dictPage = true, body, page
	return nil
}

// leastBytes is what a value of a dictionary takes at least.
func leastBytes(n *node) int {
	switch n.prim.PhysicalType() {
	case apq.Types.Int32, apq.Types.Float, apq.Types.ByteArray:
		return 4
	case apq.Types.Int64, apq.Types.Double:
		return 8
	case apq.Types.Int96:
		return 12
	}
	return 1
}

// plainBody brings the values of a page to the form that the store reads. The
// page's buffer goes over to the result.
func (f *flat[T]) plainBody(encoding int64, body []byte, n int) ([]byte, error) {
	out, done, err := asPlain(encoding, f.n.prim.PhysicalType(), f.n.prim.TypeLength(), body, n)
	if err != nil {
		return nil, err
	}
	if !done {
		f.owned = append(f.owned, out)
	}
	again, err := f.st.reshape(out, n)
	if err != nil || again == nil {
		return out, err
	}
	return again, nil
}

// load unpacks the page in hand.
func (f *flat[T]) load() error {
	if f.loaded {
		return nil
	}
	if err := f.unpack(); err != nil {
		return fmt.Errorf("page at byte %d: %w", f.ch.body, err)
	}
	f.loaded = true
	return nil
}

func (f *flat[T]) unpack() error {
	page, err := f.ch.load()
	if err != nil {
		return err
	}
	f.owned = append(f.owned, page)
	body, err := f.levels(page)
	if err != nil {
		return err
	}
	f.at = 0
	f.coded = f.ch.head.encoding == encDictionary || f.ch.head.encoding == encPlainDictionary
	if !f.coded {
		f.body, err = f.plainBody(f.ch.head.encoding, body, f.dense)
		return err
	}
	if f.dense == 0 {
		return nil
	}
	if !f.hasDict {
		return fmt.Errorf("it refers to a dictionary, and its column chunk has none")
	}
	if len(body) == 0 {
		return errShort
	}
	f.body = f.dictBody
	f.idx, err = newHybrid(body[1:], int(body[0]))
	return err
}

// levels reads the definition levels and returns what lies behind them.
func (f *flat[T]) levels(page []byte) (body []byte, err error) {
	h := &f.ch.head
	f.defs, f.row, f.dense = nil, 0, f.rows
	v2 := h.kind == dataPageV2
	if f.n.def == 0 {
		if v2 {
			page = page[h.defBytes+h.repBytes:]
		}
		return page, nil
	}
	var runs hybrid
	switch {
	case v2:
		runs = hybrid{width: 1, b: page[h.repBytes : h.repBytes+h.defBytes]}
		page = page[h.repBytes+h.defBytes:]
	case h.levels == encBitPacked:
		size := (f.rows + 7) / 8
		if size > len(page) {
			return nil, errRuns
		}
		runs = hybrid{width: 1, left: f.rows, bits: reversed(page[:size])}
		page = page[size:]
	default:
		if len(page) < 4 || uint64(binary.LittleEndian.Uint32(page)) > uint64(len(page)-4) {
			return nil, errRuns
		}
		size := binary.LittleEndian.Uint32(page)
		runs = hybrid{width: 1, b: page[4 : 4+size]}
		page = page[4+size:]
	}
	if err := runs.run0(); err != nil {
		return nil, err
	}
	if runs.bits == nil && runs.left >= f.rows {
		if runs.value&1 == 0 {
			f.dense = 0
			f.defs = f.levelBuffer()
		}
		return page, nil
	}
	bits := f.levelBuffer()
	ones, err := runs.bitmap(bits, f.rows)
	if err != nil {
		return nil, err
	}
	if ones < f.rows {
		f.defs, f.dense = bits, ones
	}
	return page, nil
}

// levelBuffer is a cleared bitmap for the rows of the page.
func (f *flat[T]) levelBuffer() []byte {
	size := (f.rows + 7) / 8
	f.defBuf = slices.Grow(f.defBuf[:0], size)[:size]
	clear(f.defBuf)
	return f.defBuf
}

// reversed turns the order of the bits in each byte: the old encoding of levels began at the top.
func reversed(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		c = c>>4 | c<<4
		c = c>>2&0x33 | c&0x33<<2
		out[i] = c>>1&0x55 | c&0x55<<1
	}
	return out
}

// endPage gives the page's buffers back, or keeps them for the batch.
func (f *flat[T]) endPage() {
	f.loaded, f.body = false, nil
	if !f.st.direct() && len(f.out) > 0 {
		f.spare = append(f.spare, f.owned...)
	} else {
		for _, b := range f.owned {
			putBuffer(b)
		}
	}
	clear(f.owned)
	f.owned = f.owned[:0]
}

func (f *flat[T]) freeSpare() {
	for _, b := range f.spare {
		putBuffer(b)
	}
	clear(f.spare)
	f.spare = f.spare[:0]
}

// decode reads the next len(dst) values of the page that are not NULL.
func (f *flat[T]) decode(dst []T) (err error) {
	if len(dst) > f.dense {
		return errShort
	}
	f.dense -= len(dst)
	if !f.coded {
		f.at, err = f.st.plain(f.body, f.at, dst)
		return err
	}
	var block [blockRows]uint32
	for len(dst) > 0 {
		part := block[:min(len(dst), blockRows)]
		if err := f.idx.read(part); err != nil {
			return err
		}
		if err := gather(dst[:len(part)], f.dict, part); err != nil {
			return err
		}
		dst = dst[len(part):]
	}
	return nil
}

func gather[T any](dst, dict []T, at []uint32) error {
	dst = dst[:len(at)]
	for i, x := range at {
		if uint(x) >= uint(len(dict)) {
			return fmt.Errorf("index %d of a dictionary of %d values", x, len(dict))
		}
		dst[i] = dict[x]
	}
	return nil
}

// mark says that what is appended now refers to the page in hand.
func (f *flat[T]) mark() {
	if f.st.direct() {
		return
	}
	if k := len(f.segs); k > 0 && sameBytes(f.segs[k-1].base, f.body) {
		return
	}
	f.segs = append(f.segs, segment{from: len(f.out), base: f.body})
}

func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// step finds how many of the next n rows the page in hand has.
func (f *flat[T]) step(n int) (int, error) {
	if f.owed > 0 {
		if err := f.settle(); err != nil {
			return 0, err
		}
	}
	if f.rows == 0 {
		if err := f.page(); err != nil {
			return 0, err
		}
	}
	return min(n, f.rows), nil
}

// present counts the values among the next k rows.
func (f *flat[T]) present(k int) int {
	if f.defs == nil {
		return k
	}
	return countBits(f.defs, f.row, k)
}

func (f *flat[T]) read(n int) error {
	for n > 0 {
		k, err := f.step(n)
		if err != nil {
			return err
		}
		if err := f.load(); err != nil {
			return err
		}
		f.mark()
		at := len(f.out)
		f.out = f.out[:at+k]
		if err := f.fill(f.out[at:], k); err != nil {
			return fmt.Errorf("page at byte %d: %w", f.ch.body, err)
		}
		f.noteValid(at, k)
		f.rows, f.row, n = f.rows-k, f.row+k, n-k
	}
	return nil
}

// fill decodes the next k rows with their NULLs.
func (f *flat[T]) fill(dst []T, k int) error {
	m := f.present(k)
	if err := f.decode(dst[:m]); err != nil {
		return err
	}
	if m < k {
		spreadRows(dst[:k], f.defs, f.row, m)
	}
	return nil
}

// noteValid adds the validity of the next k rows of the page for the rows held from at on.
func (f *flat[T]) noteValid(at, k int) {
	nulls := k - f.present(k)
	if nulls == 0 && f.valid == nil {
		return
	}
	bits := f.validity(at)
	if nulls == 0 {
		setBits(bits, at, k)
		return
	}
	orBits(bits, at, f.defs, f.row, k)
	f.nulls += nulls
}

// validity returns the bitmap of the batch, making it with the first NULL.
func (f *flat[T]) validity(at int) []byte {
	if f.valid == nil {
		f.valid = memory.NewResizableBuffer(memory.DefaultAllocator)
		f.valid.Resize((f.room + 7) / 8)
		clear(f.valid.Bytes())
		setBits(f.valid.Bytes(), 0, at)
	}
	return f.valid.Bytes()
}

// spreadRows moves m dense values to the rows whose bit is set, in place.
func spreadRows[T any](v []T, bits []byte, at, m int) {
	var zero T
	for i := len(v) - 1; i >= 0; i-- {
		if p := at + i; bits[p>>3]>>(p&7)&1 != 0 {
			m--
			v[i] = v[m]
		} else {
			v[i] = zero
		}
	}
}

// skip passes over rows. It is put off until a row behind them is wanted: then pages
// between are jumped over by the file's index of pages, and behind the last row that
// is wanted nothing is read at all.
func (f *flat[T]) skip(n int) error {
	f.owed += n
	return nil
}

// jumpRows is from how many rows on the index of pages is asked: reading it is a call
// of the system, too.
const jumpRows = 16 << 10

func (f *flat[T]) settle() error {
	n := f.owed
	f.owed = 0
	if n > f.rows+jumpRows {
		var err error
		if n, err = f.jump(n); err != nil {
			return err
		}
	}
	for n > 0 {
		k, err := f.step(n)
		if err != nil {
			return err
		}
		if f.loaded || k < f.rows { // else the whole page is passed over as it is
			if err := f.load(); err != nil {
				return err
			}
			if err := f.pass(f.present(k)); err != nil {
				return fmt.Errorf("page at byte %d: %w", f.ch.body, err)
			}
		}
		f.rows, f.row, n = f.rows-k, f.row+k, n-k
	}
	return nil
}

// jump goes to the page that has the n-th row from here, if the file has an index that
// knows it and it is not the next one, and returns how many rows are still to be passed.
func (f *flat[T]) jump(n int) (int, error) {
	if f.left == f.total && f.rows == 0 { // the dictionary comes before the first page
		f.ch.ahead = jumpBytes
		if err := f.page(); err != nil {
			return n, err
		}
	}
	target := f.total - f.left - int64(f.rows) + int64(n)
	places := f.index()
	i, there := slices.BinarySearchFunc(places, target, func(p pagePlace, row int64) int { return cmp.Compare(p.row, row) })
	if !there {
		i--
	}
	if i <= 0 || places[i].at <= f.ch.at || places[i].at >= f.ch.end {
		return n, nil
	}
	f.endPage()
	f.ch.jump(places[i].at)
	f.rows, f.left = 0, f.total-places[i].row
	if err := f.page(); err != nil {
		return n, err
	}
	end := f.total
	if i+1 < len(places) {
		end = places[i+1].row
	}
	if f.ch.body < places[i].at || int64(f.rows) != end-places[i].row {
		return n, fmt.Errorf("page at byte %d has %d rows, and the index of pages says %d", places[i].at, f.rows, end-places[i].row)
	}
	return int(target - places[i].row), nil
}

// pass steps over m values of the page.
func (f *flat[T]) pass(m int) (err error) {
	if m > f.dense {
		return errShort
	}
	f.dense -= m
	if f.coded {
		return f.idx.skip(m)
	}
	f.at, err = f.st.skip(f.body, f.at, m)
	return err
}

func (f *flat[T]) compact(from int, sel []int32) {
	vals := f.out[from:]
	for i, s := range sel {
		vals[i] = vals[s]
	}
	if f.valid != nil {
		moveBits(f.valid.Bytes(), from, sel, len(f.out))
		f.nulls = from + len(sel) - countBits(f.valid.Bytes(), 0, from+len(sel))
	}
	f.out = f.out[:from+len(sel)]
	for i := range f.segs {
		if s := &f.segs[i]; s.from > from {
			at, _ := slices.BinarySearch(sel, int32(s.from-from))
			s.from = from + at
		}
	}
}

// moveBits moves the bits at from+sel[i] to from+i and clears those behind, up to end.
func moveBits(b []byte, from int, sel []int32, end int) {
	for i, s := range sel {
		p, q := from+int(s), from+i
		bit := b[p>>3] >> (p & 7) & 1
		b[q>>3] = b[q>>3]&^(1<<(q&7)) | bit<<(q&7)
	}
	for p := from + len(sel); p < end; p++ {
		b[p>>3] &^= 1 << (p & 7)
	}
}

func (f *flat[T]) array(from int, alloc memory.Allocator) (arrow.Array, error) {
	n := len(f.out) - from
	nulls := 0
	if f.valid != nil {
		nulls = n - countBits(f.valid.Bytes(), from, n)
	}
	if f.st.direct() {
		d := array.NewData(f.want, n, []*memory.Buffer{f.valid, f.buf}, nil, nulls, from)
		defer d.Release()
		return array.MakeFromData(d), nil
	}
	bufs, err := f.st.buffers(f.out[from:], f.segsFrom(from), alloc)
	if err != nil {
		return nil, err
	}
	var valid *memory.Buffer
	if nulls > 0 {
		valid = newBuffer(alloc, (n+7)/8)
		clear(valid.Bytes())
		orBits(valid.Bytes(), 0, f.valid.Bytes(), from, n)
	}
	d := array.NewData(f.want, n, append([]*memory.Buffer{valid}, bufs...), nil, nulls, 0)
	defer d.Release()
	release(append(bufs, valid)...)
	return array.MakeFromData(d), nil
}

// segsFrom returns the segments of the rows held from from on, counted from there.
func (f *flat[T]) segsFrom(from int) (out []segment) {
	for i, s := range f.segs {
		if i+1 < len(f.segs) && f.segs[i+1].from <= from {
			continue
		}
		out = append(out, segment{from: max(0, s.from-from), base: s.base})
	}
	return out
}

func (f *flat[T]) emit(alloc memory.Allocator) (arrow.ArrayData, error) {
	n, nulls := len(f.out), f.nulls
	bufs := []*memory.Buffer{nil}
	if nulls > 0 {
		valid := newBuffer(alloc, (n+7)/8)
		copy(valid.Bytes(), f.valid.Bytes())
		bufs[0] = valid
	}
	switch {
	case !f.st.direct():
		vals, err := f.st.buffers(f.out, f.segs, alloc)
		if err != nil {
			release(bufs...)
			return nil, err
		}
		bufs = append(bufs, vals...)
	case n < f.room/2: // few rows do not hold on to a large buffer
		small := newBuffer(alloc, n*sizeOf[T]())
		copy(small.Bytes(), f.buf.Bytes())
		bufs = append(bufs, small)
	default:
		f.buf.ResizeNoShrink(n * sizeOf[T]())
		f.buf.Retain()
		bufs = append(bufs, f.buf)
	}
	d := array.NewData(f.want, n, bufs, nil, nulls, 0)
	release(bufs...)
	f.drop()
	return d, nil
}

func (f *flat[T]) drop() {
	release(f.valid, f.buf)
	f.valid, f.buf, f.nulls = nil, nil, 0
	if f.st.direct() {
		f.out = nil
	} else {
		f.out = f.out[:0]
	}
	clear(f.segs)
	f.segs = f.segs[:0]
	f.freeSpare()
}

func (f *flat[T]) close() {
	f.drop()
	f.endPage()
	f.dropDictionary()
	f.ch.close()
}
