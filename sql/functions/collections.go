package functions

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func collections() []*Entry {
	es := []*Entry{
		special("array", "array(T...) -> array<T>", "An array of the arguments.", "array(1, 2, 3)", "[1, 2, 3]", bindArray),
		special("struct|row", "struct(any...) -> struct", "A struct of the arguments, with fields col1, col2 and so on (or the columns' names).", "struct(1, 'a')", "{1, a}", bindStruct),
		special("named_struct", "named_struct(string, any, ...) -> struct", "A struct of names and values.", "named_struct('a', 1, 'b', 'x')", "{1, x}", bindNamedStruct),
		special("map", "map(K, V, ...) -> map<K,V>", "A map of keys and values.", "map('a', 1, 'b', 2)", "{a -> 1, b -> 2}", bindMap),
		fn("map_from_arrays", "A map of an array of keys and one of values.", "map_from_arrays(array('a', 'b'), array(1, 2))", "{a -> 1, b -> 2}", sig("array<K>, array<V> -> map<K,V>", expr.Kernel(mapFromArrays))),
		special("[]", "array<T>[int] -> T; map<K,V>[K] -> V", "The element of an array at an index from 0 (an error outside of it), or of a map at a key (NULL if there is none).", "array(10, 20)[1]", "20", bindSubscript),
		special("element_at", "element_at(array<T>, int) -> T; element_at(map<K,V>, K) -> V", "The element of an array at an index from 1, or from the end if negative (an error outside of it), or of a map at a key.",
			"element_at(array(10, 20), -1)", "20", bindElementAt(true)),
		special("try_element_at", "try_element_at(array<T>, int) -> T; try_element_at(map<K,V>, K) -> V", "element_at, but NULL outside of the array.", "try_element_at(array(10, 20), 5)", "NULL", bindElementAt(false)),
		special("get", "get(array<T>, int) -> T", "The element of an array at an index from 0, NULL outside of it.", "get(array(10, 20), 1)", "20", bindGet),
		fn("size|cardinality|array_size", "How many elements an array or map has.", "size(array(1, 2, 3))", "3", sig("array -> int", expr.Kernel(sizeKernel)), sig("map -> int", expr.Kernel(sizeKernel))).safe().tight(),
		fn("array_contains", "Whether an array holds a value; NULL if it does not but holds a NULL.", "array_contains(array(1, 2), 2)", "true", sig("array<T>, T -> boolean", expr.Kernel(arrayContains))).safe(),
		fn("array_position", "The place of a value in an array from 1, or 0.", "array_position(array('a', 'b'), 'b')", "2", sig("array<T>, T -> bigint", expr.Kernel(arrayPosition))).safe(),
		fn("array_min", "The least element.", "array_min(array(3, 1, NULL))", "1", sig("array<T> -> T", arrayExtreme(-1))).safe(),
		fn("array_max", "The greatest element.", "array_max(array(3, 1, NULL))", "3", sig("array<T> -> T", arrayExtreme(1))).safe(),
		elements("array_distinct", "Without repeated elements.", "array_distinct(array(1, 2, 1))", "[1, 2]", "array<T> -> array<T>", distinct),
		elements("array_compact", "Without NULLs.", "array_compact(array(1, NULL, 2))", "[1, 2]", "array<T> -> array<T>", func(v []elem, _ []elem) []elem {
			return slices.DeleteFunc(v, func(e elem) bool { return e.null })
		}),
		fn("sort_array", "Sorted upwards with NULLs first, or downwards with NULLs last.", "sort_array(array(3, NULL, 1), false)", "[3, 1, null]", sig("array<T>, boolean = true -> array<T>", expr.Kernel(sortArray))).safe(),
		elements("array_union", "The elements of either array, without repeats.", "array_union(array(1, 2), array(2, 3))", "[1, 2, 3]", "array<T>, array<T> -> array<T>", func(a, b []elem) []elem {
			return distinct(append(a, b...), nil)
		}),
		elements("array_intersect", "The elements of both arrays, without repeats.", "array_intersect(array(1, 2), array(2, 3))", "[2]", "array<T>, array<T> -> array<T>", func(a, b []elem) []elem {
			return slices.DeleteFunc(distinct(a, nil), func(e elem) bool { return !has(b, e) })
		}),
		elements("array_except", "The elements of the first array that are not in the second, without repeats.", "array_except(array(1, 2), array(2, 3))", "[1]", "array<T>, array<T> -> array<T>", func(a, b []elem) []elem {
			return slices.DeleteFunc(distinct(a, nil), func(e elem) bool { return has(b, e) })
		}),
		fn("arrays_overlap", "Whether two arrays have an element in common.", "arrays_overlap(array(1, 2), array(2, 3))", "true", sig("array<T>, array<T> -> boolean", expr.Kernel(overlap))).safe(),
		fn("slice", "A part of an array: from a position from 1 (or from the end), of a length.", "slice(array(1, 2, 3, 4), 2, 2)", "[2, 3]", sig("array<T>, int, int -> array<T>", expr.Kernel(slice))),
		fn("array_join", "The elements as one string with a separator; NULLs are left out or replaced.", "array_join(array('a', NULL, 'b'), ',')", "a,b",
			sig("array<string>, string -> string", expr.Kernel(arrayJoin)), sig("array<string>, string, string -> string", expr.Kernel(arrayJoin))).safe(),
		fn("array_repeat", "An array of a value n times.", "array_repeat('x', 2)", "[x, x]", sig("T, int -> array<T>", expr.Kernel(arrayRepeat))).lax(),
		fn("flatten", "The elements of an array of arrays.", "flatten(array(array(1), array(2, 3)))", "[1, 2, 3]", sig("array<array<T>> -> array<T>", expr.Kernel(flatten))).safe(),
		fn("sequence", "The numbers, dates or timestamps from one to another, in steps (1, or a day).", "sequence(1, 5, 2)", "[1, 3, 5]", sequenceSigs()...),
		fn("map_keys", "The keys of a map.", "map_keys(map('a', 1))", "[a]", sig("map<K,V> -> array<K>", expr.Kernel(mapKeys))).safe(),
		fn("map_values", "The values of a map.", "map_values(map('a', 1))", "[1]", sig("map<K,V> -> array<V>", expr.Kernel(mapValues))).safe(),
		fn("map_contains_key", "Whether a map has a key.", "map_contains_key(map('a', 1), 'a')", "true", sig("map<K,V>, K -> boolean", expr.Kernel(mapContainsKey))).safe(),
	}
	return slices.Concat(es, arrayEdits(), maps(), lambdas(), folds(), mapLambdas())
}

// bindArray makes an array of the common type.
func bindArray(e *Entry, args []expr.Expr) (expr.Expr, error) {
	out, dt, err := Coerce("array", args)
	if err != nil {
		return nil, err
	}
	n := *e
	n.nonStrict, n.exact, n.total = true, true, true
	if len(out) == 0 {
		return n.newCall(func(kc *expr.KernelContext, _ []expr.Vec, rows int) (arrow.Array, error) {
			return gatherLists(kc, vec.NewMask(kc.Alloc, rows), nil, dt, func(int, func(int32, int32)) error { return nil })
		}, nil, arrow.ListOf(dt)), nil
	}
	return n.newCall(func(kc *expr.KernelContext, args []expr.Vec, rows int) (arrow.Array, error) {
		rows = vec.Rows(args, rows)
		return gatherLists(kc, vec.NewMask(kc.Alloc, rows), args, dt, func(i int, add func(int32, int32)) error {
			for k, a := range args {
				add(int32(k), int32(row(a, i)))
			}
			return nil
		})
	}, out, arrow.ListOf(dt)), nil
}

// gatherLists builds a list column whose elements are rows of the given parts.
func gatherLists(kc *expr.KernelContext, m *vec.Mask, from []expr.Vec, elem arrow.DataType, f func(i int, add func(part, pos int32)) error) (arrow.Array, error) {
	n := m.Rows()
	buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
	part, pos := vec.NewPositions(kc.Alloc), vec.NewPositions(kc.Alloc)
	defer part.Release()
	defer pos.Release()
	add := func(p, r int32) {
		if len(from) > 1 {
			part.Add(p)
		}
		pos.Add(r)
	}
	var err error
	for i := 0; i < n && err == nil; i++ {
		off[i] = int32(pos.Len())
		if !m.IsNull(i) {
			err = f(i, add)
		}
	}
	if err == nil {
		err = pos.Check()
	}
	if err != nil {
		buf.Release()
		m.Release()
		return nil, err
	}
	off[n] = int32(pos.Len())
	elems, err := gatherElems(kc.Alloc, elem, from, part.Rows(), pos.Rows())
	if err != nil {
		buf.Release()
		m.Release()
		return nil, err
	}
	return m.Nested(kc.Result, []*memory.Buffer{buf}, elems), nil
}

func gatherElems(alloc memory.Allocator, elem arrow.DataType, from []expr.Vec, part, pos []int32) (arrow.Array, error) {
	switch {
	case len(pos) == 0:
		return vec.NullArray(alloc, elem, 0), nil
	case len(from) == 1:
		return vec.Take(alloc, from[0].Arr, pos)
	}
	parts := make([]vec.Part, len(from))
	for i, v := range from {
		parts[i] = vec.Part{Arr: v.Arr}
	}
	return vec.Interleave(alloc, elem, parts, part, pos)
}

// lists is gatherLists for strict functions over one array's elements.
func lists(kc *expr.KernelContext, args []expr.Vec, n int, elems []arrow.Array, f func(i int, add func(part, pos int32)) error) (arrow.Array, error) {
	n = vec.Rows(args, n)
	from := make([]expr.Vec, len(elems))
	for i, e := range elems {
		from[i] = expr.Vec{Arr: e}
	}
	return gatherLists(kc, vec.StrictMask(kc.Alloc, args, n), from, kc.Result.(*arrow.ListType).Elem(), f)
}

func fieldName(e expr.Expr, i int) string {
	switch x := e.(type) {
	case *expr.Column:
		return x.Name
	case *expr.Field:
		return x.Name
	}
	return fmt.Sprintf("col%d", i+1)
}

// bindStruct is named_struct with the names spelled out, so that the call keeps
// its type whatever becomes of the columns.
func bindStruct(_ *Entry, args []expr.Expr) (expr.Expr, error) {
	named := make([]expr.Expr, 0, 2*len(args))
	for i, a := range args {
		named = append(named, expr.Text(fieldName(a, i)), a)
	}
	return Scalar("named_struct", named)
}

func bindNamedStruct(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args)%2 != 0 {
		return nil, e.mismatch(args)
	}
	var vals []expr.Expr
	var fields []arrow.Field
	for i := 0; i < len(args); i += 2 {
		l, ok := args[i].(*expr.Literal)
		name, is := "", false
		if ok {
			name, is = l.Value.(string)
		}
		if !is {
			return nil, batch.UserErrorf("named_struct: the name of field %d must be a constant string", i/2+1)
		}
		vals = append(vals, args[i+1])
		fields = append(fields, arrow.Field{Name: name, Type: args[i+1].Type(), Nullable: true})
	}
	n := *e
	n.nonStrict, n.exact, n.total = true, true, true
	return n.newCall(structKernel, vals, arrow.StructOf(fields...)), nil
}

// structKernel makes a struct of its arguments; the names are in the type.
func structKernel(kc *expr.KernelContext, args []expr.Vec, rows int) (arrow.Array, error) {
	rows = vec.Rows(args, rows)
	kids := make([]arrow.Array, 0, len(args))
	for _, a := range args {
		kid, err := expand(kc, a, rows)
		if err != nil {
			vec.ReleaseAll(kids)
			return nil, err
		}
		kids = append(kids, kid)
	}
	return vec.NewMask(kc.Alloc, rows).Nested(kc.Result, nil, kids...), nil
}

// expand returns an argument as an owned array of n rows.
func expand(kc *expr.KernelContext, a expr.Vec, n int) (arrow.Array, error) {
	if a.Const && n != 1 {
		return vec.Expand(kc.Alloc, a.Arr, n)
	}
	a.Arr.Retain()
	return a.Arr, nil
}

func bindMap(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args)%2 != 0 {
		return nil, e.mismatch(args)
	}
	var ks, vs []expr.Expr
	for i := 0; i < len(args); i += 2 {
		ks, vs = append(ks, args[i]), append(vs, args[i+1])
	}
	k, err := Scalar("array", ks)
	if err != nil {
		return nil, err
	}
	v, err := Scalar("array", vs)
	if err != nil {
		return nil, err
	}
	return Scalar("map_from_arrays", []expr.Expr{k, v})
}

func mapFromArrays(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	kv, vv := vec.ListOf(args[0].Arr), vec.ListOf(args[1].Arr)
	buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
	var ki, vi []int32
	fail := func(err error) (arrow.Array, error) {
		buf.Release()
		m.Release()
		return nil, err
	}
	seen := map[string]bool{}
	var key []byte
	for i := range n {
		off[i] = int32(len(ki))
		if m.IsNull(i) {
			continue
		}
		a, b := row(args[0], i), row(args[1], i)
		if kv.Len(a) != vv.Len(b) {
			return fail(batch.UserErrorf("a map needs as many values as keys, not %d and %d", vv.Len(b), kv.Len(a)))
		}
		clear(seen)
		for j := range kv.Len(a) {
			at := kv.Start(a) + j
			if vec.IsNull(kv.Elems, at) {
				return fail(batch.UserErrorf("[NULL_MAP_KEY] a map's key cannot be NULL"))
			}
			key = vec.Encode(key[:0], kv.Elems, at)
			if seen[string(key)] {
				return fail(batch.UserErrorf("[DUPLICATED_MAP_KEY] a map's key occurs twice"))
			}
			seen[string(key)] = true
			ki, vi = append(ki, int32(at)), append(vi, int32(vv.Start(b)+j))
		}
	}
	off[n] = int32(len(ki))
	mt := kc.Result.(*arrow.MapType)
	ks, err := vec.Take(kc.Alloc, kv.Elems, ki)
	if err != nil {
		return fail(err)
	}
	vs, err := vec.Take(kc.Alloc, vv.Elems, vi)
	if err != nil {
		ks.Release()
		return fail(err)
	}
	entries := vec.NewMask(kc.Alloc, len(ki)).Nested(mt.Elem(), nil, ks, vs)
	return m.Nested(mt, []*memory.Buffer{buf}, entries), nil
}

func bindSubscript(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) == 2 && args[0].Type().ID() == arrow.LIST {
		return elementCall(e, args, func(i, size int64) (int64, error) {
			if i < 0 || i >= size {
				return 0, batch.UserErrorf("[INVALID_ARRAY_INDEX] there is no index %d in an array of %d elements", i, size)
			}
			return i, nil
		})
	}
	return bindElementAt(true)(e, args)
}

func bindElementAt(strict bool) func(*Entry, []expr.Expr) (expr.Expr, error) {
	return func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) != 2 {
			return nil, e.mismatch(args)
		}
		if mt, ok := args[0].Type().(*arrow.MapType); ok {
			if castCost(args[1], mt.KeyType()) >= never {
				return nil, e.mismatch(args)
			}
			return e.newCall(mapGet, []expr.Expr{args[0], coerce(args[1], mt.KeyType())}, mt.ItemType()), nil
		}
		return elementCall(e, args, func(i, size int64) (int64, error) {
			switch {
			case i == 0:
				return 0, batch.UserErrorf("[INVALID_INDEX_OF_ZERO] elements are counted from 1")
			case i > size || -i > size:
				if strict {
					return 0, batch.UserErrorf("[INVALID_ARRAY_INDEX_IN_ELEMENT_AT] there is no element %d in an array of %d", i, size)
				}
				return 0, vec.ErrNull
			case i > 0:
				return i - 1, nil
			}
			return size + i, nil
		})
	}
}

// bindGet counts from 0 and has no errors, as in Spark.
func bindGet(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	return elementCall(e, args, func(i, size int64) (int64, error) {
		if i < 0 || i >= size {
			return 0, vec.ErrNull
		}
		return i, nil
	})
}

// elementCall picks one element per row; at turns the index given into one from 0.
func elementCall(e *Entry, args []expr.Expr, at func(i, size int64) (int64, error)) (expr.Expr, error) {
	lt, ok := args[0].Type().(*arrow.ListType)
	if !ok || castCost(args[1], expr.TypeInt64) >= never {
		return nil, e.mismatch(args)
	}
	k := func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		m := vec.StrictMask(kc.Alloc, args, n)
		defer m.Release()
		v, idx := vec.ListOf(args[0].Arr), vec.Load[int64](args[1])
		pos := make([]int32, n)
		for i := range pos {
			pos[i] = -1
			if m.IsNull(i) {
				continue
			}
			r := row(args[0], i)
			j, err := at(idx.At(i), int64(v.Len(r)))
			if err == vec.ErrNull {
				continue
			}
			if err != nil {
				return nil, err
			}
			pos[i] = int32(v.Start(r) + int(j))
		}
		return vec.Take(kc.Alloc, v.Elems, pos)
	}
	return e.newCall(k, []expr.Expr{args[0], coerce(args[1], expr.TypeInt64)}, lt.Elem()), nil
}

// findKey returns the position of a map's entry with a key, or -1.
func findKey(v vec.ListView, r int, key arrow.Array, k int) int32 {
	for j := v.Start(r); j < v.End(r); j++ {
		if vec.Compare(v.Keys, j, key, k) == 0 {
			return int32(j)
		}
	}
	return -1
}

func mapGet(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	defer m.Release()
	v := vec.ListOf(args[0].Arr)
	pos := make([]int32, n)
	for i := range pos {
		pos[i] = -1
		if !m.IsNull(i) {
			pos[i] = findKey(v, row(args[0], i), args[1].Arr, row(args[1], i))
		}
	}
	return vec.Take(kc.Alloc, v.Elems, pos)
}

// perRow makes a fixed-width result from the lists of a strict function.
func perRowFixed[R vec.Value](kc *expr.KernelContext, args []expr.Vec, n int, f func(i int) (R, error)) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	w := vec.NewWriter[R](kc.Alloc, n)
	for i := range n {
		if m.IsNull(i) {
			w.Skip(i)
			continue
		}
		r, err := f(i)
		switch {
		case err == vec.ErrNull:
			m.SetNull(i)
			w.Skip(i)
		case err != nil:
			m.Release()
			w.Release()
			return nil, err
		default:
			w.Put(i, r)
		}
	}
	return w.Array(kc.Result, m)
}

func sizeKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return perRowFixed(kc, args, n, func(i int) (int32, error) { return int32(v.Len(row(args[0], i))), nil })
}

func arrayContains(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return perRowFixed(kc, args, n, func(i int) (bool, error) {
		r, null := row(args[0], i), false
		for j := v.Start(r); j < v.End(r); j++ {
			if vec.IsNull(v.Elems, j) {
				null = true
			} else if vec.Compare(v.Elems, j, args[1].Arr, row(args[1], i)) == 0 {
				return true, nil
			}
		}
		if null {
			return false, vec.ErrNull
		}
		return false, nil
	})
}

func arrayPosition(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return perRowFixed(kc, args, n, func(i int) (int64, error) {
		r := row(args[0], i)
		for j := v.Start(r); j < v.End(r); j++ {
			if !vec.IsNull(v.Elems, j) && vec.Compare(v.Elems, j, args[1].Arr, row(args[1], i)) == 0 {
				return int64(j - v.Start(r) + 1), nil
			}
		}
		return 0, nil
	})
}

func arrayExtreme(want int) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		v := vec.ListOf(args[0].Arr)
		pos := make([]int32, n)
		for i := range pos {
			pos[i] = -1
			if vec.IsNull(args[0].Arr, i) {
				continue
			}
			for j := v.Start(i); j < v.End(i); j++ {
				if !vec.IsNull(v.Elems, j) && (pos[i] < 0 || vec.Compare(v.Elems, j, v.Elems, int(pos[i]))*want > 0) {
					pos[i] = int32(j)
				}
			}
		}
		return vec.Take(kc.Alloc, v.Elems, pos)
	}
}

// elem is an element during a set operation, known by its encoding.
type elem struct {
	key       []byte
	part, pos int32
	null      bool
}

func listElems(v vec.ListView, r int, part int32) []elem {
	out := make([]elem, 0, v.Len(r))
	for j := v.Start(r); j < v.End(r); j++ {
		out = append(out, elem{key: vec.Encode(nil, v.Elems, j), part: part, pos: int32(j), null: vec.IsNull(v.Elems, j)})
	}
	return out
}

// elements makes an entry that gives some elements of its arrays in some order.
func elements(name, doc, ex, res, pattern string, f func(a, b []elem) []elem) *Entry {
	return fn(name, doc, ex, res, sig(pattern, func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		views, elems := make([]vec.ListView, len(args)), make([]arrow.Array, len(args))
		for k, a := range args {
			views[k] = vec.ListOf(a.Arr)
			elems[k] = views[k].Elems
		}
		return lists(kc, args, n, elems, func(i int, add func(part, pos int32)) error {
			var in [2][]elem
			for k := range views {
				in[k] = listElems(views[k], row(args[k], i), int32(k))
			}
			for _, e := range f(in[0], in[1]) {
				add(e.part, e.pos)
			}
			return nil
		})
	})).safe()
}

func distinct(v []elem, _ []elem) []elem {
	seen := map[string]bool{}
	return slices.DeleteFunc(v, func(e elem) bool {
		if seen[string(e.key)] {
			return true
		}
		seen[string(e.key)] = true
		return false
	})
}

func has(v []elem, e elem) bool {
	return slices.ContainsFunc(v, func(o elem) bool { return bytes.Equal(o.key, e.key) })
}

func sorted(v []elem, nullsLast, desc bool) []elem {
	slices.SortStableFunc(v, func(a, b elem) int {
		if a.null != b.null && nullsLast {
			return int(b2u(a.null)) - int(b2u(b.null))
		}
		c := bytes.Compare(a.key, b.key)
		if desc {
			return -c
		}
		return c
	})
	return v
}

func sortArray(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v, asc := vec.ListOf(args[0].Arr), vec.Load[bool](args[1])
	return lists(kc, args, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		for _, e := range sorted(listElems(v, row(args[0], i), 0), false, !asc.At(i)) {
			add(0, e.pos)
		}
		return nil
	})
}

func overlap(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	a, b := vec.ListOf(args[0].Arr), vec.ListOf(args[1].Arr)
	return perRowFixed(kc, args, n, func(i int) (bool, error) {
		x, y := listElems(a, row(args[0], i), 0), listElems(b, row(args[1], i), 1)
		null := false
		for _, e := range x {
			if e.null {
				null = true
			} else if has(y, e) {
				return true, nil
			}
		}
		null = null || slices.ContainsFunc(y, func(e elem) bool { return e.null })
		if null && len(x) > 0 && len(y) > 0 {
			return false, vec.ErrNull
		}
		return false, nil
	})
}

func slice(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v, start, size := vec.ListOf(args[0].Arr), vec.Load[int32](args[1]), vec.Load[int32](args[2])
	return lists(kc, args, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		r, at := row(args[0], i), int(start.At(i))
		if at == 0 || size.At(i) < 0 {
			return batch.UserErrorf("slice: positions are counted from 1 and the length is not negative")
		}
		if at < 0 {
			at += v.Len(r) + 1
		}
		for j := max(at, 1); j < at+int(size.At(i)) && j <= v.Len(r) && at >= 1; j++ {
			add(0, int32(v.Start(r)+j-1))
		}
		return nil
	})
}

func concatArrays(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	views, elems := make([]vec.ListView, len(args)), make([]arrow.Array, len(args))
	for k, a := range args {
		views[k] = vec.ListOf(a.Arr)
		elems[k] = views[k].Elems
	}
	return lists(kc, args, n, elems, func(i int, add func(part, pos int32)) error {
		for k, v := range views {
			r := row(args[k], i)
			for j := v.Start(r); j < v.End(r); j++ {
				add(int32(k), int32(j))
			}
		}
		return nil
	})
}

func reverseArrays(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return lists(kc, args, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		for j := v.End(i) - 1; j >= v.Start(i); j-- {
			add(0, int32(j))
		}
		return nil
	})
}

func arrayJoin(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	v := vec.ListOf(args[0].Arr)
	text := vec.StringsOf(v.Elems)
	sep := vec.Load[string](args[1])
	defer sep.Release()
	m := vec.StrictMask(kc.Alloc, args, n)
	o := vec.NewStrOut(kc.Alloc, n)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		dst, first, r := o.Begin(), true, row(args[0], i)
		for j := v.Start(r); j < v.End(r); j++ {
			null := vec.IsNull(v.Elems, j)
			if null && len(args) < 3 {
				continue
			}
			if !first {
				dst = append(dst, sep.At(i)...)
			}
			first = false
			if null {
				dst = append(dst, vec.StringsOf(args[2].Arr).At(row(args[2], i))...)
			} else {
				dst = append(dst, text.At(j)...)
			}
		}
		o.End(dst)
	}
	return o.Array(kc.Result, m)
}

// elementsMax bounds how many elements one row of a function may make.
const elementsMax = 1 << 26

func arrayRepeat(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	count := vec.Load[int32](args[1])
	m := vec.StrictMask(kc.Alloc, args[1:], n)
	return gatherLists(kc, m, args[:1], args[0].Arr.DataType(), func(i int, add func(part, pos int32)) error {
		if count.At(i) > elementsMax {
			return batch.UserErrorf("an array of %d elements is more than %d", count.At(i), elementsMax)
		}
		for range max(count.At(i), 0) {
			add(0, int32(row(args[0], i)))
		}
		return nil
	})
}

func flatten(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	outer := vec.ListOf(args[0].Arr)
	inner := vec.ListOf(outer.Elems)
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	for i := range n {
		for j := outer.Start(i); j < outer.End(i); j++ {
			if vec.IsNull(outer.Elems, j) {
				m.SetNull(i)
			}
		}
	}
	elem := kc.Result.(*arrow.ListType).Elem()
	return gatherLists(kc, m, []expr.Vec{{Arr: inner.Elems}}, elem, func(i int, add func(part, pos int32)) error {
		for j := outer.Start(i); j < outer.End(i); j++ {
			for k := inner.Start(j); k < inner.End(j); k++ {
				add(0, int32(k))
			}
		}
		return nil
	})
}

func sequence(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	defer m.Release()
	b := array.NewListBuilder(kc.Alloc, expr.TypeInt64)
	defer b.Release()
	vb := b.ValueBuilder().(*array.Int64Builder)
	from, to := vec.Load[int64](args[0]), vec.Load[int64](args[1])
	for i := range n {
		if m.IsNull(i) {
			b.AppendNull()
			continue
		}
		a, z, step := from.At(i), to.At(i), int64(1)
		if z < a {
			step = -1
		}
		if len(args) == 3 {
			s := vec.Load[int64](args[2])
			step = s.At(i)
		}
		if step == 0 && a != z || step > 0 && z < a || step < 0 && z > a {
			return nil, batch.UserErrorf("a sequence from %d to %d cannot have the step %d", a, z, step)
		}
		if step != 0 && uint64(z-a)/uint64(max(step, -step)) > elementsMax && a < z {
			return nil, batch.UserErrorf("a sequence of more than %d elements", elementsMax)
		}
		b.Append(true)
		for x, k := a, 0; (step >= 0 && x <= z || step < 0 && x >= z) && k <= elementsMax; x, k = x+step, k+1 {
			vb.Append(x)
			if step == 0 || x > 0 && x+step < x && step > 0 || x < 0 && x+step > x && step < 0 {
				break
			}
		}
	}
	return b.NewListArray(), nil
}

// mapPart returns a map's keys or values as arrays that share its memory.
func mapPart(kc *expr.KernelContext, args []expr.Vec, n int, part func(v vec.ListView) arrow.Array) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return lists(kc, args, n, []arrow.Array{part(v)}, func(i int, add func(part, pos int32)) error {
		for j := v.Start(i); j < v.End(i); j++ {
			add(0, int32(j))
		}
		return nil
	})
}

func mapKeys(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	return mapPart(kc, args, n, func(v vec.ListView) arrow.Array { return v.Keys })
}

func mapValues(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	return mapPart(kc, args, n, func(v vec.ListView) arrow.Array { return v.Elems })
}

func mapContainsKey(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return perRowFixed(kc, args, n, func(i int) (bool, error) {
		return findKey(v, row(args[0], i), args[1].Arr, row(args[1], i)) >= 0, nil
	})
}
