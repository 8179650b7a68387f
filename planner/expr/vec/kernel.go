package vec

import (
	"errors"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// ErrNull is returned by a row function whose result is NULL.
var ErrNull = errors.New("NULL")

// Row functions by number of arguments. One that returns ErrNull gives NULL.
type (
	F1[A, R any]          = func(a A) (R, error)
	F2[A, B, R any]       = func(a A, b B) (R, error)
	F3[A, B, C, R any]    = func(a A, b B, c C) (R, error)
	F4[A, B, C, D, R any] = func(a A, b B, c C, d D) (R, error)
)

// Appenders write a string or binary result behind dst, so that no row allocates.
type (
	S1[A any]          = func(dst []byte, a A) ([]byte, error)
	S2[A, B any]       = func(dst []byte, a A, b B) ([]byte, error)
	S3[A, B, C any]    = func(dst []byte, a A, b B, c C) ([]byte, error)
	S4[A, B, C, D any] = func(dst []byte, a A, b B, c C, d D) ([]byte, error)
)

// rows drives a strict kernel: put computes row i, skip leaves it without value.
func rows(m *Mask, n int, put func(i int) error, skip func(i int)) error {
	for i := range n {
		if m.IsNull(i) {
			skip(i)
			continue
		}
		if err := put(i); err != nil {
			if !errors.Is(err, ErrNull) {
				return err
			}
			m.SetNull(i)
			skip(i)
		}
	}
	return nil
}

// run makes the result of a strict kernel whose rows put computes and writes.
func run[R Value](kc *expr.KernelContext, args []expr.Vec, n int, put func(w *Writer[R], i int) error) (arrow.Array, error) {
	n = Rows(args, n)
	m := StrictMask(kc.Alloc, args, n)
	if m.AllNull() {
		m.Release()
		return NullArray(kc.Alloc, kc.Result, n), nil
	}
	w := NewWriter[R](kc.Alloc, n)
	if err := rows(m, n, func(i int) error { return put(w, i) }, w.Skip); err != nil {
		m.Release()
		w.Release()
		return nil, err
	}
	return w.Array(kc.Result, m)
}

// runStr is run for appenders.
func runStr(kc *expr.KernelContext, args []expr.Vec, n int, put func(dst []byte, i int) ([]byte, error)) (arrow.Array, error) {
	n = Rows(args, n)
	m := StrictMask(kc.Alloc, args, n)
	if m.AllNull() {
		m.Release()
		return NullArray(kc.Alloc, kc.Result, n), nil
	}
	o := NewStrOut(kc.Alloc, n)
	err := rows(m, n, func(i int) error {
		b, err := put(o.Begin(), i)
		if err == nil {
			o.End(b)
		}
		return err
	}, func(int) { o.Skip() })
	if err != nil {
		m.Release()
		o.Release()
		return nil, err
	}
	return o.Array(kc.Result, m)
}

// Map1 makes a strict kernel of a row function that make builds for each batch.
func Map1[A, R Value](make func(kc *expr.KernelContext) (F1[A, R], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a := Load[A](args[0])
		defer a.Release()
		return run(kc, args, n, func(w *Writer[R], i int) error {
			r, err := f(a.At(i))
			if err == nil {
				w.Put(i, r)
			}
			return err
		})
	}
}

// Map2 is Map1 for two arguments.
func Map2[A, B, R Value](make func(kc *expr.KernelContext) (F2[A, B, R], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a, b := Load[A](args[0]), Load[B](args[1])
		defer a.Release()
		defer b.Release()
		return run(kc, args, n, func(w *Writer[R], i int) error {
			r, err := f(a.At(i), b.At(i))
			if err == nil {
				w.Put(i, r)
			}
			return err
		})
	}
}

// Map3 is Map1 for three arguments.
func Map3[A, B, C, R Value](make func(kc *expr.KernelContext) (F3[A, B, C, R], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a, b, c := Load[A](args[0]), Load[B](args[1]), Load[C](args[2])
		defer a.Release()
		defer b.Release()
		defer c.Release()
		return run(kc, args, n, func(w *Writer[R], i int) error {
			r, err := f(a.At(i), b.At(i), c.At(i))
			if err == nil {
				w.Put(i, r)
			}
			return err
		})
	}
}

// Map4 is Map1 for four arguments.
func Map4[A, B, C, D, R Value](make func(kc *expr.KernelContext) (F4[A, B, C, D, R], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a, b, c, d := Load[A](args[0]), Load[B](args[1]), Load[C](args[2]), Load[D](args[3])
		defer a.Release()
		defer b.Release()
		defer c.Release()
		defer d.Release()
		return run(kc, args, n, func(w *Writer[R], i int) error {
			r, err := f(a.At(i), b.At(i), c.At(i), d.At(i))
			if err == nil {
				w.Put(i, r)
			}
			return err
		})
	}
}

// Str1 makes a strict kernel of an appender.
func Str1[A Value](make func(kc *expr.KernelContext) (S1[A], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a := Load[A](args[0])
		defer a.Release()
		return runStr(kc, args, n, func(dst []byte, i int) ([]byte, error) { return f(dst, a.At(i)) })
	}
}

// Str2 is Str1 for two arguments.
func Str2[A, B Value](make func(kc *expr.KernelContext) (S2[A, B], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a, b := Load[A](args[0]), Load[B](args[1])
		defer a.Release()
		defer b.Release()
		return runStr(kc, args, n, func(dst []byte, i int) ([]byte, error) { return f(dst, a.At(i), b.At(i)) })
	}
}

// Str3 is Str1 for three arguments.
func Str3[A, B, C Value](make func(kc *expr.KernelContext) (S3[A, B, C], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a, b, c := Load[A](args[0]), Load[B](args[1]), Load[C](args[2])
		defer a.Release()
		defer b.Release()
		defer c.Release()
		return runStr(kc, args, n, func(dst []byte, i int) ([]byte, error) { return f(dst, a.At(i), b.At(i), c.At(i)) })
	}
}

// Str4 is Str1 for four arguments.
func Str4[A, B, C, D Value](make func(kc *expr.KernelContext) (S4[A, B, C, D], error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		f, err := make(kc)
		if err != nil {
			return nil, err
		}
		a, b, c, d := Load[A](args[0]), Load[B](args[1]), Load[C](args[2]), Load[D](args[3])
		defer a.Release()
		defer b.Release()
		defer c.Release()
		defer d.Release()
		return runStr(kc, args, n, func(dst []byte, i int) ([]byte, error) {
			return f(dst, a.At(i), b.At(i), c.At(i), d.At(i))
		})
	}
}

// Widen is the loop of conversions that cannot fail.
func Widen[A, R interface {
	int8 | int16 | int32 | int64 | float32 | float64
}]() expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = Rows(args, n)
		m := StrictMask(kc.Alloc, args, n)
		buf, out := NewFixed[R](kc.Alloc, n)
		for i, v := range Values[A](args[0].Arr) {
			out[i] = R(v)
		}
		return m.Array(kc.Result, buf), nil
	}
}

// Reinterpret returns the same memory under another type of the same layout.
func Reinterpret(kc *expr.KernelContext, args []expr.Vec, _ int) (arrow.Array, error) {
	return Retype(args[0].Arr, kc.Result), nil
}
