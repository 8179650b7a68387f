package functions

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// vectors lists functions over arrays of FLOAT, as embeddings are stored.
func vectors() []*Entry {
	pair := func(name, doc, ex, res string, f func(a, b []float32) (float64, bool)) *Entry {
		return fn(name, doc, ex, res, sig("array<float>, array<float> -> float", vectorPair(name, f)))
	}
	return []*Entry{
		pair("vector_inner_product", "The inner product of two vectors.", "vector_inner_product(array(1, 2, 3), array(4, 5, 6))", "32.0", func(a, b []float32) (float64, bool) { return dot(a, b), true }),
		pair("vector_l2_distance", "The Euclidean distance of two vectors.", "vector_l2_distance(array(1, 2, 3), array(4, 5, 6))", "5.196152", func(a, b []float32) (float64, bool) {
			s := 0.0
			for i := range a {
				d := float64(a[i]) - float64(b[i])
				s += d * d
			}
			return math.Sqrt(s), true
		}),
		pair("vector_cosine_similarity", "The cosine of the angle between two vectors; NULL if one has no length.", "vector_cosine_similarity(array(1, 2, 3), array(4, 5, 6))", "0.97463185", func(a, b []float32) (float64, bool) {
			n := math.Sqrt(dot(a, a)) * math.Sqrt(dot(b, b))
			return dot(a, b) / n, n != 0
		}),
		fn("vector_norm", "The length of a vector: of degree 2 if not given, 1, or infinity for the greatest element.", "vector_norm(array(3, 4))", "5.0",
			sig("array<float>, float = 2.0 -> float", expr.Kernel(vectorNorm))),
	}
}

func dot(a, b []float32) float64 {
	s := 0.0
	for i := range a {
		s += float64(a[i]) * float64(b[i])
	}
	return s
}

// elementsOf returns the elements of row i; false if one is NULL.
func elementsOf(v vec.ListView, vals []float32, i int) ([]float32, bool) {
	if v.Elems.NullN() > 0 {
		for j := v.Start(i); j < v.End(i); j++ {
			if v.Elems.IsNull(j) {
				return nil, false
			}
		}
	}
	return vals[v.Start(i):v.End(i)], true
}

func vectorPair(name string, f func(a, b []float32) (float64, bool)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		x, y := vec.ListOf(args[0].Arr), vec.ListOf(args[1].Arr)
		xs, ys := vec.Values[float32](x.Elems), vec.Values[float32](y.Elems)
		return perRowFixed(kc, args, n, func(i int) (float32, error) {
			a, ok1 := elementsOf(x, xs, row(args[0], i))
			b, ok2 := elementsOf(y, ys, row(args[1], i))
			switch {
			case !ok1 || !ok2:
				return 0, vec.ErrNull
			case len(a) != len(b):
				return 0, batch.UserErrorf("[VECTOR_DIMENSION_MISMATCH] %s needs vectors of one length, not %d and %d", name, len(a), len(b))
			}
			r, ok := f(a, b)
			if !ok {
				return 0, vec.ErrNull
			}
			return float32(r), nil
		})
	}
}

func vectorNorm(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v, degree := vec.ListOf(args[0].Arr), vec.Load[float32](args[1])
	vals := vec.Values[float32](v.Elems)
	return perRowFixed(kc, args, n, func(i int) (float32, error) {
		a, ok := elementsOf(v, vals, row(args[0], i))
		if !ok {
			return 0, vec.ErrNull
		}
		s := 0.0
		switch d := float64(degree.At(i)); {
		case d == 2:
			s = math.Sqrt(dot(a, a))
		case d == 1:
			for _, x := range a {
				s += math.Abs(float64(x))
			}
		case math.IsInf(d, 1):
			for _, x := range a {
				s = math.Max(s, math.Abs(float64(x)))
			}
		default:
			return 0, batch.UserErrorf("vector_norm: the degree must be 1, 2 or infinity, not %v", d)
		}
		return float32(s), nil
	})
}
