package functions

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func statAggregates() []*Entry {
	one := func(names, doc, ex, res string, f func(m *moment) (float64, bool)) *Entry {
		return agg(names, doc, ex, res, asig("double", func(*Types) (*expr.Aggregate, error) { return newMoments(4, false, f), nil }))
	}
	two := func(names, doc, ex, res string, f func(m *moment) (float64, bool)) *Entry {
		return agg(names, doc, ex, res, asig("double, double", func(*Types) (*expr.Aggregate, error) { return newMoments(2, true, f), nil }))
	}
	const four, pairs = " FROM VALUES (1), (2), (3), (4)", " FROM VALUES (1, 2), (2, 4), (3, 7)"
	return []*Entry{
		one("stddev|stddev_samp|std", "The sample standard deviation.", "stddev(col1)"+four, "1.2909944487358056", func(m *moment) (float64, bool) {
			return math.Sqrt(m.m2 / (m.n - 1)), m.n > 1
		}),
		one("stddev_pop", "The population standard deviation.", "stddev_pop(col1)"+four, "1.118033988749895", func(m *moment) (float64, bool) { return math.Sqrt(m.m2 / m.n), true }),
		one("variance|var_samp", "The sample variance.", "variance(col1)"+four, "1.6666666666666667", func(m *moment) (float64, bool) { return m.m2 / (m.n - 1), m.n > 1 }),
		one("var_pop", "The population variance.", "var_pop(col1)"+four, "1.25", func(m *moment) (float64, bool) { return m.m2 / m.n, true }),
		one("skewness", "The skewness.", "skewness(col1) FROM VALUES (-10), (-20), (100), (1000)", "1.1135657469022011", func(m *moment) (float64, bool) {
			return math.Sqrt(m.n) * m.m3 / math.Sqrt(m.m2*m.m2*m.m2), m.m2 != 0
		}),
		one("kurtosis", "The excess kurtosis.", "kurtosis(col1)"+four, "-1.36", func(m *moment) (float64, bool) { return m.n*m.m4/(m.m2*m.m2) - 3, m.m2 != 0 }),
		two("corr", "The correlation of two columns.", "corr(col1, col2) FROM VALUES (1, 2), (2, 4), (3, 6)", "1.0", func(m *moment) (float64, bool) {
			return m.cxy / math.Sqrt(m.m2*m.y2), m.m2 != 0 && m.y2 != 0
		}),
		two("covar_pop", "The population covariance.", "covar_pop(col1, col2) FROM VALUES (1, 2), (2, 4), (3, 6)", "1.3333333333333333", func(m *moment) (float64, bool) { return m.cxy / m.n, true }),
		two("covar_samp", "The sample covariance.", "covar_samp(col1, col2)"+pairs, "2.5", func(m *moment) (float64, bool) { return m.cxy / (m.n - 1), m.n > 1 }),
		agg("regr_count", "How many pairs have no NULL.", "regr_count(col1, col2)"+pairs, "3",
			asig("double, double", func(*Types) (*expr.Aggregate, error) { return newCount(false), nil })),
		two("regr_avgx", "The average of the second argument over pairs without NULL.", "regr_avgx(col1, col2) FROM VALUES (1, 2), (2, 4), (3, 6)", "4.0", func(m *moment) (float64, bool) { return m.ymean, true }),
		two("regr_avgy", "The average of the first argument over pairs without NULL.", "regr_avgy(col1, col2)"+pairs, "2.0", func(m *moment) (float64, bool) { return m.mean, true }),
		two("regr_sxx", "The sum of the squared differences of the second argument from its average, over pairs without NULL.", "regr_sxx(col1, col2) FROM VALUES (1, 2), (2, 4), (3, 6)", "8.0", func(m *moment) (float64, bool) { return m.y2, true }),
		two("regr_syy", "The sum of the squared differences of the first argument from its average, over pairs without NULL.", "regr_syy(col1, col2)"+pairs, "2.0", func(m *moment) (float64, bool) { return m.m2, true }),
		two("regr_sxy", "The sum of the products of both differences, over pairs without NULL.", "regr_sxy(col1, col2)"+pairs, "5.0", func(m *moment) (float64, bool) { return m.cxy, true }),
		two("regr_slope", "The slope of the line that fits the first argument best, given the second.", "regr_slope(col1, col2) FROM VALUES (2, 1), (4, 2), (6, 3)", "2.0", func(m *moment) (float64, bool) {
			return m.cxy / m.y2, m.y2 != 0
		}),
		two("regr_intercept", "The intercept of that line.", "regr_intercept(col1, col2) FROM VALUES (2, 1), (4, 2), (6, 3)", "0.0", func(m *moment) (float64, bool) {
			return m.mean - m.cxy/m.y2*m.ymean, m.y2 != 0
		}),
		two("regr_r2", "The share of the variance that the line explains.", "regr_r2(col1, col2) FROM VALUES (2, 1), (4, 2), (6, 3)", "1.0", func(m *moment) (float64, bool) {
			return m.cxy * m.cxy / (m.m2 * m.y2), m.y2 != 0 && m.m2 != 0
		}),
	}
}

// moment holds the central moments of a group, updated by Welford's and merged
// by Chan's and Pebay's formulas, which stay exact where sums of powers do not. The
// means are of what values differ from the group's first one, which is small where
// the values are large and close to each other.
type moment struct {
	n, mean, m2, m3, m4 float64
	ymean, y2, cxy      float64
	base, ybase         float64 // what the means count from
}

// baseOf is where to count from if the first value is v.
func baseOf(v float64) float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	return v
}

func (a *moment) add(x float64, powers int) {
	if a.n == 0 {
		a.base = baseOf(x)
	}
	x -= a.base
	n1 := a.n
	a.n++
	d := x - a.mean
	dn := d / a.n
	t := d * dn * n1
	if math.IsInf(x, 0) {
		t = math.NaN()
	}
	a.mean += dn
	if powers == 4 {
		dn2 := dn * dn
		a.m4 += t*dn2*(a.n*a.n-3*a.n+3) + 6*dn2*a.m2 - 4*dn*a.m3
		a.m3 += t*dn*(a.n-2) - 3*dn*a.m2
	}
	a.m2 += t
}

func (a *moment) addPair(x, y float64) {
	if a.n == 0 {
		a.base, a.ybase = baseOf(x), baseOf(y)
	}
	x, y = x-a.base, y-a.ybase
	a.n++
	dx := x - a.mean
	a.mean += dx / a.n
	a.m2 += dx * (x - a.mean)
	dy := y - a.ymean
	a.ymean += dy / a.n
	a.y2 += dy * (y - a.ymean)
	a.cxy += dx * (y - a.ymean)
}

func (a *moment) merge(b *moment) {
	if b.n == 0 {
		return
	}
	if a.n == 0 {
		*a = *b
		return
	}
	n := a.n + b.n
	d, dy := b.base-a.base+(b.mean-a.mean), b.ybase-a.ybase+(b.ymean-a.ymean)
	r := moment{n: n, base: a.base, ybase: a.ybase}
	r.mean = a.mean + d*b.n/n
	r.ymean = a.ymean + dy*b.n/n
	ab := a.n * b.n
	r.m2 = a.m2 + b.m2 + d*d*ab/n
	r.y2 = a.y2 + b.y2 + dy*dy*ab/n
	r.cxy = a.cxy + b.cxy + d*dy*ab/n
	r.m3 = a.m3 + b.m3 + d*d*d*ab*(a.n-b.n)/(n*n) + 3*d*(a.n*b.m2-b.n*a.m2)/n
	r.m4 = a.m4 + b.m4 + d*d*d*d*ab*(a.n*a.n-ab+b.n*b.n)/(n*n*n) +
		6*d*d*(a.n*a.n*b.m2+b.n*b.n*a.m2)/(n*n) + 4*d*(a.n*b.m3-b.n*a.m3)/n
	*a = r
}

// settled counts the means from zero, as the state and results do.
func (a moment) settled() moment {
	a.mean, a.ymean, a.base, a.ybase = a.base+a.mean, a.ybase+a.ymean, 0, 0
	return a
}

// fields lists the parts in the order of the state columns.
func (a *moment) fields() [8]*float64 {
	return [8]*float64{&a.n, &a.mean, &a.m2, &a.m3, &a.m4, &a.ymean, &a.y2, &a.cxy}
}

// moments is every statistical aggregate; final reads the result off a group.
type moments struct {
	alloc  memory.Allocator
	powers int
	pairs  bool
	cols   []int // the fields that this aggregate keeps
	m      []moment
	final  func(m *moment) (float64, bool)
}

func newMoments(powers int, pairs bool, final func(m *moment) (float64, bool)) *expr.Aggregate {
	cols := []int{0, 1, 2, 3, 4}
	if pairs {
		cols = []int{0, 1, 2, 5, 6, 7}
	}
	a := &expr.Aggregate{Result: expr.TypeDouble, EmptyNull: true}
	for range cols {
		a.State = append(a.State, expr.TypeDouble)
	}
	a.New = acc(func(alloc memory.Allocator) *moments {
		return &moments{alloc: alloc, powers: powers, pairs: pairs, cols: cols, final: final}
	})
	return a
}

func (s *moments) Resize(n int) { s.m = grow(s.m, n) }

func (s *moments) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	x := vec.Load[float64](args[0])
	if s.pairs {
		y := vec.Load[float64](args[1])
		return eachRow(groups, args, sel, n, func(g uint32, i int) error {
			s.m[g].addPair(x.At(i), y.At(i))
			return nil
		})
	}
	return eachRow(groups, args, sel, n, func(g uint32, i int) error {
		s.m[g].add(x.At(i), s.powers)
		return nil
	})
}

func (s *moments) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (s *moments) Merge(groups []uint32, state []arrow.Array) error {
	for k := range state[0].Len() {
		var b moment
		f := b.fields()
		for c, at := range s.cols {
			*f[at] = vec.Values[float64](state[c])[k]
		}
		b.base, b.ybase = baseOf(b.mean), baseOf(b.ymean)
		b.mean, b.ymean = b.mean-b.base, b.ymean-b.ybase
		s.m[group0(groups, k)].merge(&b)
	}
	return nil
}

func (s *moments) State(first, end int) ([]arrow.Array, error) {
	out := make([]arrow.Array, len(s.cols))
	for c, at := range s.cols {
		buf, vals := vec.NewFixed[float64](s.alloc, end-first)
		for i := range vals {
			m := s.m[first+i].settled()
			vals[i] = *m.fields()[at]
		}
		out[c] = vec.NewMask(s.alloc, end-first).Array(expr.TypeDouble, buf)
	}
	return out, nil
}

func (s *moments) Final(first, end int) (arrow.Array, error) {
	buf, vals := vec.NewFixed[float64](s.alloc, end-first)
	m := vec.NewMask(s.alloc, end-first)
	for i := range vals {
		v, ok := 0.0, false
		if s.m[first+i].n > 0 {
			g := s.m[first+i].settled()
			v, ok = s.final(&g)
		}
		if vals[i] = v; !ok {
			m.SetNull(i)
		}
	}
	return m.Array(expr.TypeDouble, buf), nil
}

func (s *moments) Bytes() int64 { return int64(cap(s.m)) * 80 }
func (s *moments) Reset()       { s.m = s.m[:0] }
func (s *moments) Release()     { s.m = nil }
