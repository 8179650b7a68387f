package sluice_test

import (
	"context"
	"fmt"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/fn"
)

// printRows runs a DataFrame and prints its rows.
func printRows(d *sluice.DataFrame) {
	rows, err := d.Collect(context.Background())
	fmt.Println(rows, err)
}

type quote struct {
	Shop  string
	Day   int32
	Price int64
}

// Each sale meets the last quote of its shop that is not later.
func ExampleDataFrame_AsofJoin() {
	s, closeSession := newSession()
	defer closeSession()
	quotes := sluice.FromSlice(s, []quote{{"a", 0, 100}, {"a", 2, 120}, {"b", 2, 7}}).As("quotes")
	joined := sales(s).AsofJoin(quotes, "sales.Day >= quotes.Day", "sales.Shop = quotes.Shop", "left")
	printRows(joined.Select("sales.Shop", "sales.Day", "Price").OrderBy("Shop", "Day"))
	// Output: [[a 1 100] [a 2 120] [b 1 <nil>] [b 3 7]] <nil>
}

func ExampleDataFrame_Join_kinds() {
	s, closeSession := newSession()
	defer closeSession()
	quotes := sluice.FromSlice(s, []quote{{"a", 1, 100}, {"c", 1, 9}}).As("quotes")
	printRows(sales(s).Join(quotes, "sales.Shop = quotes.Shop AND sales.Day = quotes.Day", "full").Select("sales.Shop", "quotes.Shop", "Total", "Price").OrderBy("Total", "Price"))
	printRows(sales(s).Join(quotes, "sales.Shop = quotes.Shop", "anti").Select("Shop", "Total").OrderBy("Total"))
	// Output:
	// [[<nil> c <nil> 9] [b <nil> 5 <nil>] [b <nil> 7 <nil>] [a a 10 100] [a <nil> 30 <nil>]] <nil>
	// [[b 5] [b 7]] <nil>
}

func ExampleDataFrame_Union() {
	s, closeSession := newSession()
	defer closeSession()
	more := sluice.FromSlice(s, []sale{{"a", 1, 10}, {"c", 9, 1}})
	printRows(sales(s).Union(more).GroupBy("Shop").Count().OrderBy("Shop"))
	printRows(sales(s).Intersect(more))
	printRows(more.Except(sales(s)))
	// Output:
	// [[a 3] [b 2] [c 1]] <nil>
	// [[a 1 10]] <nil>
	// [[c 9 1]] <nil>
}

// Columns are added, renamed and dropped.
func ExampleDataFrame_WithColumn() {
	s, closeSession := newSession()
	defer closeSession()
	printRows(sales(s).WithColumn("Tax", sluice.Col("Total").Times(0.5)).WithColumnRenamed("Day", "D").Drop("Shop").Where("D = 1").OrderBy("Total"))
	// Output: [[1 5 2.5] [1 10 5]] <nil>
}

// Subtotals of every combination, and of one prefix after another.
func ExampleDataFrame_Rollup() {
	s, closeSession := newSession()
	defer closeSession()
	printRows(sales(s).Rollup("Shop").Agg(fn.Sum(sluice.Col("Total")).As("sum"), fn.Max(sluice.Col("Day")).As("last")).OrderBy("sum"))
	// Output: [[b 12 3] [a 40 2] [<nil> 52 3]] <nil>
}

// A running sum, and the row before.
func ExamplePartitionBy() {
	s, closeSession := newSession()
	defer closeSession()
	w := sluice.PartitionBy("Shop").OrderBy("Day")
	printRows(sales(s).Select("Shop", "Day", fn.Sum(sluice.Col("Total")).Over(w), fn.Lag(sluice.Col("Total"), 1).Over(w)).OrderBy("Shop", "Day"))
	// Output: [[a 1 10 <nil>] [a 2 40 10] [b 1 5 <nil>] [b 3 12 5]] <nil>
}

func ExampleDataFrame_Describe() {
	s, closeSession := newSession()
	defer closeSession()
	printRows(sales(s).Describe("Total"))
	// Output: [[count 4] [mean 13.0] [stddev 11.51810169544733] [min 5.0] [max 30.0]] <nil>
}

// Columns become rows.
func ExampleDataFrame_Unpivot() {
	s, closeSession := newSession()
	defer closeSession()
	wide := sales(s).GroupBy("Shop").Agg(fn.Min(sluice.Col("Total")).As("least"), fn.Max(sluice.Col("Total")).As("most"))
	printRows(wide.Unpivot([]string{"Shop"}, []string{"least", "most"}, "what", "value").OrderBy("Shop", "what"))
	// Output: [[a least 10] [a most 30] [b least 5] [b most 7]] <nil>
}
