package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice"
)

// order is what the program's own code deals in.
type order struct {
	at      time.Time
	phone   string
	dollars int64
}

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	{Name: "phone", Type: arrow.BinaryTypes.String},
	{Name: "dollars", Type: arrow.PrimitiveTypes.Int64},
}, nil)

// countries stands for something that only Go code knows.
var countries = map[string]string{"+1": "US", "+49": "DE", "+81": "JP"}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "sluice-embedded-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a real program keeps its checkpoint
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Close(); err == nil {
			err = e
		}
	}()

	country := sluice.Func1(func(phone string) (string, error) {
		for prefix, name := range countries {
			if len(phone) >= len(prefix) && phone[:len(prefix)] == prefix {
				return name, nil
			}
		}
		return "elsewhere", nil
	})
	if err := s.RegisterFunc("country", country); err != nil {
		return err
	}
	orders, err := s.CreateStream("orders", schema, sluice.DropRead())
	if err != nil {
		return err
	}

	q, err := s.Table("orders").
		WithWatermark("at", 5*time.Second).
		GroupBy(sluice.Window(sluice.Col("at"), time.Minute).As("minute"), sluice.Call("country", sluice.Col("phone")).As("country")).
		Agg(sluice.Count().As("orders"), sluice.Sum(sluice.Col("dollars")).As("dollars")).
		Select("minute.start", "country", "orders", "dollars").
		ForeachBatch(printRows).
		Name("revenue").
		Start(ctx)
	if err != nil {
		return err
	}

	in := make(chan order)
	go sell(in) // closes in
	defer func() {
		for range in { // so that sell ends if we give up
		}
	}()
	for o := range in {
		if err := orders.Add(rowsOf(o)); err != nil {
			return err
		}
		if o.at.Second() == 30 { // only to have the minutes printed one after the other
			if err := q.ProcessAllAvailable(ctx); err != nil {
				return err
			}
		}
	}
	if err := q.ProcessAllAvailable(ctx); err != nil {
		return err
	}
	fmt.Printf("%d orders, %d late\n", q.Totals().RowsIn, q.Totals().Late)
	return nil
}

// printRows gets each batch once. The last rows of a crash may come again: code
// that writes elsewhere remembers id with them.
func printRows(_ context.Context, _ int64, rows []arrow.RecordBatch) error {
	for _, r := range rows {
		for i := range int(r.NumRows()) {
			start := r.Column(0).(*array.Timestamp).Value(i).ToTime(arrow.Microsecond)
			fmt.Printf("%s  %-9s  %d orders, %4d dollars\n", start.Format("15:04"), r.Column(1).ValueStr(i),
				r.Column(2).(*array.Int64).Value(i), r.Column(3).(*array.Int64).Value(i))
		}
	}
	return nil
}

// rowsOf makes a batch of one row; a busy program gathers some.
func rowsOf(o order) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.TimestampBuilder).Append(arrow.Timestamp(o.at.UnixMicro()))
	b.Field(1).(*array.StringBuilder).Append(o.phone)
	b.Field(2).(*array.Int64Builder).Append(o.dollars)
	return b.NewRecordBatch()
}

// sell sends three minutes of orders.
func sell(out chan<- order) {
	defer close(out)
	phones := []string{"+1 555", "+49 30", "+81 3", "+1 212", "+33 1"}
	start := time.Date(2024, 3, 1, 9, 0, 0, 0, time.UTC)
	for i := range 200 {
		out <- order{start.Add(time.Duration(i) * time.Second), phones[i%len(phones)], int64(10 + i%7)}
	}
}
