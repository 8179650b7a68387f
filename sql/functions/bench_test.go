package functions_test

import (
	"math/rand"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

const benchRows = 8192

var pool = vec.NewPooled()

func benchBatch() arrow.RecordBatch {
	rng := rand.New(rand.NewSource(1))
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: expr.TypeInt64, Nullable: true}, {Name: "b", Type: expr.TypeInt64, Nullable: true},
		{Name: "d", Type: expr.Decimal(12, 2), Nullable: true}, {Name: "s", Type: expr.TypeString, Nullable: true},
		{Name: "t", Type: expr.TypeTimestamp, Nullable: true}, {Name: "f", Type: expr.TypeDouble, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for range benchRows {
		v := int64(rng.Intn(1000))
		for c, val := range []any{v, v + 1, nil, "channel_id=" + string(rune('a'+v%26)) + "xyz", v * 1e9, float64(v) / 3} {
			l := &expr.Literal{Value: val, DT: schema.Field(c).Type}
			if c == 2 {
				b.Field(c).(*array.Decimal128Builder).AppendValueFromString("123.45")
				continue
			}
			if err := l.AppendTo(b.Field(c)); err != nil {
				panic(err)
			}
		}
	}
	return b.NewRecordBatch()
}

func benchCols(s *arrow.Schema) map[string]expr.Expr {
	cols := map[string]expr.Expr{}
	for i, f := range s.Fields() {
		cols[f.Name] = &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: true}
	}
	return cols
}

// BenchmarkEval reports nanoseconds per row of typical expressions.
func BenchmarkEval(b *testing.B) {
	rec := benchBatch()
	for _, sql := range []string{
		"a + b", "a * 2 + b", "a < b", "a = 5", "f * 0.908e0", "d * d", "d + 1", "a / b", "s LIKE '%xy%'", "upper(s)", "substring(s, 3, 4)", "s || 'x'",
		"CASE WHEN a < 300 THEN 'low' WHEN a < 600 THEN 'mid' ELSE 'high' END", "CASE WHEN a < 300 THEN a / b ELSE 0.0e0 END",
		"hour(t)", "date_trunc('DAY', t)", "date_format(t, 'yyyy-MM-dd HH:mm')", "CAST(a AS STRING)", "coalesce(a, b, 0)", "a IN (1, 2, 3, 500)",
		"regexp_extract(s, 'channel_id=([^&]*)', 1)", "split(s, '=')", "a < 500 AND b > 100 OR f < 10.0e0",
	} {
		b.Run(sql, func(b *testing.B) {
			e, err := parseExpr(sql, benchCols(rec.Schema()))
			if err != nil {
				b.Fatal(err)
			}
			ev, err := eval.New([]expr.Expr{e}, rec.Schema())
			if err != nil {
				b.Fatal(err)
			}
			kc := context(pool)
			b.ReportAllocs()
			for b.Loop() {
				out, err := ev.Run(kc, rec)
				if err != nil {
					b.Fatal(err)
				}
				vec.ReleaseAll(out)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
		})
	}
}

// BenchmarkPredicate reports nanoseconds per row of filters, with and without gathering the result.
func BenchmarkPredicate(b *testing.B) {
	rec := benchBatch()
	for _, sql := range []string{"a < 500", "a < 500 AND b >= 100", "a % 3 = 0", "s = 'channel_id=axyz'"} {
		e, err := parseExpr(sql, benchCols(rec.Schema()))
		if err != nil {
			b.Fatal(err)
		}
		p, err := eval.NewPredicate(e, rec.Schema())
		if err != nil {
			b.Fatal(err)
		}
		for _, take := range []bool{false, true} {
			name := sql
			if take {
				name += " with Take"
			}
			b.Run(name, func(b *testing.B) {
				kc := context(pool)
				var sel []int32
				b.ReportAllocs()
				for b.Loop() {
					if sel, err = p.Select(kc, rec, sel); err != nil {
						b.Fatal(err)
					}
					if take {
						out, err := eval.Take(kc.Alloc, rec, sel)
						if err != nil {
							b.Fatal(err)
						}
						out.Release()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
			})
		}
	}
}

// BenchmarkAggregate reports nanoseconds per row of accumulators, in one group and in a thousand.
func BenchmarkAggregate(b *testing.B) {
	rec := benchBatch()
	groups := make([]uint32, benchRows)
	for i, v := range vec.Values[int64](rec.Column(0)) {
		groups[i] = uint32(v)
	}
	for _, call := range []string{"count(*)", "count(a)", "sum(a)", "sum(f)", "sum(d)", "avg(a)", "min(a)", "max(f)", "max(s)", "stddev(f)", "approx_percentile(a, 0.95)", "approx_count_distinct(a)"} {
		col := 0
		switch call[len(call)-2] {
		case 'f':
			col = 5
		case 'd':
			col = 2
		case 's':
			col = 3
		}
		c := &expr.Column{Index: col, Name: "x", DT: rec.Schema().Field(col).Type, Null: true}
		name := call[:len(call)-3]
		args := []expr.Expr{c}
		switch call {
		case "count(*)":
			args = nil
		case "approx_percentile(a, 0.95)":
			name, args = "approx_percentile", append(args, double(0.95))
		}
		agg := bound(b, name, args...)
		in := []expr.Vec{{Arr: rec.Column(col)}}[:min(len(args), 1)]
		for _, gs := range [][]uint32{nil, groups} {
			label := call + "/one"
			if gs != nil {
				label = call + "/many"
			}
			b.Run(label, func(b *testing.B) {
				a := agg.New(memory.DefaultAllocator)
				a.Resize(1000)
				b.ReportAllocs()
				for b.Loop() {
					if err := a.Update(gs, in, nil, benchRows); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
			})
		}
	}
}
