package functions

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// mapLambdas lists the functions that take (key, value) -> .. over a map, and
// those that take lambdas over two collections.
func mapLambdas() []*Entry {
	return []*Entry{
		overMap("transform_keys", "A map whose keys are the results of a lambda of key and value.", "transform_keys(map(1, 'a', 2, 'b'), (k, v) -> k * 10)", "{10 -> a, 20 -> b}",
			func(mt *arrow.MapType, body arrow.DataType) arrow.DataType { return arrow.MapOf(body, mt.ItemType()) }, transformKeys),
		overMap("transform_values", "A map whose values are the results of a lambda of key and value.", "transform_values(map('a', 1, 'b', 2), (k, v) -> v * 10)", "{a -> 10, b -> 20}",
			func(mt *arrow.MapType, body arrow.DataType) arrow.DataType { return arrow.MapOf(mt.KeyType(), body) }, transformValues),
		overMap("map_filter", "The entries of a map for which a lambda of key and value is true.", "map_filter(map('a', 1, 'b', 2), (k, v) -> v > 1)", "{b -> 2}",
			func(mt *arrow.MapType, _ arrow.DataType) arrow.DataType { return mt }, filterMap),
		zipWith(),
		mapZipWith(),
	}
}

// mapLambda makes a result of a map column and the lambda's value for each entry.
type mapLambda func(kc *expr.KernelContext, v vec.ListView, es *entries, body arrow.Array, base, n int) (arrow.Array, error)

func overMap(name, doc, ex, res string, result func(mt *arrow.MapType, body arrow.DataType) arrow.DataType, f mapLambda) *Entry {
	e := special(name, name+"(map<K,V>, lambda)", doc, ex, res, func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) != 2 {
			return nil, e.mismatch(args)
		}
		mt, ok := args[0].Type().(*arrow.MapType)
		l, is := args[1].(*expr.Lambda)
		if !ok || !is || len(l.Params) != 2 {
			return nil, e.mismatch(args)
		}
		n := *e
		n.nonStrict = true
		return n.newCall(func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
			lst, err := expand(kc, args[0], n)
			if err != nil {
				return nil, err
			}
			defer lst.Release()
			v := vec.ListOf(lst)
			keys, rows, base := flat(lst, v.Keys, n)
			defer keys.Release()
			vals, _, _ := flat(lst, v.Elems, n)
			defer vals.Release()
			body, err := evalLambda(kc, 1, []arrow.Array{keys, vals}, rows)
			if err != nil {
				return nil, err
			}
			defer body.Release()
			return f(kc, v, newEntries(kc, vec.StrictMask(kc.Alloc, []expr.Vec{{Arr: lst}}, n)), body, base, n)
		}, args, result(mt, l.Body.Type())), nil
	})
	e.lambda = func(args []expr.Expr, n int) ([]arrow.DataType, error) {
		mt, ok := args[0].Type().(*arrow.MapType)
		if !ok || len(args) != 1 || n != 2 {
			return nil, fmt.Errorf("takes a map and a lambda of key and value")
		}
		return []arrow.DataType{mt.KeyType(), mt.ItemType()}, nil
	}
	return e
}

// eachEntry adds entries of a map column; f picks the positions of key and value.
func eachEntry(v vec.ListView, es *entries, keys arrow.Array, n int, f func(j int) (kp, vp int, take bool)) error {
	for i := range n {
		es.begin(i)
		if es.m.IsNull(i) {
			continue
		}
		for j := v.Start(i); j < v.End(i); j++ {
			kp, vp, take := f(j)
			if !take {
				continue
			}
			if err := es.add(0, keys, kp, vp); err != nil {
				es.release()
				return err
			}
		}
	}
	return nil
}

func transformKeys(kc *expr.KernelContext, v vec.ListView, es *entries, body arrow.Array, base, n int) (arrow.Array, error) {
	if err := eachEntry(v, es, body, n, func(j int) (int, int, bool) { return j - base, j, true }); err != nil {
		return nil, err
	}
	return es.array(kc, []expr.Vec{{Arr: body}}, []expr.Vec{{Arr: v.Elems}})
}

func transformValues(kc *expr.KernelContext, v vec.ListView, es *entries, body arrow.Array, base, n int) (arrow.Array, error) {
	if err := eachEntry(v, es, v.Keys, n, func(j int) (int, int, bool) { return j, j - base, true }); err != nil {
		return nil, err
	}
	return es.array(kc, []expr.Vec{{Arr: v.Keys}}, []expr.Vec{{Arr: body}})
}

func filterMap(kc *expr.KernelContext, v vec.ListView, es *entries, body arrow.Array, base, n int) (arrow.Array, error) {
	bits := vec.BoolBits(body)
	err := eachEntry(v, es, v.Keys, n, func(j int) (int, int, bool) { return j, j, !vec.IsNull(body, j-base) && bits.Get(j-base) })
	if err != nil {
		return nil, err
	}
	return es.array(kc, []expr.Vec{{Arr: v.Keys}}, []expr.Vec{{Arr: v.Elems}})
}

func zipWith() *Entry {
	e := special("zip_with", "zip_with(array<T>, array<U>, lambda) -> array<V>", "The results of a lambda of the elements at the same place of two arrays, NULL where one is shorter.",
		"zip_with(array(1, 2), array(10, 20), (x, y) -> x + y)", "[11, 22]", func(e *Entry, args []expr.Expr) (expr.Expr, error) {
			if len(args) != 3 || args[0].Type().ID() != arrow.LIST || args[1].Type().ID() != arrow.LIST {
				return nil, e.mismatch(args)
			}
			l, ok := args[2].(*expr.Lambda)
			if !ok || len(l.Params) != 2 {
				return nil, e.mismatch(args)
			}
			n := *e
			n.nonStrict = true
			return n.newCall(zipKernel, args, arrow.ListOf(l.Body.Type())), nil
		})
	e.lambda = func(args []expr.Expr, n int) ([]arrow.DataType, error) {
		if len(args) == 2 && n == 2 {
			a, ok1 := args[0].Type().(*arrow.ListType)
			b, ok2 := args[1].Type().(*arrow.ListType)
			if ok1 && ok2 {
				return []arrow.DataType{a.Elem(), b.Elem()}, nil
			}
		}
		return nil, fmt.Errorf("takes two arrays and a lambda of two parameters")
	}
	return e
}

func zipKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	two := args[:2]
	m := vec.StrictMask(kc.Alloc, two, n)
	buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
	a, b := vec.ListOf(args[0].Arr), vec.ListOf(args[1].Arr)
	var rows, pa, pb []int32
	for i := range n {
		off[i] = int32(len(rows))
		if m.IsNull(i) {
			continue
		}
		ra, rb := row(args[0], i), row(args[1], i)
		for j := range max(a.Len(ra), b.Len(rb)) {
			rows = append(rows, int32(i))
			pa, pb = append(pa, placeOf(a, ra, j)), append(pb, placeOf(b, rb, j))
		}
	}
	off[n] = int32(len(rows))
	body, err := lambdaOver(kc, 2, rows, []arrow.Array{a.Elems, b.Elems}, [][]int32{pa, pb})
	if err != nil {
		buf.Release()
		m.Release()
		return nil, err
	}
	return m.Nested(kc.Result, listBuffers(buf), body), nil
}

// placeOf returns the position of element j of row r, or -1 behind its end.
func placeOf(v vec.ListView, r, j int) int32 {
	if j < v.Len(r) {
		return int32(v.Start(r) + j)
	}
	return -1
}

// lambdaOver evaluates a lambda over gathered columns.
func lambdaOver(kc *expr.KernelContext, arg int, rows []int32, cols []arrow.Array, pos [][]int32) (arrow.Array, error) {
	params := make([]arrow.Array, 0, len(cols))
	defer func() { vec.ReleaseAll(params) }()
	for i, c := range cols {
		p, err := takeTyped(kc, c, pos[i])
		if err != nil {
			return nil, err
		}
		params = append(params, p)
	}
	return evalLambda(kc, arg, params, rows)
}

func mapZipWith() *Entry {
	e := special("map_zip_with", "map_zip_with(map<K,V>, map<K,U>, lambda) -> map<K,T>", "A map of the keys of two maps, and of the results of a lambda of key and both values, NULL where a map has none.",
		"map_zip_with(map('a', 1), map('a', 2, 'b', 3), (k, x, y) -> coalesce(x, 0) + y)", "{a -> 3, b -> 3}", func(e *Entry, args []expr.Expr) (expr.Expr, error) {
			if len(args) != 3 {
				return nil, e.mismatch(args)
			}
			a, b, key, err := zippedMaps(args)
			l, ok := args[2].(*expr.Lambda)
			if err != nil || !ok || len(l.Params) != 3 {
				return nil, e.mismatch(args)
			}
			n := *e
			n.nonStrict = true
			out := []expr.Expr{coerce(args[0], arrow.MapOf(key, a.ItemType())), coerce(args[1], arrow.MapOf(key, b.ItemType())), l}
			return n.newCall(mapZipKernel, out, arrow.MapOf(key, l.Body.Type())), nil
		})
	e.lambda = func(args []expr.Expr, n int) ([]arrow.DataType, error) {
		if len(args) == 2 && n == 3 {
			if a, b, key, err := zippedMaps(args); err == nil {
				return []arrow.DataType{key, a.ItemType(), b.ItemType()}, nil
			}
		}
		return nil, fmt.Errorf("takes two maps with keys of a common type and a lambda of three parameters")
	}
	return e
}

func zippedMaps(args []expr.Expr) (a, b *arrow.MapType, key arrow.DataType, err error) {
	a, ok1 := args[0].Type().(*arrow.MapType)
	b, ok2 := args[1].Type().(*arrow.MapType)
	if ok1 && ok2 {
		if key, ok := CommonType(a.KeyType(), b.KeyType()); ok {
			return a, b, key, nil
		}
	}
	return nil, nil, nil, fmt.Errorf("no two maps")
}

func mapZipKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	m := vec.StrictMask(kc.Alloc, args[:2], n)
	es := newEntries(kc, m)
	a, b := vec.ListOf(args[0].Arr), vec.ListOf(args[1].Arr)
	keys := []expr.Vec{{Arr: a.Keys}, {Arr: b.Keys}}
	var rows, pa, pb []int32
	fail := func(err error) (arrow.Array, error) {
		es.release()
		return nil, err
	}
	for i := range n {
		es.begin(i)
		if m.IsNull(i) {
			continue
		}
		ra, rb := row(args[0], i), row(args[1], i)
		for j := a.Start(ra); j < a.End(ra); j++ {
			if err := es.add(0, a.Keys, j, len(rows)); err != nil {
				return fail(err)
			}
			rows, pa, pb = append(rows, int32(i)), append(pa, int32(j)), append(pb, findKey(b, rb, a.Keys, j))
		}
		for j := b.Start(rb); j < b.End(rb); j++ {
			if findKey(a, ra, b.Keys, j) >= 0 {
				continue
			}
			if err := es.add(1, b.Keys, j, len(rows)); err != nil {
				return fail(err)
			}
			rows, pa, pb = append(rows, int32(i)), append(pa, -1), append(pb, int32(j))
		}
	}
	ks, err := gatherElems(kc.Alloc, kc.Result.(*arrow.MapType).KeyType(), keys, es.part, es.key)
	if err != nil {
		return fail(err)
	}
	defer ks.Release()
	body, err := lambdaOver(kc, 2, rows, []arrow.Array{ks, a.Elems, b.Elems}, [][]int32{every(len(rows)), pa, pb})
	if err != nil {
		return fail(err)
	}
	defer body.Release()
	for j := range es.part { // the keys now lie one behind the other
		es.part[j], es.key[j] = 0, int32(j)
	}
	return es.array(kc, []expr.Vec{{Arr: ks}}, []expr.Vec{{Arr: body}})
}
