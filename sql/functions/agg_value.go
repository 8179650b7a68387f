package functions

import (
	"bytes"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func valueAggregates() []*Entry {
	pick := func(names, doc, ex, res string, last bool) *Entry {
		return agg(names, doc, ex, res, asig("any, boolean = false", func(t *Types) (*expr.Aggregate, error) {
			skip, err := t.constant(1)
			if err != nil {
				return nil, err
			}
			return newPicked(t.Args[0], last, skip.Value == true), nil
		}))
	}
	by := func(name, doc, ex, res string, want int) *Entry {
		return agg(name, doc, ex, res, asig("any, any", func(t *Types) (*expr.Aggregate, error) {
			if t.Args[1].ID() == arrow.MAP {
				return nil, batch.UserErrorf("values of type %s have no order", expr.TypeName(t.Args[1]))
			}
			return newExtremeBy(t.Args[0], t.Args[1], want), nil
		}), asig("any, any, int", bestBy(want > 0)))
	}
	collect := func(names, doc, ex, res string, set bool) *Entry {
		return agg(names, doc, ex, res, asig("any", func(t *Types) (*expr.Aggregate, error) { return newCollect(t.Args[0], set), nil }))
	}
	const three = " FROM VALUES (10), (NULL), (20)"
	return []*Entry{
		pick("first|first_value", "The first row's value; of the first that is not NULL if the second argument is true.", "first(col1)"+three, "10", false),
		pick("last|last_value", "The last row's value; of the last that is not NULL if the second argument is true.", "last(col1)"+three, "20", true),
		pick("any_value", "A row's value, here the first.", "any_value(col1)"+three, "10", false),
		by("max_by", "The first argument's value where the second is greatest.", "max_by(col1, col2) FROM VALUES ('a', 1), ('b', 3), ('c', 2)", "b", 1),
		by("min_by", "The first argument's value where the second is least.", "min_by(col1, col2) FROM VALUES ('a', 1), ('b', 3), ('c', 2)", "a", -1),
		collect("collect_list|array_agg", "The values as an array, without NULLs.", "collect_list(col1)"+three, "[10, 20]", false),
		collect("collect_set", "The different values as an array, without NULLs, in order.", "collect_set(col1) FROM VALUES (2), (1), (2)", "[1, 2]", true),
		agg("string_agg|listagg", "The values joined into one string with a separator, without NULLs.", "string_agg(col1, ', ') FROM VALUES ('a'), (NULL), ('b')", "a, b",
			asig("string, string = ''", func(t *Types) (*expr.Aggregate, error) {
				sep, err := t.constant(1)
				if err != nil {
					return nil, err
				}
				return newJoined(expr.TypeString, sep.Value.(string)), nil
			}),
			asig("binary, binary = ''", func(t *Types) (*expr.Aggregate, error) {
				sep, err := t.constant(1)
				if err != nil {
					return nil, err
				}
				return newJoined(expr.TypeBinary, string(sep.Value.([]byte))), nil
			})),
		agg("mode", "The value that occurs most often; the least of them if there are several.", "mode(col1) FROM VALUES (1), (2), (2)", "2",
			asig("any, boolean = false, boolean = false", func(t *Types) (*expr.Aggregate, error) {
				desc, err := t.constant(2)
				if err != nil {
					return nil, err
				}
				return newMode(t.Args[0], desc.Value == true), nil
			})),
		bitAgg("bit_and", "The bitwise AND of all values.", "bit_and(col1) FROM VALUES (7), (6)", "6", -1, func(a, b int64) int64 { return a & b }),
		bitAgg("bit_or", "The bitwise OR of all values.", "bit_or(col1) FROM VALUES (1), (6)", "7", 0, func(a, b int64) int64 { return a | b }),
		bitAgg("bit_xor", "The bitwise XOR of all values.", "bit_xor(col1) FROM VALUES (7), (6)", "1", 0, func(a, b int64) int64 { return a ^ b }),
		agg("product", "The product of all values.", "product(col1) FROM VALUES (2), (3)", "6.0", asig("double", func(*Types) (*expr.Aggregate, error) {
			return newFold(expr.TypeDouble, 1.0, func(a, b float64) float64 { return a * b }), nil
		})),
	}
}

// picked is first or last. An empty encoding is a group without rows.
type picked struct {
	values
	last, skip bool
	key        []byte
}

func newPicked(dt arrow.DataType, last, skip bool) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{dt, expr.TypeBool}, Result: dt, EmptyNull: true, IgnoresDuplicates: !last}
	a.New = acc(func(alloc memory.Allocator) *picked {
		return &picked{values: values{alloc: alloc, dt: dt}, last: last, skip: skip}
	})
	return a
}

func (p *picked) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	x := args[0]
	valid := []expr.Vec{}
	if p.skip {
		valid = args[:1]
	}
	return eachRow(groups, valid, sel, n, func(g uint32, i int) error {
		p.put(g, x.Arr, row(x, i))
		return nil
	})
}

func (p *picked) put(g uint32, arr arrow.Array, i int) {
	if p.last || len(p.val[g]) == 0 {
		p.key = vec.Encode(p.key[:0], arr, i)
		p.set(g, p.key)
	}
}

func (p *picked) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (p *picked) Merge(groups []uint32, state []arrow.Array) error {
	some := vec.BoolBits(state[1])
	for k := range state[0].Len() {
		if some.Get(k) {
			p.put(group0(groups, k), state[0], k)
		}
	}
	return nil
}

func (p *picked) State(first, end int) ([]arrow.Array, error) {
	arr, err := p.array(first, end)
	if err != nil {
		return nil, err
	}
	buf := vec.NewBits(p.alloc, end-first)
	for i, v := range p.val[first:end] {
		if len(v) > 0 {
			buf.Bytes()[i>>3] |= 1 << (i & 7)
		}
	}
	return []arrow.Array{arr, vec.NewMask(p.alloc, end-first).Array(expr.TypeBool, buf)}, nil
}

func (p *picked) Final(first, end int) (arrow.Array, error) { return p.array(first, end) }

// extremeBy is max_by or min_by: a value and the encoded key it goes with.
type extremeBy struct {
	val, ord   values
	want       int
	vkey, okey []byte
}

func newExtremeBy(dt, by arrow.DataType, want int) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{dt, by}, Result: dt, EmptyNull: true, IgnoresDuplicates: true}
	a.New = acc(func(alloc memory.Allocator) *extremeBy {
		return &extremeBy{val: values{alloc: alloc, dt: dt}, ord: values{alloc: alloc, dt: by}, want: want}
	})
	return a
}

func (x *extremeBy) Resize(n int) { x.val.Resize(n); x.ord.Resize(n) }

func (x *extremeBy) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return eachRow(groups, args[1:2], sel, n, func(g uint32, i int) error {
		x.put(g, args[0].Arr, row(args[0], i), args[1].Arr, row(args[1], i))
		return nil
	})
}

func (x *extremeBy) put(g uint32, v arrow.Array, i int, by arrow.Array, j int) {
	x.okey = vec.Encode(x.okey[:0], by, j)
	if len(x.ord.val[g]) > 0 && bytes.Compare(x.okey, x.ord.val[g])*x.want <= 0 {
		return
	}
	x.vkey = vec.Encode(x.vkey[:0], v, i)
	x.ord.set(g, x.okey)
	x.val.set(g, x.vkey)
}

func (x *extremeBy) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (x *extremeBy) Merge(groups []uint32, state []arrow.Array) error {
	for k := range state[1].Len() {
		if !vec.IsNull(state[1], k) {
			x.put(group0(groups, k), state[0], k, state[1], k)
		}
	}
	return nil
}

func (x *extremeBy) State(first, end int) ([]arrow.Array, error) {
	v, err := x.val.array(first, end)
	if err != nil {
		return nil, err
	}
	o, err := x.ord.array(first, end)
	if err != nil {
		v.Release()
		return nil, err
	}
	return []arrow.Array{v, o}, nil
}

func (x *extremeBy) Final(first, end int) (arrow.Array, error) { return x.val.array(first, end) }
func (x *extremeBy) Bytes() int64                              { return x.val.Bytes() + x.ord.Bytes() }
func (x *extremeBy) Reset()                                    { x.val.Reset(); x.ord.Reset() }
func (x *extremeBy) Release()                                  { x.val.Release(); x.ord.Release() }

// collected is collect_list or collect_set: the values of a group one after another, encoded.
type collected struct {
	alloc memory.Allocator
	dt    arrow.DataType
	set   bool
	list  [][]byte
	sets  []map[string]struct{}
	bytes int64
	key   []byte
}

func newCollect(dt arrow.DataType, set bool) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{arrow.ListOf(dt)}, Result: arrow.ListOf(dt), IgnoresDuplicates: set}
	a.New = acc(func(alloc memory.Allocator) *collected { return &collected{alloc: alloc, dt: dt, set: set} })
	return a
}

func (c *collected) Resize(n int) {
	if c.set {
		c.sets = grow(c.sets, n)
	} else {
		c.list = grow(c.list, n)
	}
}

func (c *collected) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		c.put(g, args[0].Arr, row(args[0], i))
		return nil
	})
}

func (c *collected) put(g uint32, arr arrow.Array, i int) {
	if !c.set {
		old := cap(c.list[g])
		c.list[g] = vec.Encode(c.list[g], arr, i)
		c.bytes += int64(cap(c.list[g]) - old)
		return
	}
	if c.sets[g] == nil {
		c.sets[g] = map[string]struct{}{}
	}
	c.key = vec.Encode(c.key[:0], arr, i)
	if _, ok := c.sets[g][string(c.key)]; !ok {
		c.sets[g][string(c.key)] = struct{}{}
		c.bytes += int64(len(c.key)) + 48
	}
}

func (c *collected) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (c *collected) Merge(groups []uint32, state []arrow.Array) error {
	v := vec.ListOf(state[0])
	for k := range state[0].Len() {
		for j := v.Start(k); j < v.End(k); j++ {
			c.put(group0(groups, k), v.Elems, j)
		}
	}
	return nil
}

func (c *collected) State(first, end int) ([]arrow.Array, error) {
	arr, err := c.Final(first, end)
	return []arrow.Array{arr}, err
}

func (c *collected) Final(first, end int) (arrow.Array, error) {
	b := array.NewListBuilder(c.alloc, c.dt)
	defer b.Release()
	for g := first; g < end; g++ {
		b.Append(true)
		if c.set {
			for _, k := range sortedKeys(c.sets[g]) {
				if _, err := vec.Decoded(b.ValueBuilder(), []byte(k)); err != nil {
					return nil, err
				}
			}
			continue
		}
		for src := c.list[g]; len(src) > 0; {
			var err error
			if src, err = vec.Decoded(b.ValueBuilder(), src); err != nil {
				return nil, err
			}
		}
	}
	return b.NewListArray(), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (c *collected) Bytes() int64 { return c.bytes + int64(cap(c.list))*24 + int64(cap(c.sets))*8 }

func (c *collected) Reset() {
	clear(c.list)
	clear(c.sets)
	c.list, c.sets, c.bytes = c.list[:0], c.sets[:0], 0
}

func (c *collected) Release() { c.list, c.sets, c.bytes = nil, nil, 0 }

// joined is string_agg.
type joined struct {
	alloc memory.Allocator
	dt    arrow.DataType // STRING or BINARY
	sep   string
	buf   [][]byte
	some  []bool
	bytes int64
}

func newJoined(dt arrow.DataType, sep string) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{dt}, Result: dt, EmptyNull: true}
	a.New = acc(func(alloc memory.Allocator) *joined { return &joined{alloc: alloc, dt: dt, sep: sep} })
	return a
}

func (j *joined) Resize(n int) { j.buf, j.some = grow(j.buf, n), grow(j.some, n) }

func (j *joined) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	s := vec.StringsOf(args[0].Arr)
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		j.put(g, s.At(row(args[0], i)))
		return nil
	})
}

func (j *joined) put(g uint32, s []byte) {
	old := cap(j.buf[g])
	if j.some[g] {
		j.buf[g] = append(j.buf[g], j.sep...)
	}
	j.buf[g], j.some[g] = append(j.buf[g], s...), true
	j.bytes += int64(cap(j.buf[g]) - old)
}

func (j *joined) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (j *joined) Merge(groups []uint32, state []arrow.Array) error {
	s := vec.StringsOf(state[0])
	for k := range state[0].Len() {
		if state[0].IsValid(k) {
			j.put(group0(groups, k), s.At(k))
		}
	}
	return nil
}

func (j *joined) State(first, end int) ([]arrow.Array, error) {
	arr, err := j.Final(first, end)
	return []arrow.Array{arr}, err
}

func (j *joined) Final(first, end int) (arrow.Array, error) {
	m := vec.NewMask(j.alloc, end-first)
	o := vec.NewStrOut(j.alloc, end-first)
	for i, b := range j.buf[first:end] {
		if !j.some[first+i] {
			m.SetNull(i)
		}
		o.End(append(o.Begin(), b...))
	}
	return o.Array(j.dt, m)
}

func (j *joined) Bytes() int64 { return j.bytes + int64(cap(j.buf))*25 }

func (j *joined) Reset() {
	clear(j.buf)
	j.buf, j.some, j.bytes = j.buf[:0], j.some[:0], 0
}

func (j *joined) Release() { j.buf, j.some, j.bytes = nil, nil, 0 }
