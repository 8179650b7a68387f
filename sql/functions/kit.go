package functions

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// k1 to k4 make strict kernels of row functions that need nothing of the batch.
func k1[A, R vec.Value](f vec.F1[A, R]) expr.Kernel {
	return vec.Map1(func(*expr.KernelContext) (vec.F1[A, R], error) { return f, nil })
}

func k2[A, B, R vec.Value](f vec.F2[A, B, R]) expr.Kernel {
	return vec.Map2(func(*expr.KernelContext) (vec.F2[A, B, R], error) { return f, nil })
}

func k3[A, B, C, R vec.Value](f vec.F3[A, B, C, R]) expr.Kernel {
	return vec.Map3(func(*expr.KernelContext) (vec.F3[A, B, C, R], error) { return f, nil })
}

func k4[A, B, C, D, R vec.Value](f vec.F4[A, B, C, D, R]) expr.Kernel {
	return vec.Map4(func(*expr.KernelContext) (vec.F4[A, B, C, D, R], error) { return f, nil })
}

// s1 to s4 make strict kernels of functions that append a string result.
func s1[A vec.Value](f vec.S1[A]) expr.Kernel {
	return vec.Str1(func(*expr.KernelContext) (vec.S1[A], error) { return f, nil })
}

func s2[A, B vec.Value](f vec.S2[A, B]) expr.Kernel {
	return vec.Str2(func(*expr.KernelContext) (vec.S2[A, B], error) { return f, nil })
}

func s3[A, B, C vec.Value](f vec.S3[A, B, C]) expr.Kernel {
	return vec.Str3(func(*expr.KernelContext) (vec.S3[A, B, C], error) { return f, nil })
}

func s4[A, B, C, D vec.Value](f vec.S4[A, B, C, D]) expr.Kernel {
	return vec.Str4(func(*expr.KernelContext) (vec.S4[A, B, C, D], error) { return f, nil })
}

// p1 and p2 are k1 and k2 for functions that cannot fail.
func p1[A, R vec.Value](f func(A) R) expr.Kernel {
	return k1(func(a A) (R, error) { return f(a), nil })
}

func p2[A, B, R vec.Value](f func(A, B) R) expr.Kernel {
	return k2(func(a A, b B) (R, error) { return f(a, b), nil })
}

// z1 and z2 make kernels that need the session's zone.
func z1[A, R vec.Value](f func(z *civil.Zone, a A) (R, error)) expr.Kernel {
	return vec.Map1(func(kc *expr.KernelContext) (vec.F1[A, R], error) {
		z, err := civil.Load(kc.Zone)
		return func(a A) (R, error) { return f(z, a) }, err
	})
}

func z2[A, B, R vec.Value](f func(z *civil.Zone, a A, b B) (R, error)) expr.Kernel {
	return vec.Map2(func(kc *expr.KernelContext) (vec.F2[A, B, R], error) {
		z, err := civil.Load(kc.Zone)
		return func(a A, b B) (R, error) { return f(z, a, b) }, err
	})
}

// numericKernels holds a kernel for each kind of number; see byNumber.
type numericKernels struct {
	i8, i16, i32, i64, f32, f64 expr.Kernel
	dec                         func(t dec.Type) expr.Kernel
}

// byNumber chooses the kernel by the type of the first argument.
func byNumber(ks numericKernels) func(t *Types) expr.Kernel {
	return func(t *Types) expr.Kernel {
		switch t.Args[0].ID() {
		case arrow.INT8:
			return ks.i8
		case arrow.INT16:
			return ks.i16
		case arrow.INT32:
			return ks.i32
		case arrow.INT64:
			return ks.i64
		case arrow.FLOAT32:
			return ks.f32
		case arrow.FLOAT64:
			return ks.f64
		}
		d, _ := dec.Of(t.Args[0])
		return ks.dec(d)
	}
}

// constant makes a kernel whose result does not depend on the row.
func constant(value func(kc *expr.KernelContext) any) expr.Kernel {
	return func(kc *expr.KernelContext, _ []expr.Vec, n int) (arrow.Array, error) {
		one, err := (&expr.Literal{Value: value(kc), DT: kc.Result}).Array(kc.Alloc)
		if err != nil {
			return nil, err
		}
		defer one.Release()
		return vec.Expand(kc.Alloc, one, n)
	}
}
