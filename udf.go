package sluice

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Value lists the Go types of arguments and results of functions written in Go:
// BOOLEAN, INT, BIGINT, DOUBLE, STRING, BINARY and TIMESTAMP.
type Value interface {
	bool | int32 | int64 | float64 | string | []byte | time.Time
}

// ScalarFunc is a function made by Func1, Func2 or Func3.
type ScalarFunc struct {
	args   []arrow.DataType
	result arrow.DataType
	kernel expr.Kernel
}

// Func1 makes a SQL function of one argument. It is not called where the
// argument is NULL; the result is NULL there. It must give the same result for
// the same argument: batches are run again after a crash. An error stops the query.
func Func1[A, R Value](f func(A) (R, error)) ScalarFunc {
	return ScalarFunc{
		args: []arrow.DataType{typeOf[A]()}, result: typeOf[R](),
		kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
			a := getter[A](args[0])
			return mapRows(kc, args, n, func(i int) (R, error) { return f(a(i)) })
		},
	}
}

// Func2 makes a SQL function of two arguments, see Func1.
func Func2[A, B, R Value](f func(A, B) (R, error)) ScalarFunc {
	return ScalarFunc{
		args: []arrow.DataType{typeOf[A](), typeOf[B]()}, result: typeOf[R](),
		kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
			a, b := getter[A](args[0]), getter[B](args[1])
			return mapRows(kc, args, n, func(i int) (R, error) { return f(a(i), b(i)) })
		},
	}
}

// Func3 makes a SQL function of three arguments, see Func1.
func Func3[A, B, C, R Value](f func(A, B, C) (R, error)) ScalarFunc {
	return ScalarFunc{
		args: []arrow.DataType{typeOf[A](), typeOf[B](), typeOf[C]()}, result: typeOf[R](),
		kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
			a, b, c := getter[A](args[0]), getter[B](args[1]), getter[C](args[2])
			return mapRows(kc, args, n, func(i int) (R, error) { return f(a(i), b(i), c(i)) })
		},
	}
}

// RegisterFunc makes a Go function known to the session's SQL. Arguments of
// other types are cast as for a built-in function.
func (s *Session) RegisterFunc(name string, f ScalarFunc) error {
	if f.kernel == nil {
		return batch.UserErrorf("function %q: make it with Func1, Func2 or Func3", name)
	}
	return s.cat.addScalar(strings.ToLower(name), f)
}

// bind applies the function to arguments in a plan.
func (f ScalarFunc) bind(name string, args []expr.Expr) (expr.Expr, error) {
	cast, null, err := castArgs(name, f.args, args)
	if err != nil {
		return nil, err
	}
	fn := &expr.Function{Name: name, Strict: true, Kernel: f.kernel}
	return &expr.Call{Func: fn, Args: cast, DT: f.result, Null: null}, nil
}

// castArgs casts arguments to the declared types.
func castArgs(name string, want []arrow.DataType, args []expr.Expr) ([]expr.Expr, bool, error) {
	if len(args) != len(want) {
		return nil, false, batch.UserErrorf("function %s takes %d arguments, got %d", name, len(want), len(args))
	}
	out, null := make([]expr.Expr, len(args)), false
	for i, a := range args {
		null = null || a.Nullable()
		out[i] = a
		if !arrow.TypeEqual(a.Type(), want[i]) {
			out[i] = &expr.Cast{Arg: a, DT: want[i]}
		}
	}
	return out, null, nil
}

// typeOf is the SQL type of a Go type.
func typeOf[T Value]() arrow.DataType {
	var v T
	switch any(v).(type) {
	case bool:
		return expr.TypeBool
	case int32:
		return expr.TypeInt32
	case int64:
		return expr.TypeInt64
	case float64:
		return expr.TypeDouble
	case string:
		return expr.TypeString
	case time.Time:
		return expr.TypeTimestamp
	default:
		return expr.TypeBinary
	}
}

// getter returns a function that reads row i of an argument. Strings and bytes
// are views of the batch and valid during the call only.
func getter[T Value](v expr.Vec) func(i int) T {
	var get func(i int) any
	switch a := v.Arr.(type) {
	case *array.Int64:
		return typed[T](v, func(i int) int64 { return a.Value(i) })
	case *array.Float64:
		return typed[T](v, func(i int) float64 { return a.Value(i) })
	case *array.String:
		// A copy: functions keep strings (as keys of a cache), and the buffer is used again.
		return typed[T](v, func(i int) string { return strings.Clone(a.Value(i)) })
	case *array.Int32:
		return typed[T](v, func(i int) int32 { return a.Value(i) })
	case *array.Boolean:
		return typed[T](v, func(i int) bool { return a.Value(i) })
	case *array.Binary:
		return typed[T](v, func(i int) []byte { return bytes.Clone(a.Value(i)) })
	case *array.Timestamp:
		get = func(i int) any { return time.UnixMicro(int64(a.Value(i))).UTC() }
	default:
		get = func(i int) any { return value(v.Arr, i) }
	}
	return func(i int) T {
		if v.Const {
			i = 0
		}
		x, _ := get(i).(T)
		return x
	}
}

// typed reads without boxing where the array's Go type is T itself.
func typed[T, S Value](v expr.Vec, get func(i int) S) func(i int) T {
	same, ok := any(get).(func(i int) T)
	if !ok {
		return func(int) (zero T) { return zero }
	}
	if v.Const {
		x := same(0)
		return func(int) T { return x }
	}
	return same
}

// mapRows calls f for the rows where no argument is NULL.
func mapRows[R Value](kc *expr.KernelContext, args []expr.Vec, n int, f func(i int) (R, error)) (arrow.Array, error) {
	if allConst(args) {
		n = 1
	}
	b := array.NewBuilder(kc.Alloc, kc.Result)
	defer b.Release()
	b.Reserve(n)
	put, err := appender[R](b)
	if err != nil {
		return nil, err
	}
	for i := range n {
		if anyNull(args, i) {
			b.AppendNull()
			continue
		}
		v, err := f(i)
		if err != nil {
			return nil, err
		}
		put(v)
	}
	return b.NewArray(), nil
}

func allConst(args []expr.Vec) bool {
	for _, a := range args {
		if !a.Const {
			return false
		}
	}
	return true
}

func anyNull(args []expr.Vec, i int) bool {
	for _, a := range args {
		at := i
		if a.Const {
			at = 0
		}
		if a.Arr.IsNull(at) {
			return true
		}
	}
	return false
}

// appender returns what appends a Go value to a builder without boxing it.
func appender[R Value](b array.Builder) (func(R), error) {
	var f any
	switch b := b.(type) {
	case *array.BooleanBuilder:
		f = b.Append
	case *array.Int32Builder:
		f = b.Append
	case *array.Int64Builder:
		f = b.Append
	case *array.Float64Builder:
		f = b.Append
	case *array.StringBuilder:
		f = b.Append
	case *array.BinaryBuilder:
		f = b.Append
	case *array.TimestampBuilder:
		f = func(t time.Time) { b.Append(arrow.Timestamp(t.UnixMicro())) }
	}
	if put, ok := f.(func(R)); ok {
		return put, nil
	}
	return nil, fmt.Errorf("a function's result type does not fit %s", b.Type())
}
