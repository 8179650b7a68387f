package functions

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// sketch is a quantile sketch after Karnin, Lang and Liberty (FOCS 2016) made
// deterministic: a full level is sorted and every second value moves up with
// twice the weight, the odd and the even ones in turn instead of by a coin. A
// compaction at level h moves any rank by at most 2^h, and two in turn nearly
// cancel, so that the error is below levels/accuracy in the worst case and far
// less in practice. Values up to the accuracy are kept exactly.
type sketch struct {
	levels [][]int64 // values as ordered integers; level h weighs 2^h
	odd    uint64    // bit h: which half level h gives up next
	count  int64
}

func (s *sketch) add(v int64, k int) {
	if len(s.levels) == 0 {
		s.levels = append(s.levels, nil)
	}
	s.levels[0] = append(s.levels[0], v)
	s.count++
	s.compact(k)
}

func (s *sketch) compact(k int) {
	for h := 0; h < len(s.levels); h++ {
		lv := s.levels[h]
		if len(lv) <= k {
			continue
		}
		if h+1 == len(s.levels) {
			s.levels = append(s.levels, nil)
		}
		slices.Sort(lv)
		keep := len(lv) & 1 // an odd one out stays at its level
		start := int(s.odd >> h & 1)
		s.odd ^= 1 << h
		for i := keep + start; i < len(lv); i += 2 {
			s.levels[h+1] = append(s.levels[h+1], lv[i])
		}
		s.levels[h] = lv[:keep]
	}
}

func (s *sketch) merge(o *sketch, k int) {
	for len(s.levels) < len(o.levels) {
		s.levels = append(s.levels, nil)
	}
	for h, lv := range o.levels {
		s.levels[h] = append(s.levels[h], lv...)
	}
	s.count += o.count
	s.compact(k)
}

type weighted struct {
	v int64
	w int64
}

// quantile returns a function from percentage to value.
func (s *sketch) quantile() func(p float64) int64 {
	var all []weighted
	total := int64(0)
	for h, lv := range s.levels {
		for _, v := range lv {
			all = append(all, weighted{v, 1 << h})
			total += 1 << h
		}
	}
	slices.SortFunc(all, func(a, b weighted) int { return cmp.Compare(a.v, b.v) })
	return func(p float64) int64 {
		rank := int64(math.Ceil(p * float64(total)))
		for _, x := range all {
			if rank -= x.w; rank <= 0 {
				return x.v
			}
		}
		return all[len(all)-1].v
	}
}

// bytes writes the sketch: version, count, parity, then each level's values.
func (s *sketch) bytes(dst []byte) []byte {
	dst = append(dst, 1)
	dst = binary.AppendUvarint(dst, uint64(s.count))
	dst = binary.AppendUvarint(dst, s.odd)
	dst = binary.AppendUvarint(dst, uint64(len(s.levels)))
	for _, lv := range s.levels {
		dst = binary.AppendUvarint(dst, uint64(len(lv)))
		for _, v := range lv {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(v))
		}
	}
	return dst
}

var errSketch = batch.UserErrorf("the state of an approximate aggregate is damaged")

func parseSketch(b []byte) (*sketch, error) {
	if len(b) == 0 || b[0] != 1 {
		return nil, errSketch
	}
	b = b[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	s := &sketch{count: int64(next()), odd: next()}
	levels := next()
	if levels > 64 {
		return nil, errSketch
	}
	for range levels {
		n := next()
		if n > uint64(len(b))/8 {
			return nil, errSketch
		}
		lv := make([]int64, n)
		for i := range lv {
			lv[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
		}
		b = b[8*n:]
		s.levels = append(s.levels, lv)
	}
	return s, nil
}

// sketches is approx_percentile.
type sketches struct {
	alloc memory.Allocator
	dt    arrow.DataType
	ps    []float64
	many  bool
	k     int
	s     []sketch
}

func newSketch(dt arrow.DataType, ps []float64, many bool, accuracy int) (*expr.Aggregate, error) {
	if !isNumeric(dt) && !isTemporal(dt) {
		return nil, batch.UserErrorf("needs numbers, dates, timestamps or intervals, not %s", expr.TypeName(dt))
	}
	a := &expr.Aggregate{State: []arrow.DataType{expr.TypeBinary}, Result: resultOf(dt, many), EmptyNull: true}
	a.New = acc(func(alloc memory.Allocator) *sketches {
		return &sketches{alloc: alloc, dt: dt, ps: ps, many: many, k: max(accuracy, 8)}
	})
	return a, nil
}

func (q *sketches) Resize(n int) { q.s = grow(q.s, n) }

// ordered maps the argument to integers of the same order, and back.
func (q *sketches) ordered(v expr.Vec) (func(i int) int64, error) {
	if isInt(q.dt) || isTemporal(q.dt) {
		ints := loadInts(q.dt)(v)
		return func(i int) int64 { return ints[i] }, nil
	}
	wide, err := cast.Array(&expr.KernelContext{Alloc: memory.DefaultAllocator}, v.Arr, expr.TypeDouble, false)
	if err != nil {
		return nil, err
	}
	f := vec.Values[float64](wide)
	return func(i int) int64 { return floatOrder(f[i]) }, nil
}

// floatOrder maps doubles to integers of the same order, NaN being greatest.
func floatOrder(f float64) int64 {
	if f != f {
		return math.MaxInt64
	}
	b := int64(math.Float64bits(f + 0))
	return b ^ int64(uint64(b>>63)>>1)
}

func floatOf(v int64) float64 {
	if v == math.MaxInt64 {
		return math.NaN()
	}
	return math.Float64frombits(uint64(v ^ int64(uint64(v>>63)>>1)))
}

func (q *sketches) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	if args[0].Arr.NullN() == args[0].Arr.Len() {
		return nil
	}
	at, err := q.ordered(args[0])
	if err != nil {
		return err
	}
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		q.s[g].add(at(row(args[0], i)), q.k)
		return nil
	})
}

func (q *sketches) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (q *sketches) Merge(groups []uint32, state []arrow.Array) error {
	b := vec.StringsOf(state[0])
	for k := range state[0].Len() {
		o, err := parseSketch(b.At(k))
		if err != nil {
			return err
		}
		q.s[group0(groups, k)].merge(o, q.k)
	}
	return nil
}

func (q *sketches) State(first, end int) ([]arrow.Array, error) {
	o := vec.NewStrOut(q.alloc, end-first)
	for g := first; g < end; g++ {
		o.End(q.s[g].bytes(o.Begin()))
	}
	arr, err := o.Array(expr.TypeBinary, vec.NewMask(q.alloc, end-first))
	return []arrow.Array{arr}, err
}

func (q *sketches) Final(first, end int) (arrow.Array, error) {
	d, _ := dec.Of(q.dt)
	return percentileResult(q.alloc, q.dt, q.ps, q.many, first, end, func(g int) func(p float64) int64 {
		if q.s[g].count == 0 {
			return nil
		}
		return q.s[g].quantile()
	}, func(b array.Builder, v int64) {
		l := &expr.Literal{Value: v, DT: q.dt}
		switch {
		case isFloat(q.dt):
			l.Value = floatOf(v)
		case isDecimal(q.dt):
			l.Value, _ = dec.FromFloat(floatOf(v), d)
		}
		if err := l.AppendTo(b); err != nil {
			b.AppendNull()
		}
	})
}

func (q *sketches) Bytes() int64 {
	n := int64(cap(q.s)) * 48
	for i := range q.s {
		for _, lv := range q.s[i].levels {
			n += int64(cap(lv)) * 8
		}
	}
	return n
}

func (q *sketches) Reset() {
	clear(q.s)
	q.s = q.s[:0]
}

func (q *sketches) Release() { q.s = nil }

// sparseMax is how many hashes a distinct counter keeps before it turns to registers.
const sparseMax = 512

// hll counts different values: exactly while there are few, then HyperLogLog.
type hll struct {
	sparse []uint64 // sorted hashes
	regs   []uint8
}

func (h *hll) add(x uint64, p uint8) {
	if h.regs != nil {
		h.register(x, p)
		return
	}
	at, found := slices.BinarySearch(h.sparse, x)
	if found {
		return
	}
	h.sparse = slices.Insert(h.sparse, at, x)
	if len(h.sparse) > sparseMax {
		h.dense(p)
	}
}

func (h *hll) dense(p uint8) {
	h.regs = make([]uint8, 1<<p)
	for _, x := range h.sparse {
		h.register(x, p)
	}
	h.sparse = nil
}

func (h *hll) register(x uint64, p uint8) {
	i := x >> (64 - p)
	h.regs[i] = max(h.regs[i], uint8(bits.LeadingZeros64(x<<p|1<<(p-1)))+1)
}

func (h *hll) merge(o *hll, p uint8) {
	for _, x := range o.sparse {
		h.add(x, p)
	}
	if o.regs == nil {
		return
	}
	if h.regs == nil {
		h.dense(p)
	}
	for i, r := range o.regs {
		h.regs[i] = max(h.regs[i], r)
	}
}

// estimate is Ertl's improved raw estimator (2017), without tables of biases.
func (h *hll) estimate(p uint8) int64 {
	if h.regs == nil {
		return int64(len(h.sparse))
	}
	m, q := float64(len(h.regs)), int(64-p)
	var hist [66]int
	for _, r := range h.regs {
		hist[r]++
	}
	z := m * tau(1-float64(hist[q+1])/m)
	for k := q; k >= 1; k-- {
		z = 0.5 * (z + float64(hist[k]))
	}
	z += m * sigma(float64(hist[0])/m)
	return int64(math.Round(m * m / (2 * math.Ln2 * z)))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += x * y
		y += y
		if z == before {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == before {
			return z / 3
		}
	}
}

// distincts is approx_count_distinct.
type distincts struct {
	alloc memory.Allocator
	p     uint8
	h     []hll
	key   []byte
}

func newDistinct(t *Types) (*expr.Aggregate, error) {
	l, err := t.constant(1)
	if err != nil {
		return nil, err
	}
	sd, _ := l.Value.(float64)
	if !(sd >= 0.001 && sd <= 0.4) {
		return nil, batch.UserErrorf("the relative error must be within 0.001..0.4")
	}
	p := uint8(min(max(math.Ceil(2*math.Log2(1.04/sd)), 4), 20))
	return &expr.Aggregate{
		State: []arrow.DataType{expr.TypeBinary}, Result: expr.TypeInt64, IgnoresDuplicates: true,
		New: acc(func(alloc memory.Allocator) *distincts { return &distincts{alloc: alloc, p: p} }),
	}, nil
}

func (d *distincts) Resize(n int) { d.h = grow(d.h, n) }

func (d *distincts) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		d.key = vec.Encode(d.key[:0], args[0].Arr, row(args[0], i))
		d.h[g].add(xxBytes(d.key, 42), d.p)
		return nil
	})
}

func (d *distincts) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (d *distincts) Merge(groups []uint32, state []arrow.Array) error {
	b := vec.StringsOf(state[0])
	for k := range state[0].Len() {
		o, err := d.parse(b.At(k))
		if err != nil {
			return err
		}
		d.h[group0(groups, k)].merge(o, d.p)
	}
	return nil
}

// parse reads a state: 1 and the hashes, or 2 and the registers.
func (d *distincts) parse(b []byte) (*hll, error) {
	switch {
	case len(b) >= 1 && b[0] == 1 && (len(b)-1)%8 == 0:
		o := &hll{}
		for b = b[1:]; len(b) > 0; b = b[8:] {
			o.sparse = append(o.sparse, binary.LittleEndian.Uint64(b))
		}
		return o, nil
	case len(b) == 1+1<<d.p && b[0] == 2 && slices.Max(b[1:]) <= 65-d.p:
		return &hll{regs: b[1:]}, nil
	}
	return nil, errSketch
}

func (d *distincts) State(first, end int) ([]arrow.Array, error) {
	o := vec.NewStrOut(d.alloc, end-first)
	for _, h := range d.h[first:end] {
		dst := o.Begin()
		if h.regs != nil {
			o.End(append(append(dst, 2), h.regs...))
			continue
		}
		dst = append(dst, 1)
		for _, x := range h.sparse {
			dst = binary.LittleEndian.AppendUint64(dst, x)
		}
		o.End(dst)
	}
	arr, err := o.Array(expr.TypeBinary, vec.NewMask(d.alloc, end-first))
	return []arrow.Array{arr}, err
}

func (d *distincts) Final(first, end int) (arrow.Array, error) {
	buf, out := vec.NewFixed[int64](d.alloc, end-first)
	for i := range out {
		out[i] = d.h[first+i].estimate(d.p)
	}
	return vec.NewMask(d.alloc, end-first).Array(expr.TypeInt64, buf), nil
}

func (d *distincts) Bytes() int64 {
	n := int64(cap(d.h)) * 48
	for i := range d.h {
		n += int64(cap(d.h[i].sparse))*8 + int64(cap(d.h[i].regs))
	}
	return n
}

func (d *distincts) Reset() {
	clear(d.h)
	d.h = d.h[:0]
}

func (d *distincts) Release() { d.h = nil }
