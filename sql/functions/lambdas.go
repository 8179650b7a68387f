package functions

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// lambdas lists the functions that take x -> .. over an array's elements.
func lambdas() []*Entry {
	return []*Entry{
		higher("transform", "The results of a lambda of each element (and its index from 0).", "transform(array(1, 2, 3), x -> x + 1)", "[2, 3, 4]", 2,
			func(elem, body arrow.DataType) arrow.DataType { return arrow.ListOf(body) }, transformResult),
		higher("filter", "The elements for which a lambda is true.", "filter(array(1, 2, 3), x -> x > 1)", "[2, 3]", 2,
			func(elem, _ arrow.DataType) arrow.DataType { return arrow.ListOf(elem) }, filterResult),
		higher("exists|any_match", "Whether a lambda is true for an element.", "exists(array(1, 2, 3), x -> x > 2)", "true", 1,
			func(arrow.DataType, arrow.DataType) arrow.DataType { return expr.TypeBool }, quantified(true)),
		higher("forall|all_match", "Whether a lambda is true for every element.", "forall(array(1, 2, 3), x -> x > 2)", "false", 1,
			func(arrow.DataType, arrow.DataType) arrow.DataType { return expr.TypeBool }, quantified(false)),
	}
}

// result makes a function's result of the lambda's, which has a row for each
// element of the lists, row after row.
type lambdaResult func(kc *expr.KernelContext, lists expr.Vec, v vec.ListView, base int, body arrow.Array, n int) (arrow.Array, error)

func higher(names, doc, ex, res string, maxParams int, result func(elem, body arrow.DataType) arrow.DataType, f lambdaResult) *Entry {
	e := special(names, "(array<T>, lambda)", doc, ex, res, func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) != 2 {
			return nil, e.mismatch(args)
		}
		lt, ok := args[0].Type().(*arrow.ListType)
		l, is := args[1].(*expr.Lambda)
		if !ok || !is || len(l.Params) > maxParams {
			return nil, e.mismatch(args)
		}
		n := *e
		n.nonStrict = true // the lambda is no value
		return n.newCall(func(kc *expr.KernelContext, args []expr.Vec, rows int) (arrow.Array, error) {
			return applyLambda(kc, args[0], rows, f)
		}, args, result(lt.Elem(), l.Body.Type())), nil
	})
	e.lambda = func(args []expr.Expr, n int) ([]arrow.DataType, error) {
		if len(args) != 1 || n > maxParams {
			return nil, fmt.Errorf("takes an array and a lambda of at most %d parameters", maxParams)
		}
		lt, ok := args[0].Type().(*arrow.ListType)
		if !ok {
			return nil, fmt.Errorf("needs an array, not %s", expr.TypeName(args[0].Type()))
		}
		return []arrow.DataType{lt.Elem(), expr.TypeInt32}[:n], nil
	}
	return e
}

// applyLambda evaluates the lambda once over the elements of all rows.
func applyLambda(kc *expr.KernelContext, in expr.Vec, n int, f lambdaResult) (arrow.Array, error) {
	lst := in.Arr
	if in.Const {
		x, err := vec.Expand(kc.Alloc, in.Arr, n)
		if err != nil {
			return nil, err
		}
		defer x.Release()
		lst = x
	}
	v := vec.ListOf(lst)
	base, end := v.Start(0), v.End(n-1)
	elems := array.NewSlice(v.Elems, int64(base), int64(end))
	defer elems.Release()
	rows := make([]int32, 0, end-base)
	idx, pos := vec.NewFixed[int32](kc.Alloc, end-base)
	for i := range n {
		for j := v.Start(i); j < v.End(i); j++ {
			pos[j-base] = int32(j - v.Start(i))
			rows = append(rows, int32(i))
		}
	}
	index := vec.NewMask(kc.Alloc, end-base).Array(expr.TypeInt32, idx)
	defer index.Release()
	body, err := lambdaBody(kc, []arrow.Array{elems, index}, rows)
	if err != nil {
		return nil, err
	}
	defer body.Release()
	return f(kc, expr.Vec{Arr: lst}, v, base, body, n)
}

func lambdaBody(kc *expr.KernelContext, params []arrow.Array, rows []int32) (arrow.Array, error) {
	l := kc.Lambdas[1]
	if len(rows) == 0 {
		return vec.NullArray(kc.Alloc, l.Body.Type(), 0), nil
	}
	return kc.Eval(l, params[:len(l.Params)], rows, len(rows))
}

func transformResult(kc *expr.KernelContext, in expr.Vec, v vec.ListView, base int, body arrow.Array, n int) (arrow.Array, error) {
	buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
	for i := range off {
		off[i] = v.Off[i] - int32(base)
	}
	body.Retain()
	return vec.StrictMask(kc.Alloc, []expr.Vec{in}, n).Nested(kc.Result, []*memory.Buffer{buf}, body), nil
}

func filterResult(kc *expr.KernelContext, in expr.Vec, v vec.ListView, base int, body arrow.Array, n int) (arrow.Array, error) {
	bits := vec.BoolBits(body)
	return lists(kc, []expr.Vec{in}, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		for j := v.Start(i); j < v.End(i); j++ {
			if !vec.IsNull(body, j-base) && bits.Get(j-base) {
				add(0, int32(j))
			}
		}
		return nil
	})
}

// quantified is exists (stop at true) or forall (stop at false), with three values.
func quantified(stop bool) lambdaResult {
	return func(kc *expr.KernelContext, in expr.Vec, v vec.ListView, base int, body arrow.Array, n int) (arrow.Array, error) {
		bits := vec.BoolBits(body)
		return perRowFixed(kc, []expr.Vec{in}, n, func(i int) (bool, error) {
			null := false
			for j := v.Start(i) - base; j < v.End(i)-base; j++ {
				if vec.IsNull(body, j) {
					null = true
				} else if bits.Get(j) == stop {
					return stop, nil
				}
			}
			if null {
				return false, vec.ErrNull
			}
			return !stop, nil
		})
	}
}
