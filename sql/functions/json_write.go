package functions

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func itoa(n int) string { return strconv.Itoa(n) }

func bindToJSON(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 1 || len(args) > 2 || !isNested(args[0].Type()) {
		return nil, e.mismatch(args)
	}
	if err := writable(args[0].Type()); err != nil {
		return nil, err
	}
	o, err := optionsOf(args, 1)
	if err != nil {
		return nil, batch.UserErrorf("to_json: %w", err)
	}
	return e.newCall(func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		w, err := newTextWriter(kc, args[0].Arr, o, "")
		if err != nil {
			return nil, err
		}
		defer w.release()
		m := vec.StrictMask(kc.Alloc, args[:1], n)
		out := vec.NewStrOut(kc.Alloc, n)
		for i := range n {
			if m.IsNull(i) {
				out.Skip()
				continue
			}
			out.End(w.json(out.Begin(), row(args[0], i)))
		}
		return out.Array(kc.Result, m)
	}, args, expr.TypeString), nil
}

// writable refuses what no text form exists for.
func writable(dt arrow.DataType) error {
	switch t := dt.(type) {
	case *arrow.ListType:
		return writable(t.Elem())
	case *arrow.MapType:
		if isNested(t.KeyType()) && t.KeyType().ID() != arrow.STRUCT {
			return batch.UserErrorf("a map with keys of type %s cannot be written as JSON", expr.TypeName(t.KeyType()))
		}
		return writable(t.ItemType())
	case *arrow.StructType:
		for _, f := range t.Fields() {
			if err := writable(f.Type); err != nil {
				return err
			}
		}
	}
	return nil
}

// textWriter writes a nested column's rows as text; its leaves are converted
// once per batch.
type textWriter struct {
	arr       arrow.Array
	leaf      arrow.Array // text of what is not nested
	bare      bool        // the text needs no quotes
	kids      []*textWriter
	keepNulls bool
	order     []int // of a struct's fields if they are sorted
}

// newTextWriter prepares a column. The options' patterns, and those that ISO
// 8601 asks for if there are none, write times; csv changes the defaults.
func newTextWriter(kc *expr.KernelContext, arr arrow.Array, o textOptions, csv string) (*textWriter, error) {
	w := &textWriter{arr: arr, keepNulls: o.is("ignorenullfields", "false")}
	var kids []arrow.Array
	switch a := arr.(type) {
	case *array.Map:
		kids = []arrow.Array{a.Keys(), a.Items()}
	case *array.List:
		kids = []arrow.Array{a.ListValues()}
	case *array.Struct:
		for i := range a.NumField() {
			kids = append(kids, a.Field(i))
		}
		if st := a.DataType().(*arrow.StructType); o.is("sortkeys", "true") {
			for i := range st.NumFields() {
				w.order = append(w.order, i)
			}
			slices.SortStableFunc(w.order, func(x, y int) int { return strings.Compare(st.Field(x).Name, st.Field(y).Name) })
		}
	default:
		var err error
		w.leaf, err = leafText(kc, arr, o)
		id := arr.DataType().ID()
		w.bare = id == arrow.BOOL || isNumeric(arr.DataType())
		return w, err
	}
	for _, k := range kids {
		kw, err := newTextWriter(kc, k, o, csv)
		if err != nil {
			w.release()
			return nil, err
		}
		w.kids = append(w.kids, kw)
	}
	return w, nil
}

func (w *textWriter) release() {
	if w.leaf != nil {
		w.leaf.Release()
	}
	for _, k := range w.kids {
		k.release()
	}
}

// leafText converts a plain column to text.
func leafText(kc *expr.KernelContext, arr arrow.Array, o textOptions) (arrow.Array, error) {
	pattern := ""
	switch t := arr.DataType().(type) {
	case *arrow.TimestampType:
		pattern = o["timestampformat"]
		if t.TimeZone == "" {
			pattern = o["timestampntzformat"]
			if pattern == "" {
				pattern = "yyyy-MM-dd'T'HH:mm:ss.SSS"
			}
		} else if pattern == "" {
			pattern = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"
		}
		return patternText(kc, arr, pattern, t.TimeZone == "", 1)
	case *arrow.Date32Type:
		if pattern = o["dateformat"]; pattern != "" {
			return patternText(kc, arr, pattern, true, civil.Day)
		}
	case *arrow.BinaryType:
		return eachText(kc, arr, func(dst []byte, i int) []byte {
			return base64.StdEncoding.AppendEncode(dst, vec.StringsOf(arr).At(i))
		})
	}
	return castArray(kc, arr, expr.TypeString)
}

// patternText writes times; local ones are wall clocks already.
func patternText(kc *expr.KernelContext, arr arrow.Array, pattern string, local bool, unit int64) (arrow.Array, error) {
	f, err := compilePattern(pattern)
	if err != nil {
		return nil, err
	}
	zone := kc.Zone
	if local {
		zone = "UTC"
	}
	z, err := civil.Load(zone)
	if err != nil {
		return nil, err
	}
	col := expr.Vec{Arr: arr}
	return eachText(kc, arr, func(dst []byte, i int) []byte { return f.append(dst, timeValue(col, i)*unit, z) })
}

func eachText(kc *expr.KernelContext, arr arrow.Array, f func(dst []byte, i int) []byte) (arrow.Array, error) {
	n := arr.Len()
	m := vec.StrictMask(kc.Alloc, []expr.Vec{{Arr: arr}}, n)
	o := vec.NewStrOut(kc.Alloc, n)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		o.End(f(o.Begin(), i))
	}
	return o.Array(expr.TypeString, m)
}

func (w *textWriter) text(i int) string { return w.leaf.(*array.String).Value(i) }

// json writes row i as JSON.
func (w *textWriter) json(dst []byte, i int) []byte {
	if vec.IsNull(w.arr, i) {
		return append(dst, "null"...)
	}
	switch a := w.arr.(type) {
	case *array.Map:
		v := vec.ListOf(a)
		dst = append(dst, '{')
		for j := v.Start(i); j < v.End(i); j++ {
			dst = comma(dst, j > v.Start(i))
			dst = append(appendJSONString(dst, w.kids[0].key(j)), ':')
			dst = w.kids[1].json(dst, j)
		}
		return append(dst, '}')
	case *array.List:
		v := vec.ListOf(a)
		dst = append(dst, '[')
		for j := v.Start(i); j < v.End(i); j++ {
			dst = w.kids[0].json(comma(dst, j > v.Start(i)), j)
		}
		return append(dst, ']')
	case *array.Struct:
		dst = append(dst, '{')
		first := true
		for at := range w.kids {
			k := at
			if w.order != nil {
				k = w.order[at]
			}
			kid := w.kids[k]
			if vec.IsNull(kid.arr, i) && !w.keepNulls {
				continue
			}
			dst = appendJSONString(comma(dst, !first), a.DataType().(*arrow.StructType).Field(k).Name)
			dst = kid.json(append(dst, ':'), i)
			first = false
		}
		return append(dst, '}')
	}
	s := w.text(i)
	if w.bare && s != "NaN" && s != "Infinity" && s != "-Infinity" {
		return append(dst, s...)
	}
	return appendJSONString(dst, s)
}

// key is the name of a map's entry: a struct's is its values in brackets, as in Spark.
func (w *textWriter) key(i int) string {
	if w.leaf != nil {
		return w.text(i)
	}
	parts := make([]string, len(w.kids))
	for k, kid := range w.kids {
		parts[k] = "null"
		if !vec.IsNull(kid.arr, i) {
			parts[k] = kid.key(i)
		}
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func comma(dst []byte, more bool) []byte {
	if more {
		return append(dst, ',')
	}
	return dst
}
