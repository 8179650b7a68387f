package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// maps lists functions that make maps of other collections and the reverse.
func maps() []*Entry {
	return []*Entry{
		special("map_concat", "map_concat(map<K,V>...) -> map<K,V>", "The entries of all maps; a key that occurs twice is an error.",
			"map_concat(map(1, 'a'), map(2, 'b'))", "{1 -> a, 2 -> b}", bindMapConcat),
		special("map_entries", "map_entries(map<K,V>) -> array<struct>", "The entries as an array of structs of key and value.",
			"map_entries(map('a', 1))", "[{a, 1}]", bindMapEntries),
		special("map_from_entries", "map_from_entries(array<struct>) -> map<K,V>", "The map of an array of structs of key and value.",
			"map_from_entries(array(struct('a', 1)))", "{a -> 1}", bindMapFromEntries),
		fn("str_to_map", "The map of a text: entries are split at the second argument, key and value at the third, both regular expressions.",
			"str_to_map('a:1,b:2')", "{a -> 1, b -> 2}", sig("string, string = ',', string = ':' -> map<string,string>", expr.Kernel(strToMap))),
	}
}

func listBuffers(off *memory.Buffer) []*memory.Buffer { return []*memory.Buffer{off} }

func castArray(kc *expr.KernelContext, arr arrow.Array, to arrow.DataType) (arrow.Array, error) {
	return cast.Array(kc, arr, to, false)
}

// entries collects the entries of a map column row by row.
type entries struct {
	m        *vec.Mask
	offB     *memory.Buffer
	off      []int32
	part     []int32
	key, val []int32
	seen     map[string]bool
	buf      []byte
}

func newEntries(kc *expr.KernelContext, m *vec.Mask) *entries {
	e := &entries{m: m, seen: map[string]bool{}}
	e.offB, e.off = vec.NewFixed[int32](kc.Alloc, m.Rows()+1)
	return e
}

// begin starts row i.
func (e *entries) begin(i int) {
	e.off[i] = int32(len(e.key))
	clear(e.seen)
}

// add adds entry kp of keys with value vp to the row begun; part says which of several columns both come from.
func (e *entries) add(part int32, keys arrow.Array, kp, vp int) error {
	if vec.IsNull(keys, kp) {
		return batch.UserErrorf("[NULL_MAP_KEY] a map's key cannot be NULL")
	}
	e.buf = vec.Encode(e.buf[:0], keys, kp)
	if e.seen[string(e.buf)] {
		return batch.UserErrorf("[DUPLICATED_MAP_KEY] a map's key occurs twice")
	}
	e.seen[string(e.buf)] = true
	e.part, e.key, e.val = append(e.part, part), append(e.key, int32(kp)), append(e.val, int32(vp))
	return nil
}

func (e *entries) release() {
	e.offB.Release()
	e.m.Release()
}

// array makes the column and consumes the entries.
func (e *entries) array(kc *expr.KernelContext, keys, vals []expr.Vec) (arrow.Array, error) {
	mt := kc.Result.(*arrow.MapType)
	e.off[e.m.Rows()] = int32(len(e.key))
	ks, err := gatherElems(kc.Alloc, mt.KeyType(), keys, e.part, e.key)
	if err != nil {
		e.release()
		return nil, err
	}
	vs, err := gatherElems(kc.Alloc, mt.ItemType(), vals, e.part, e.val)
	if err != nil {
		ks.Release()
		e.release()
		return nil, err
	}
	st := vec.NewMask(kc.Alloc, len(e.key)).Nested(mt.Elem(), nil, ks, vs)
	return e.m.Nested(mt, listBuffers(e.offB), st), nil
}

func bindMapConcat(e *Entry, args []expr.Expr) (expr.Expr, error) {
	out, dt, err := Coerce(e.Name(), args)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return Scalar("map", nil)
	}
	if dt.ID() != arrow.MAP {
		return nil, e.mismatch(args)
	}
	return e.newCall(mapConcat, out, dt), nil
}

func mapConcat(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	es := newEntries(kc, vec.StrictMask(kc.Alloc, args, n))
	views := make([]vec.ListView, len(args))
	keys, vals := make([]expr.Vec, len(args)), make([]expr.Vec, len(args))
	for k, a := range args {
		views[k] = vec.ListOf(a.Arr)
		keys[k], vals[k] = expr.Vec{Arr: views[k].Keys}, expr.Vec{Arr: views[k].Elems}
	}
	for i := range n {
		es.begin(i)
		if es.m.IsNull(i) {
			continue
		}
		for k, v := range views {
			r := row(args[k], i)
			for j := v.Start(r); j < v.End(r); j++ {
				if err := es.add(int32(k), v.Keys, j, j); err != nil {
					es.release()
					return nil, err
				}
			}
		}
	}
	return es.array(kc, keys, vals)
}

func bindMapEntries(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 1 {
		return nil, e.mismatch(args)
	}
	mt, ok := args[0].Type().(*arrow.MapType)
	if !ok {
		return nil, e.mismatch(args)
	}
	st := arrow.StructOf(arrow.Field{Name: "key", Type: mt.KeyType()}, arrow.Field{Name: "value", Type: mt.ItemType(), Nullable: true})
	return e.newCall(mapEntries, args, arrow.ListOf(st)), nil
}

func mapEntries(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	v := vec.ListOf(args[0].Arr)
	lo, hi := v.Start(0), v.End(n-1)
	buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
	for i := range off {
		off[i] = v.Off[i] - int32(lo)
	}
	ks, vs := array.NewSlice(v.Keys, int64(lo), int64(hi)), array.NewSlice(v.Elems, int64(lo), int64(hi))
	st := vec.NewMask(kc.Alloc, hi-lo).Nested(kc.Result.(*arrow.ListType).Elem(), nil, ks, vs)
	return m.Nested(kc.Result, listBuffers(buf), st), nil
}

func bindMapFromEntries(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 1 {
		return nil, e.mismatch(args)
	}
	lt, ok := args[0].Type().(*arrow.ListType)
	if !ok {
		return nil, e.mismatch(args)
	}
	st, ok := lt.Elem().(*arrow.StructType)
	if !ok || st.NumFields() != 2 {
		return nil, e.mismatch(args)
	}
	return e.newCall(mapFromEntries, args, arrow.MapOf(st.Field(0).Type, st.Field(1).Type)), nil
}

func mapFromEntries(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	es := newEntries(kc, vec.StrictMask(kc.Alloc, args, n))
	v := vec.ListOf(args[0].Arr)
	st := v.Elems.(*array.Struct)
	keys := st.Field(0)
	for i := range n {
		es.begin(i)
		if es.m.IsNull(i) {
			continue
		}
		r := row(args[0], i)
		for j := v.Start(r); j < v.End(r); j++ {
			if st.IsNull(j) { // an entry that is NULL makes the map NULL
				es.key, es.val, es.part = es.key[:es.off[i]], es.val[:es.off[i]], es.part[:es.off[i]]
				es.m.SetNull(i)
				break
			}
			if err := es.add(0, keys, j, j); err != nil {
				es.release()
				return nil, err
			}
		}
	}
	return es.array(kc, []expr.Vec{{Arr: keys}}, []expr.Vec{{Arr: st.Field(1)}})
}

func strToMap(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	defer m.Release()
	b := array.NewMapBuilderWithType(kc.Alloc, kc.Result.(*arrow.MapType))
	defer b.Release()
	kb, vb := b.KeyBuilder().(*array.StringBuilder), b.ItemBuilder().(*array.StringBuilder)
	text, d1, d2 := vec.Load[string](args[0]), vec.Load[string](args[1]), vec.Load[string](args[2])
	defer text.Release()
	defer d1.Release()
	defer d2.Release()
	var pairs, parts regexpCache
	seen := map[string]bool{}
	for i := range n {
		if m.IsNull(i) {
			b.AppendNull()
			continue
		}
		p1, err := pairs.get(d1.At(i))
		if err != nil {
			return nil, err
		}
		p2, err := parts.get(d2.At(i))
		if err != nil {
			return nil, err
		}
		b.Append(true)
		clear(seen)
		for _, pair := range p1.Split(text.At(i), -1) {
			kv := p2.Split(pair, 2)
			if seen[kv[0]] {
				return nil, batch.UserErrorf("[DUPLICATED_MAP_KEY] the map's key %s occurs twice", kv[0])
			}
			seen[kv[0]] = true
			kb.Append(kv[0])
			if len(kv) > 1 {
				vb.Append(kv[1])
			} else {
				vb.AppendNull()
			}
		}
	}
	return b.NewArray(), nil
}
