package sluice

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatRunsADataFrame(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	d := s.Table("u").OrderBy("k")
	if got, err := d.First(ctx); err != nil || fmt.Sprint(got) != "[<nil> none]" {
		t.Errorf("first: %v %v", got, err)
	}
	if got, err := d.Take(ctx, 2); err != nil || len(got) != 2 {
		t.Errorf("take: %v %v", got, err)
	}
	if empty, err := d.Where("false").IsEmpty(ctx); err != nil || !empty {
		t.Errorf("is empty: %v %v", empty, err)
	}
	if got, err := d.Where("false").First(ctx); err != nil || got != nil {
		t.Errorf("first of none: %v %v", got, err)
	}
	table, err := d.ToArrow(ctx)
	if err != nil || table.NumRows() != 3 {
		t.Fatalf("to arrow: %v %v", table, err)
	}
	table.Release()
	n := 0
	for row, err := range d.Rows(ctx) {
		if err != nil || len(row) != 2 {
			t.Fatal(row, err)
		}
		if n++; n == 2 {
			break
		}
	}
	types, err := s.Table("t").DTypes()
	if want := "[[k BIGINT] [v DOUBLE] [s STRING] [ts TIMESTAMP_NTZ]]"; err != nil || fmt.Sprint(types) != want {
		t.Errorf("types: %v %v", types, err)
	}
	var b strings.Builder
	nested, err := s.SQL(ctx, "SELECT 1 AS a, array(named_struct('x', 'y')) AS b, map('k', 1.5D) AS c")
	if err != nil {
		t.Fatal(err)
	}
	if err := nested.PrintSchema(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" |-- a: int", " |-- b: array", " |    |-- element: struct", " |    |    |-- x: string", " |    |-- key: string", " |    |-- value: double"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	plan, err := d.ExplainMode(ctx, "analyze")
	if err != nil || !strings.Contains(plan, "rows") {
		t.Errorf("explain analyze: %s %v", plan, err)
	}
}

func TestCacheKeepsRows(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	drawn := s.Table("t").Select(Call("rand").As("r")).OrderBy("r")
	kept, err := drawn.Cache(ctx)
	if err != nil {
		t.Fatal(err)
	}
	one, two := rowsOf(t, kept), rowsOf(t, kept)
	same(t, "a cached frame read twice", one, two...)
	kept.Unpersist()
	if _, err := kept.Collect(ctx); err == nil {
		t.Error("rows that were let go are read")
	}
}

func TestScanIntoStructs(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	type row struct {
		K    *int64
		V    float64
		Text string    `sluice:"s"`
		At   time.Time `sluice:"ts"`
		Skip chan int  `sluice:"-"`
	}
	got, err := Scan[row](ctx, s.Table("t").OrderBy("ts", "s"))
	if err != nil || len(got) != 5 {
		t.Fatal(got, err)
	}
	if *got[0].K != 1 || got[0].V != 1.5 || got[0].Text != "a" || got[0].At.Second() != 1 || got[2].V != 0 || got[2].Text != "" {
		t.Errorf("got %+v", got)
	}
	names, err := Scan[string](ctx, s.Table("u").Select("name").OrderBy("name"))
	if err != nil || !slices.Equal(names, []string{"none", "one", "three"}) {
		t.Error(names, err)
	}
	_, err = Scan[struct{ Nope int }](ctx, s.Table("u"))
	wantError(t, err, `there is no column "Nope"`)
	_, err = Scan[struct{ Name int }](ctx, s.Table("u"))
	wantError(t, err, `scan column "name"`)
	_, err = Scan[int8](ctx, s.Table("u").Select(Lit(300)))
	wantError(t, err, "does not fit into int8")
	_, err = Scan[int](ctx, s.Table("u"))
	wantError(t, err, "scan into a struct")
}

func TestStructsGoInAndOut(t *testing.T) {
	type inner struct{ A int32 }
	type row struct {
		ID   int64
		Name *string
		Tags []string
		Ages map[string]int32
		In   inner
		At   time.Time
		Raw  []byte
		Took time.Duration
		Ok   bool
	}
	s, ctx := openSession(t, Options{}), t.Context()
	name := "x"
	in := []row{
		{ID: 1, Name: &name, Tags: []string{"a", "b"}, Ages: map[string]int32{"q": 1, "p": 2}, In: inner{7}, At: time.Unix(5, 0).UTC(), Raw: []byte{1}, Took: time.Second, Ok: true},
		{ID: 2, At: time.Unix(0, 0).UTC()},
	}
	out, err := Scan[row](ctx, FromSlice(s, in).OrderBy("ID"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v %s", out[0].Ages, *out[0].Name), "map[p:2 q:1] x"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
	in[0].Name, out[0].Name = nil, nil
	if got, want := fmt.Sprintf("%+v", out), fmt.Sprintf("%+v", in); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_, err = FromSlice(s, []struct{ C chan int }{}).Collect(ctx)
	wantError(t, err, "no column type for chan int")
}

func TestMissingValues(t *testing.T) {
	s := openSession(t, Options{})
	d, err := s.SQL(t.Context(), "SELECT * FROM VALUES (1, 'a', CAST('NaN' AS DOUBLE)), (NULL, NULL, 2.0D), (3, 'c', NULL), (NULL, NULL, NULL) AS t(i, s, f)")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		df   *DataFrame
		want string
	}{
		{"fill number", d.NA().Fill(0), "[[1 a 0] [0 <nil> 2] [3 c 0] [0 <nil> 0]]"},
		{"fill text", d.NA().Fill("-"), "[[1 a NaN] [<nil> - 2] [3 c <nil>] [<nil> - <nil>]]"},
		{"fill each", d.NA().FillEach(map[string]any{"i": 9, "S": "z"}), "[[1 a NaN] [9 z 2] [3 c <nil>] [9 z <nil>]]"},
		{"drop any", d.NA().Drop("any"), "[]"},
		{"drop any of two", d.NA().Drop("any", "i", "s"), "[[1 a NaN] [3 c <nil>]]"},
		{"drop all", d.NA().Drop("all"), "[[1 a NaN] [<nil> <nil> 2] [3 c <nil>]]"},
		{"thresh", d.NA().DropThresh(2), "[[1 a NaN] [3 c <nil>]]"},
		{"replace", d.NA().Replace(1, 5), "[[5 a NaN] [<nil> <nil> 2] [3 c <nil>] [<nil> <nil> <nil>]]"},
		{"replace text by NULL", d.NA().Replace("a", nil, "s"), "[[1 <nil> NaN] [<nil> <nil> 2] [3 c <nil>] [<nil> <nil> <nil>]]"},
	} {
		rows, err := c.df.Collect(t.Context())
		if got := fmt.Sprint(rows); err != nil || got != c.want {
			t.Errorf("%s: got %s want %s %v", c.name, got, c.want, err)
		}
	}
	_, err = d.NA().Drop("some").Collect(t.Context())
	wantError(t, err, "want any or all")
	_, err = d.NA().Fill(1, "nope").Collect(t.Context())
	wantError(t, err, `no column "nope"`)
}

func TestStatistics(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	d := s.Table("t")
	var b strings.Builder
	if err := d.Describe("k", "s").Show(ctx, &b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| count   | 4", "| mean    | 1.5 ", "| min     | 1 ", "| max     | 2 ", "| d "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	rows, err := d.Summary("count", "50%").Collect(ctx)
	if err != nil || fmt.Sprint(rows) != "[[count 4 4 4] [50% 1 2.5 <nil>]]" {
		t.Error(rows, err)
	}
	if v, err := d.Stat().Corr(ctx, "v", "v"); err != nil || v < 0.999 {
		t.Error(v, err)
	}
	if v, err := d.Stat().Cov(ctx, "v", "k"); err != nil || v == 0 {
		t.Error(v, err)
	}
	if v, err := d.Stat().ApproxQuantile(ctx, "v", 0, 0.5, 1); err != nil || fmt.Sprint(v) != "[1.5 2.5 4]" {
		t.Error(v, err)
	}
	tab, err := d.Stat().Crosstab(ctx, "k", "s")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "crosstab", rowsOf(t, tab.OrderBy("k_s")), "1|1|1|0|0", "2|0|0|1|1", "null|0|0|1|0")
	freq, err := d.Stat().FreqItems(0.3, "k", "v").Collect(ctx)
	if err != nil || fmt.Sprint(freq) != "[[[1 2] [4]]]" {
		t.Error(freq, err)
	}
	pivot := d.GroupBy("k").Pivot("s", "a", Lit("d").As("dd")).Agg(Sum(Col("v"))).OrderBy("k")
	cols, err := pivot.ColumnNames()
	if err != nil || !slices.Equal(cols, []string{"k", "a", "dd"}) {
		t.Error(cols, err)
	}
	if got, err := pivot.Collect(ctx); err != nil || fmt.Sprint(got) != "[[<nil> <nil> 4] [1 1.5 <nil>] [2 <nil> 4]]" {
		t.Error(got, err)
	}
	melt := d.Select("k", "v").Where("k = 1").Unpivot([]string{"k"}, nil, "name", "value").OrderBy("value")
	if got, err := melt.Collect(ctx); err != nil || fmt.Sprint(got) != "[[1 v 1.5] [1 v 2.5]]" {
		t.Error(got, err)
	}
	if n, err := d.DropDuplicates("k").Count(ctx); err != nil || n != 3 {
		t.Error(n, err)
	}
	some := d.Sample(0.5, 7)
	same(t, "the same seed", rowsOf(t, some), rowsOf(t, some)...)
	if got, err := d.SampleBy("k", map[any]float64{1: 1.0}, 3).Count(ctx); err != nil || got != 2 {
		t.Error(got, err)
	}
	byName := s.Table("u").Select("name", "k").UnionByName(s.Table("t").Select("k", "v"), true)
	if got, err := byName.ColumnNames(); err != nil || !slices.Equal(got, []string{"name", "k", "v"}) {
		t.Error(got, err)
	}
	_, err = s.Table("u").UnionByName(s.Table("t")).Collect(ctx)
	wantError(t, err, "has no column")
}

func TestADataFrameWithOuterRunsInsideAnotherOnly(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	inner := s.Table("u").Where(Col("k").Eq(Outer("k")))
	_, err := inner.Collect(ctx)
	if wantError(t, err, "a column of Outer"); !errors.Is(err, errOpen) {
		t.Error("another error")
	}
	for _, err := range []error{inner.CreateView("x"), inner.WriteTo("u").err, inner.WriteToMemory("m").err} {
		wantError(t, err, "a column of Outer")
	}
	_, err = s.Table("u").Where(Exists(s.Table("t").Where(Col("k").Eq(Outer("nope"))))).Collect(ctx)
	wantError(t, err, `no column "nope" in a query around`)
}

func TestFilesGoOutAndIn(t *testing.T) {
	s, ctx := testTables(t), t.Context()
	for _, format := range []string{"parquet", "csv", "json", "arrow"} {
		dir := filepath.Join(t.TempDir(), "out")
		d := s.Table("t")
		n, err := d.WriteFiles().Format(format).PartitionBy("k").Save(ctx, dir)
		if err != nil || n != 5 {
			t.Fatal(format, n, err)
		}
		if _, err := d.WriteFiles().Format(format).Save(ctx, dir); err == nil {
			t.Error(format, "files were written over")
		}
		if n, err := d.WriteFiles().Format(format).Mode(Ignore).Save(ctx, dir); err != nil || n != 0 {
			t.Error(format, n, err)
		}
		back := s.ReadFiles().Format(format).Schema("k BIGINT, v DOUBLE, s STRING, ts TIMESTAMP_NTZ").Load(ctx, dir)
		same(t, format, rowsOf(t, back), rowsOf(t, d)...)
	}
	dir := t.TempDir()
	if _, err := s.Table("u").WriteFiles().Format("csv").Option("sep", ";").Option("nullValue", "NA").CSV(ctx, dir+"/o"); err != nil {
		t.Fatal(err)
	}
	back := s.ReadFiles().Option("delimiter", ";").Option("null_value", "NA").CSV(ctx, dir+"/o")
	same(t, "csv options", rowsOf(t, back), rowsOf(t, s.Table("u"))...)
	_, err := s.ReadFiles().Load(ctx).Collect(ctx)
	wantError(t, err, "no path")
}
