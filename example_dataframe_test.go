package sluice_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/fn"
)

type sale struct {
	Shop  string
	Day   int32
	Total float64
}

func sales(s *sluice.Session) *sluice.DataFrame {
	return sluice.FromSlice(s, []sale{{"a", 1, 10}, {"a", 2, 30}, {"b", 1, 5}, {"b", 3, 7}}).As("sales")
}

// Rows of a query come back as structs.
func ExampleScan() {
	s, closeSession := newSession()
	defer closeSession()
	best := sales(s).Qualify(fn.RowNumber().Over(sluice.PartitionBy("Shop").OrderBy(sluice.Col("Total").Desc())).Eq(1)).OrderBy("Shop")
	rows, err := sluice.Scan[sale](context.Background(), best)
	fmt.Println(rows, err)
	// Output: [{a 2 30} {b 3 7}] <nil>
}

// A subquery may use the columns of the query around it.
func ExampleOuter() {
	s, closeSession := newSession()
	defer closeSession()
	mean := sales(s).As("x").Where(sluice.Col("x.Shop").Eq(sluice.Outer("sales.Shop"))).Agg(fn.Avg(sluice.Col("x.Total")))
	rows, err := sales(s).Where(sluice.Col("Total").Gt(mean)).Select("Shop", "Total").OrderBy("Shop").Collect(context.Background())
	fmt.Println(rows, err)
	// Output: [[a 30] [b 7]] <nil>
}

func ExampleGrouped_Pivot() {
	s, closeSession := newSession()
	defer closeSession()
	wide := sales(s).GroupBy("Shop").Pivot("Day", 1, sluice.Lit(2).As("second")).Agg(fn.Sum(sluice.Col("Total")))
	check(wide.OrderBy("Shop").Show(context.Background(), os.Stdout))
	// Output:
	// +------+------+--------+
	// | Shop |    1 | second |
	// +------+------+--------+
	// | a    | 10.0 |   30.0 |
	// | b    |  5.0 |   NULL |
	// +------+------+--------+
}

// Files of one format become files of another, partitioned by a column.
func ExampleDataFrame_WriteFiles() {
	s, closeSession := newSession()
	defer closeSession()
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "sluice-example-*")
	check(err)
	defer os.RemoveAll(dir)
	n, err := sales(s).WriteFiles().PartitionBy("Shop").Mode(sluice.Overwrite).Parquet(ctx, filepath.Join(dir, "sales"))
	fmt.Println(n, err)
	back := s.ReadFiles().Parquet(ctx, filepath.Join(dir, "sales")).Where("Shop = 'b'").Agg(fn.Sum(sluice.Col("Total")))
	rows, err := back.Collect(ctx)
	fmt.Println(rows, err)
	// Output:
	// 4 <nil>
	// [[12]] <nil>
}

func ExampleNA_Fill() {
	s, closeSession := newSession()
	defer closeSession()
	d, err := s.SQL(context.Background(), "SELECT * FROM VALUES (1, NULL), (NULL, 'x') AS t(a, b)")
	check(err)
	rows, err := d.NA().Fill(0).NA().Fill("?").Collect(context.Background())
	fmt.Println(rows, err)
	// Output: [[1 ?] [0 x]] <nil>
}
