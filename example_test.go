package sluice_test

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice"
)

// flightSchema and flights are the rows of the examples.
var flightSchema = arrow.NewSchema([]arrow.Field{
	{Name: "origin", Type: arrow.BinaryTypes.String},
	{Name: "dep_delay", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "event_time", Type: &arrow.TimestampType{Unit: arrow.Microsecond}},
}, nil)

// flights makes a batch of "origin delay minute" lines; a delay of - is NULL.
func flights(lines ...string) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, flightSchema)
	defer b.Release()
	for _, line := range lines {
		var origin, delay string
		var minute int64
		if _, err := fmt.Sscan(line, &origin, &delay, &minute); err != nil {
			log.Panicf("%q: %v", line, err)
		}
		b.Field(0).(*array.StringBuilder).Append(origin)
		if err := b.Field(1).AppendValueFromString(strings.Replace(delay, "-", array.NullValueStr, 1)); err != nil {
			log.Panic(err)
		}
		b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(minute * int64(time.Minute/time.Microsecond)))
	}
	return b.NewRecordBatch()
}

// newSession is a session whose checkpoints go with the example.
func newSession() (*sluice.Session, func()) {
	dir, err := os.MkdirTemp("", "sluice-example-*")
	check(err)
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler)})
	check(err)
	return s, func() {
		check(s.Close())
		check(os.RemoveAll(dir))
	}
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}

// A session reads rows that the program has, and gives rows back.
func Example() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	check(s.CreateDataFrame(flightSchema, flights("EWR 75 0", "JFK 10 1", "EWR 90 2", "LGA - 3")).CreateView("flights"))
	df := s.Table("flights").Where("dep_delay > 60").GroupBy("origin").Agg(sluice.Count().As("n"))
	rows, err := df.Collect(ctx)
	check(err)
	fmt.Println(rows)
	// Output: [[EWR 2]]
}

func ExampleSession_SQL() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	check(s.CreateDataFrame(flightSchema, flights("EWR 75 0", "JFK 10 1", "EWR 90 2", "LGA - 3")).CreateView("flights"))
	df, err := s.SQL(ctx, `SELECT origin, count(*) AS n, avg(dep_delay) AS avg_delay FROM flights GROUP BY origin ORDER BY origin`)
	check(err)
	check(df.Show(ctx, os.Stdout))
	// Output:
	// +--------+---+-----------+
	// | origin | n | avg_delay |
	// +--------+---+-----------+
	// | EWR    | 2 |      82.5 |
	// | JFK    | 1 |      10.0 |
	// | LGA    | 1 |      NULL |
	// +--------+---+-----------+
}

func ExampleDataFrame() {
	s, closeSession := newSession()
	defer closeSession()

	df := s.CreateDataFrame(flightSchema, flights("EWR 75 0", "JFK 10 1", "EWR 90 2", "LGA - 3", "JFK 20 4")).
		Where(sluice.Col("dep_delay").IsNotNull()).
		WithColumn("hours", sluice.Col("dep_delay").Div(60).Cast("DECIMAL(9,2)")).
		Select("origin", "hours").
		OrderBy(sluice.Col("hours").Desc()).
		Limit(3)
	check(df.Show(context.Background(), os.Stdout))
	// Output:
	// +--------+-------+
	// | origin | hours |
	// +--------+-------+
	// | EWR    |  1.50 |
	// | EWR    |  1.25 |
	// | JFK    |  0.33 |
	// +--------+-------+
}

func ExampleDataFrame_Join() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	airports, err := s.SQL(ctx, "SELECT * FROM VALUES ('EWR', 'Newark'), ('JFK', 'New York') AS t(code, city)")
	check(err)
	df := s.CreateDataFrame(flightSchema, flights("EWR 75 0", "LGA 10 1")).As("f").
		Join(airports.As("a"), "f.origin = a.code", "left").
		Select("f.origin", "a.city").
		OrderBy("origin")
	check(df.Show(ctx, os.Stdout))
	// Output:
	// +--------+--------+
	// | origin | city   |
	// +--------+--------+
	// | EWR    | Newark |
	// | LGA    | NULL   |
	// +--------+--------+
}

// A streaming query counts in windows as rows come. Each window goes out once,
// when the watermark (here two minutes behind the newest row) has passed its end.
func ExampleDataFrame_WithWatermark() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	stream, err := s.CreateStream("flights", flightSchema)
	check(err)
	q, err := s.Table("flights").
		WithWatermark("event_time", 2*time.Minute).
		GroupBy(sluice.Window(sluice.Col("event_time"), 10*time.Minute).As("w")).
		Agg(sluice.Count().As("flights"), sluice.Max(sluice.Col("dep_delay")).As("worst")).
		Select("w.start", "flights", "worst").
		WriteToMemory("ten_minutes").
		Start(ctx)
	check(err)

	for _, lines := range [][]string{
		{"EWR 5 1", "JFK 70 9"},
		{"EWR 0 11"}, // the watermark is at minute 9: the first window is open
		{"JFK 8 8"},  // out of order, in time
		{"LGA 1 12"}, // the watermark is at minute 10: the first window closes
	} {
		check(stream.Add(flights(lines...)))
		check(q.ProcessAllAvailable(ctx))
		n, err := s.MemoryTable("ten_minutes").Count(ctx)
		check(err)
		fmt.Println(lines, "->", n, "windows")
	}
	check(s.MemoryTable("ten_minutes").Show(ctx, os.Stdout))
	// Output:
	// [EWR 5 1 JFK 70 9] -> 0 windows
	// [EWR 0 11] -> 0 windows
	// [JFK 8 8] -> 0 windows
	// [LGA 1 12] -> 1 windows
	// +---------------------+---------+-------+
	// | start               | flights | worst |
	// +---------------------+---------+-------+
	// | 1970-01-01 00:00:00 |       3 |    70 |
	// +---------------------+---------+-------+
}

// What a function of ForeachBatch does to the outside is exactly-once when it
// keeps the batch's number together with its effect.
func ExampleDataFrame_ForeachBatch() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	// A database would hold both in one transaction.
	store := struct {
		lastBatch int64
		rows      int64
	}{lastBatch: -1}
	stream, err := s.CreateStream("flights", flightSchema)
	check(err)
	q, err := s.Table("flights").Where("dep_delay > 60").ForeachBatch(
		func(_ context.Context, id int64, rows []arrow.RecordBatch) error {
			if id <= store.lastBatch {
				return nil // seen before a crash
			}
			for _, r := range rows {
				store.rows += r.NumRows()
			}
			store.lastBatch = id
			return nil
		}).Name("late_flights").Start(ctx)
	check(err)
	check(stream.Add(flights("EWR 75 0", "JFK 10 1")))
	check(q.ProcessAllAvailable(ctx))
	check(stream.Add(flights("EWR 90 2")))
	check(q.ProcessAllAvailable(ctx))
	fmt.Println(store.rows, "rows, last batch", store.lastBatch)
	// Output: 2 rows, last batch 1
}

// A query written in SQL, over a stream that the program fills.
func ExampleSession_Exec() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	stream, err := s.CreateStream("flights", flightSchema)
	check(err)
	check(s.Exec(ctx, `
		CREATE TABLE by_origin (origin STRING, n BIGINT, PRIMARY KEY (origin) NOT ENFORCED) WITH ('connector' = 'memory');
		CREATE STREAMING QUERY counts OUTPUT MODE update AS
		INSERT INTO by_origin SELECT origin, count(*) FROM flights GROUP BY origin;`))
	q, _ := s.Query("counts")
	check(stream.Add(flights("EWR 75 0", "JFK 10 1")))
	check(stream.Add(flights("EWR 90 2")))
	check(q.ProcessAllAvailable(ctx))

	df, err := s.SQL(ctx, "SELECT * FROM by_origin ORDER BY origin")
	check(err)
	check(df.Show(ctx, os.Stdout))
	// Output:
	// +--------+---+
	// | origin | n |
	// +--------+---+
	// | EWR    | 2 |
	// | JFK    | 1 |
	// +--------+---+
}

func ExampleFunc1() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	check(s.RegisterFunc("initial", sluice.Func1(func(s string) (string, error) { return s[:1], nil })))
	df, err := s.SQL(ctx, "SELECT x, initial(x) FROM VALUES ('sluice'), (NULL) AS t(x)")
	check(err)
	rows, err := df.Collect(ctx)
	check(err)
	fmt.Println(rows)
	// Output: [[sluice s] [<nil> <nil>]]
}

func ExampleFunc2() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	check(s.RegisterFunc("clamp_below", sluice.Func2(func(x, most float64) (float64, error) { return min(x, most), nil })))
	df, err := s.SQL(ctx, "SELECT clamp_below(x, 2.5) FROM VALUES (1), (3) AS t(x)")
	check(err)
	rows, err := df.Collect(ctx)
	check(err)
	fmt.Println(rows)
	// Output: [[1] [2.5]]
}

// The distance between the extremes as an aggregate: S is what a group remembers.
func ExampleAggregator() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()

	type span struct{ Lo, Hi int64 }
	spread := sluice.Aggregator[int64, int64, *span]{
		Zero: func() *span { return nil },
		Add: func(s *span, x int64) *span {
			if s == nil {
				return &span{x, x}
			}
			return &span{min(s.Lo, x), max(s.Hi, x)}
		},
		Merge: func(a, b *span) *span {
			if a == nil || b == nil {
				return cmp.Or(a, b)
			}
			return &span{min(a.Lo, b.Lo), max(a.Hi, b.Hi)}
		},
		Final: func(s *span) (int64, bool) {
			if s == nil {
				return 0, false // a group without values: NULL
			}
			return s.Hi - s.Lo, true
		},
	}
	check(s.RegisterAggregate("spread", spread.Func()))
	df, err := s.SQL(ctx, "SELECT k, spread(x) FROM VALUES ('a', 1), ('a', 9), ('b', NULL) AS t(k, x) GROUP BY k ORDER BY k")
	check(err)
	rows, err := df.Collect(ctx)
	check(err)
	fmt.Println(rows)
	// Output: [[a 8] [b <nil>]]
}
