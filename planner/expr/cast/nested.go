package cast

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func (c conv) fromNested() (expr.Kernel, error) {
	if c.to.ID() == arrow.STRING {
		return c.nestedText()
	}
	switch from := c.from.(type) {
	case *arrow.ListType:
		to, is := c.to.(*arrow.ListType)
		if !is {
			break
		}
		elem, err := Kernel(from.Elem(), to.Elem(), c.try)
		return listKernel(to.Elem(), elem), err
	case *arrow.MapType:
		to, is := c.to.(*arrow.MapType)
		if !is {
			break
		}
		k, err := Kernel(from.KeyType(), to.KeyType(), c.try)
		if err != nil {
			return nil, err
		}
		v, err := Kernel(from.ItemType(), to.ItemType(), c.try)
		return mapKernel(to, k, v), err
	case *arrow.StructType:
		to, is := c.to.(*arrow.StructType)
		if !is || from.NumFields() != to.NumFields() {
			break
		}
		kernels := make([]expr.Kernel, to.NumFields())
		for i := range kernels {
			var err error
			if kernels[i], err = Kernel(from.Field(i).Type, to.Field(i).Type, c.try); err != nil {
				return nil, err
			}
		}
		return structKernel(to, kernels), nil
	}
	return nil, noCast(c.from, c.to)
}

// convert runs a kernel over a child column.
func convert(kc *expr.KernelContext, k expr.Kernel, arr arrow.Array, to arrow.DataType) (arrow.Array, error) {
	c := *kc
	c.Result = to
	return k(&c, []expr.Vec{{Arr: arr}}, arr.Len())
}

// offsets returns list offsets that start at zero, and the elements they mean.
func offsets(alloc memory.Allocator, v vec.ListView, n int) (*memory.Buffer, int64, int64) {
	buf, off := vec.NewFixed[int32](alloc, n+1)
	for i := range off {
		off[i] = v.Off[i] - v.Off[0]
	}
	return buf, int64(v.Off[0]), int64(v.Off[n])
}

func listKernel(elem arrow.DataType, k expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		v := vec.ListOf(args[0].Arr)
		buf, lo, hi := offsets(kc.Alloc, v, n)
		in := array.NewSlice(v.Elems, lo, hi)
		defer in.Release()
		out, err := convert(kc, k, in, elem)
		if err != nil {
			buf.Release()
			return nil, err
		}
		return vec.StrictMask(kc.Alloc, args, n).Nested(kc.Result, []*memory.Buffer{buf}, out), nil
	}
}

func mapKernel(to *arrow.MapType, kk, vk expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		v := vec.ListOf(args[0].Arr)
		buf, lo, hi := offsets(kc.Alloc, v, n)
		keys, items := array.NewSlice(v.Keys, lo, hi), array.NewSlice(v.Elems, lo, hi)
		defer keys.Release()
		defer items.Release()
		ks, err := convert(kc, kk, keys, to.KeyType())
		if err != nil {
			buf.Release()
			return nil, err
		}
		vs, err := convert(kc, vk, items, to.ItemType())
		if err != nil {
			buf.Release()
			ks.Release()
			return nil, err
		}
		entries := vec.NewMask(kc.Alloc, ks.Len()).Nested(to.Elem(), nil, ks, vs)
		return vec.StrictMask(kc.Alloc, args, n).Nested(to, []*memory.Buffer{buf}, entries), nil
	}
}

func structKernel(to *arrow.StructType, kernels []expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		st := args[0].Arr.(*array.Struct)
		kids := make([]arrow.Array, 0, len(kernels))
		for i, k := range kernels {
			kid, err := convert(kc, k, st.Field(i), to.Field(i).Type)
			if err != nil {
				vec.ReleaseAll(kids)
				return nil, err
			}
			kids = append(kids, kid)
		}
		return vec.StrictMask(kc.Alloc, args, n).Nested(to, nil, kids...), nil
	}
}

// listLike turns large and fixed-size lists into plain ones by gathering.
func (c conv) listLike() (expr.Kernel, error) {
	elem := c.to.(*arrow.ListType).Elem()
	k, err := Kernel(c.from.(arrow.ListLikeType).Elem(), elem, c.try)
	if err != nil {
		return nil, err
	}
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		list := args[0].Arr.(array.ListLike)
		buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
		var idx []int32
		for i := range n {
			off[i] = int32(len(idx))
			if args[0].Arr.IsValid(i) {
				lo, hi := list.ValueOffsets(i)
				for j := lo; j < hi; j++ {
					idx = append(idx, int32(j))
				}
			}
		}
		off[n] = int32(len(idx))
		in, err := vec.Take(kc.Alloc, list.ListValues(), idx)
		if err != nil {
			buf.Release()
			return nil, err
		}
		defer in.Release()
		out, err := convert(kc, k, in, elem)
		if err != nil {
			buf.Release()
			return nil, err
		}
		return vec.StrictMask(kc.Alloc, args, n).Nested(kc.Result, []*memory.Buffer{buf}, out), nil
	}, nil
}

// nestedText writes [1, 2], {k -> v} and {a, b}, and null for what is NULL inside.
func (c conv) nestedText() (expr.Kernel, error) {
	if err := printable(c.from); err != nil {
		return nil, err
	}
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		p, err := newPrinter(kc, args[0].Arr)
		if err != nil {
			return nil, err
		}
		defer p.release()
		m := vec.StrictMask(kc.Alloc, args, n)
		o := vec.NewStrOut(kc.Alloc, n)
		for i := range n {
			if m.IsNull(i) {
				o.Skip()
				continue
			}
			o.End(p.append(o.Begin(), i))
		}
		return o.Array(kc.Result, m)
	}, nil
}

func printable(dt arrow.DataType) error {
	switch t := dt.(type) {
	case *arrow.ListType:
		return printable(t.Elem())
	case *arrow.MapType:
		if err := printable(t.KeyType()); err != nil {
			return err
		}
		return printable(t.ItemType())
	case *arrow.StructType:
		for _, f := range t.Fields() {
			if err := printable(f.Type); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := Kernel(dt, expr.TypeString, false)
	return err
}

// printer holds a nested column's leaves as text.
type printer struct {
	arr  arrow.Array
	leaf arrow.Array // text of a column that is not nested
	kids []*printer
}

func newPrinter(kc *expr.KernelContext, arr arrow.Array) (*printer, error) {
	p := &printer{arr: arr}
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
	default:
		var err error
		p.leaf, err = Array(kc, arr, expr.TypeString, false)
		return p, err
	}
	for _, k := range kids {
		kp, err := newPrinter(kc, k)
		if err != nil {
			p.release()
			return nil, err
		}
		p.kids = append(p.kids, kp)
	}
	return p, nil
}

func (p *printer) release() {
	if p.leaf != nil {
		p.leaf.Release()
	}
	for _, k := range p.kids {
		k.release()
	}
}

func (p *printer) append(dst []byte, i int) []byte {
	if vec.IsNull(p.arr, i) {
		return append(dst, "null"...)
	}
	switch a := p.arr.(type) {
	case *array.Map:
		v := vec.ListOf(a)
		dst = append(dst, '{')
		for j := v.Start(i); j < v.End(i); j++ {
			dst = sep(dst, j > v.Start(i))
			dst = p.kids[0].append(dst, j)
			dst = p.kids[1].append(append(dst, " -> "...), j)
		}
		return append(dst, '}')
	case *array.List:
		v := vec.ListOf(a)
		dst = append(dst, '[')
		for j := v.Start(i); j < v.End(i); j++ {
			dst = p.kids[0].append(sep(dst, j > v.Start(i)), j)
		}
		return append(dst, ']')
	case *array.Struct:
		dst = append(dst, '{')
		for k, kid := range p.kids {
			dst = kid.append(sep(dst, k > 0), i)
		}
		return append(dst, '}')
	}
	return append(dst, p.leaf.(*array.String).Value(i)...)
}

func sep(dst []byte, more bool) []byte {
	if more {
		return append(dst, ", "...)
	}
	return dst
}
