package fn_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/fn"
)

// Functions of SQL are functions of Go, lambdas are closures.
func Example() {
	s, err := sluice.NewSession(sluice.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	type order struct {
		Customer string
		Items    []int64
	}
	orders := sluice.FromSlice(s, []order{{"ann", []int64{3, 4}}, {"bob", []int64{1}}, {"ann", []int64{5}}})
	col := sluice.Col
	total := fn.Aggregate(col("Items"), int64(0), func(sum, x sluice.Column) sluice.Column { return sum.Plus(x) })
	rows, err := orders.
		GroupBy(fn.Upper(col("Customer")).As("who")).
		Agg(fn.Sum(total).As("spent"), fn.Max(fn.Size(col("Items"))).As("most")).
		OrderBy("who").Collect(context.Background())
	fmt.Println(rows, err)
	// Output: [[ANN 12 2] [BOB 1 1]] <nil>
}
