package sluice

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// frames makes a session with the tables t (k, v, s, ts) and u (k, name).
func testTables(t *testing.T) *Session {
	s := openSession(t, Options{})
	for name, table := range map[string][2]string{
		"t": {"k BIGINT, v DOUBLE, s STRING, ts TIMESTAMP_NTZ",
			"1,1.5,a,2024-01-01 00:00:01\n1,2.5,b,2024-01-01 00:00:11\n2,NULL,NULL,2024-01-01 00:00:12\nNULL,4,d,2024-01-01 00:01:00\n2,4,d,2024-01-01 00:01:00\n"},
		"u": {"k BIGINT, name STRING", "1,one\n3,three\nNULL,none\n"},
	} {
		schema := schemaOf(t, s, table[0])
		rec := recordOf(t, memory.DefaultAllocator, schema, table[1])
		if err := s.CreateDataFrame(schema, rec).CreateView(name); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	return s
}

// TestMethodsMeanTheSQLOfTheSameShape compares plans and rows.
func TestMethodsMeanTheSQLOfTheSameShape(t *testing.T) {
	s := testTables(t)
	tt := func() *DataFrame { return s.Table("t") }
	k, v, str, ts := Col("k"), Col("v"), Col("s"), Col("ts")
	for _, c := range []struct {
		sql string
		df  *DataFrame
	}{
		{"SELECT * FROM t", tt()},
		{"SELECT k, v AS w, k + 1 AS k1 FROM t", tt().Select("k", v.As("w"), k.Plus(1).As("k1"))},
		{"SELECT k, v + 1 AS w FROM t", tt().Select("k", Expr("v + 1 AS w"))},
		{"SELECT * FROM t WHERE v > 2 AND s IS NOT NULL", tt().Where(v.Gt(2).And(str.IsNotNull()))},
		{"SELECT * FROM t WHERE v > 2 OR NOT s = 'a'", tt().Where("v > 2 OR NOT s = 'a'")},
		{"SELECT *, v * 2 AS w FROM t", tt().WithColumn("w", v.Times(2))},
		{"SELECT * EXCEPT (s, ts) FROM t", tt().Drop("s", "ts")},
		{"SELECT k, count(*) AS n, sum(v) AS total, avg(v) AS mean, min(s) AS lo, max(s) AS hi FROM t GROUP BY k",
			tt().GroupBy("k").Agg(Count().As("n"), Sum(v).As("total"), Avg(v).As("mean"), Min(str).As("lo"), Max(str).As("hi"))},
		{"SELECT k, count(*) AS `count` FROM t GROUP BY k", tt().GroupBy("k").Count()},
		{"SELECT count(DISTINCT k) AS n FROM t", tt().GroupBy().Agg(CountDistinct(k).As("n"))},
		{"SELECT window(ts, '10 seconds') AS w, count(*) AS n FROM t GROUP BY window(ts, '10 seconds')",
			tt().GroupBy(Window(ts, 10*time.Second).As("w")).Agg(Count().As("n"))},
		{"SELECT window(ts, '20 seconds', '10 seconds') AS w, count(*) AS n FROM t GROUP BY window(ts, '20 seconds', '10 seconds')",
			tt().GroupBy(Window(ts, 20*time.Second, 10*time.Second).As("w")).Agg(Count().As("n"))},
		{"SELECT * FROM t AS a JOIN u AS b ON a.k = b.k", tt().As("a").Join(s.Table("u").As("b"), Col("a.k").Eq(Col("b.k")), "inner")},
		{"SELECT * FROM t LEFT JOIN u ON t.k = u.k", tt().Join(s.Table("u"), "t.k = u.k", "left")},
		{"SELECT * FROM t RIGHT JOIN u ON t.k = u.k", tt().Join(s.Table("u"), "t.k = u.k", "right")},
		{"SELECT * FROM t FULL JOIN u ON t.k = u.k", tt().Join(s.Table("u"), "t.k = u.k", "full")},
		{"SELECT * FROM t LEFT SEMI JOIN u ON t.k = u.k", tt().Join(s.Table("u"), "t.k = u.k", "semi")},
		{"SELECT * FROM t LEFT ANTI JOIN u ON t.k = u.k", tt().Join(s.Table("u"), "t.k = u.k", "anti")},
		{"SELECT * FROM t CROSS JOIN u", tt().Join(s.Table("u"), nil, "cross")},
		{"SELECT * FROM t JOIN u USING (k)", tt().Join(s.Table("u"), []string{"k"}, "inner")},
		{"SELECT a.k, b.name FROM t AS a JOIN u AS b ON a.k = b.k JOIN u AS c ON c.k = b.k WHERE a.v > 1 AND c.name <> 'x'",
			tt().As("a").Join(s.Table("u").As("b"), "a.k = b.k", "inner").Join(s.Table("u").As("c"), "c.k = b.k", "inner").
				Where("a.v > 1").Where("c.name <> 'x'").Select("a.k", "b.name")},
		{"SELECT t.s, count(*) AS n FROM t LEFT JOIN u ON t.k = u.k WHERE u.name IS NULL GROUP BY t.s",
			tt().Join(s.Table("u"), "t.k = u.k", "left").Where("u.name IS NULL").GroupBy("t.s").Agg(Count().As("n"))},
		{"SELECT k FROM t UNION ALL SELECT k FROM u", tt().Select("k").Union(s.Table("u").Select("k"))},
		{"SELECT DISTINCT k FROM t", tt().Select("k").Distinct()},
		{"SELECT * FROM t ORDER BY v DESC NULLS FIRST, k", tt().OrderBy(v.Desc().NullsFirst(), "k")},
		{"SELECT * FROM t ORDER BY k NULLS LAST, ts LIMIT 2", tt().OrderBy(k.NullsLast(), ts.Asc()).Limit(2)},
		{"SELECT CASE WHEN v > 2 THEN 'hi' WHEN v IS NULL THEN 'no' ELSE s END AS c FROM t",
			tt().Select(When(v.Gt(2), "hi").When(v.IsNull(), "no").Otherwise(str).As("c"))},
		{"SELECT CAST(v AS BIGINT) AS c, upper(s) AS u, k IN (1, 2) AS i, v BETWEEN 1 AND 2 AS b, s LIKE 'a%' AS l FROM t",
			tt().Select(v.Cast("BIGINT").As("c"), Call("upper", str).As("u"), k.In(1, 2).As("i"), v.Between(1, 2).As("b"), str.Like("a%").As("l"))},
		{"SELECT v - 1 AS a, v / 2 AS b, k % 2 AS c, v <> 1 AS d, v < 1 AS e, v <= 1 AS f, v >= 1 AS g, NOT v = 1 AS h FROM t",
			tt().Select(v.Minus(1).As("a"), v.Div(2).As("b"), k.Mod(2).As("c"), v.Ne(1).As("d"), v.Lt(1).As("e"), v.Le(1).As("f"), v.Ge(1).As("g"), v.Eq(1).Not().As("h"))},
	} {
		want, err := s.SQL(t.Context(), c.sql)
		if err != nil {
			t.Errorf("%s\n%v", c.sql, err)
			continue
		}
		wantPlan, err := want.Explain()
		if err != nil {
			t.Errorf("%s\n%v", c.sql, err)
			continue
		}
		gotPlan, err := c.df.Explain()
		if err != nil {
			t.Errorf("methods for %s\n%v", c.sql, err)
			continue
		}
		if gotPlan != wantPlan {
			t.Errorf("%s\n-- SQL:\n%s\n-- methods:\n%s", c.sql, wantPlan, gotPlan)
		}
		same(t, c.sql, rowsOf(t, c.df), rowsOf(t, want)...)
		wantColumns, _ := want.Columns()
		if got, _ := c.df.Columns(); got != wantColumns {
			t.Errorf("%s\nmethods give the columns %s, SQL %s", c.sql, got, wantColumns)
		}
	}
}

func TestLiteralsKeepTheirGoTypes(t *testing.T) {
	s := openSession(t, Options{})
	at := time.Date(2024, 2, 29, 12, 0, 0, 5000, time.UTC)
	one, err := s.SQL(t.Context(), "SELECT 1 AS one")
	if err != nil {
		t.Fatal(err)
	}
	d := one.Select(Lit(nil).As("n"), Lit(true).As("b"), Lit(int8(-8)).As("i8"), Lit(int16(-16)).As("i16"), Lit(int32(-32)).As("i32"), Lit(-64).As("i64"),
		Lit(float32(0.5)).As("f32"), Lit(-0.25).As("f64"), Lit("it's").As("s"), Lit([]byte{0, 255}).As("x"), Lit(at).As("ts"), Lit(90*time.Second).As("d"))
	cols, err := d.Columns()
	if err != nil {
		t.Fatal(err)
	}
	if want := "n VOID, b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f32 FLOAT, f64 DOUBLE, s STRING, x BINARY, ts TIMESTAMP, d INTERVAL DAY TO SECOND"; cols != want {
		t.Errorf("got  %s\nwant %s", cols, want)
	}
	rows, err := d.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Row{nil, true, int64(-8), int64(-16), int64(-32), int64(-64), 0.5, -0.25, "it's", []byte{0, 255}, at, 90 * time.Second}
	for i, v := range rows[0] {
		if b, ok := v.([]byte); ok && slices.Equal(b, want[i].([]byte)) {
			continue
		} else if ok || v != want[i] {
			t.Errorf("column %d: got %v (%T), want %v (%T)", i, v, v, want[i], want[i])
		}
	}
}

// TestFaultsAreReportedWhereTheQueryRuns: methods never fail, what runs does.
func TestFaultsAreReportedWhereTheQueryRuns(t *testing.T) {
	s := testTables(t)
	other := s.Table("nowhere")
	for want, d := range map[string]*DataFrame{
		`"nowhere"`:               other.Where("a > 1").Select("b").GroupBy("c").Count().OrderBy("d").Limit(1),
		"there is no column":      s.Table("t").WithWatermark("x", time.Second),
		"is no timestamp":         s.Table("t").WithWatermark("k", time.Second),
		`join "middle"`:           s.Table("t").Join(s.Table("u"), "t.k = u.k", "middle"),
		"want a column name":      s.Table("t").Select(1),
		`expression "k +"`:        s.Table("t").Select(Expr("k +")),
		"Go value of type chan":   s.Table("t").Select(Col("k").Plus(make(chan int))),
		"start with sluice.When":  s.Table("t").Select(Col("k").Otherwise(1)),
		"join condition is a int": s.Table("t").Join(s.Table("u"), 1, "inner"),
		"vv":                      s.Table("t").Select("vv"),
	} {
		_, schemaErr := d.Schema()
		_, collectErr := d.Collect(t.Context())
		_, explainErr := d.Explain()
		_, countErr := d.Count(t.Context())
		_, startErr := d.WriteToMemory("m").Start(t.Context())
		_, insertErr := d.WriteTo("m").Insert(t.Context())
		for _, err := range []error{schemaErr, collectErr, explainErr, countErr, startErr, insertErr, d.CreateView("v")} {
			wantError(t, err, want)
		}
	}
	_, err := s.SQL(t.Context(), "SELECT vv FROM t")
	if wantError(t, err, "1:8"); !IsSyntaxOrPlanError(err) {
		t.Error("a mistyped column is no fault of the text")
	}
	if IsSyntaxOrPlanError(errors.New("x")) {
		t.Error("any error is a fault of the text")
	}
}

func TestCountAndShow(t *testing.T) {
	s := testTables(t)
	n, err := s.Table("t").Count(t.Context())
	if err != nil || n != 5 {
		t.Errorf("counted %d rows (%v), want 5", n, err)
	}
	if n, err := s.Table("t").Where("false").Count(t.Context()); err != nil || n != 0 {
		t.Errorf("counted %d rows (%v), want 0", n, err)
	}
	var b strings.Builder
	if err := s.Table("u").OrderBy("k").Show(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	want := `+------+-------+
|    k | name  |
+------+-------+
| NULL | none  |
|    1 | one   |
|    3 | three |
+------+-------+
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestColumnsAreWhatCreateTableTakes(t *testing.T) {
	s := openSession(t, Options{})
	d, err := s.SQL(t.Context(), "SELECT 1 AS a, 'x' AS `order`, 2.50 AS `a b`, array(1L) AS `primary`, named_struct('f', 1, 'g h', map('k', DATE '2024-01-01')) AS st")
	if err != nil {
		t.Fatal(err)
	}
	cols, err := d.Columns()
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, "CREATE TABLE m ("+cols+") WITH ('connector'='memory')")
	if n, err := d.WriteTo("m").Insert(t.Context()); err != nil || n != 1 {
		t.Fatalf("inserted %d rows: %v", n, err)
	}
	same(t, cols, query(t, s, "SELECT * FROM m"), rowsOf(t, d)...)
}

// TestMoreMethodsMeanTheSQLOfTheSameShape compares plans of what has a clause of its own in SQL.
func TestMoreMethodsMeanTheSQLOfTheSameShape(t *testing.T) {
	s := testTables(t)
	tt, u := func() *DataFrame { return s.Table("t") }, func() *DataFrame { return s.Table("u") }
	k, v := Col("k"), Col("v")
	for sql, df := range map[string]*DataFrame{
		"SELECT k, v + 1 AS w FROM t":                                                           tt().SelectExpr("k", "v + 1 AS w"),
		"SELECT k, v * 2 AS v, s, ts FROM t":                                                    tt().WithColumn("V", v.Times(2)),
		"SELECT *, v + 1 AS a, v + 2 AS b FROM t":                                               tt().WithColumns(v.Plus(1).As("a"), v.Plus(2).As("b")),
		"SELECT k AS key, v, s, ts FROM t":                                                      tt().WithColumnRenamed("k", "key"),
		"SELECT k AS a, v AS b, s AS c, ts AS d FROM t":                                         tt().ToDF("a", "b", "c", "d"),
		"SELECT *, sum(v) OVER (PARTITION BY k ORDER BY ts) AS r FROM t":                        tt().WithColumn("r", Sum(v).Over(PartitionBy("k").OrderBy("ts"))),
		"SELECT sum(v) OVER (ORDER BY ts ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS r FROM t": tt().Select(Sum(v).Over(OrderBy("ts").RowsBetween(-1, 0)).As("r")),
		"SELECT count(*) OVER (ORDER BY ts RANGE BETWEEN INTERVAL 10 SECONDS PRECEDING AND UNBOUNDED FOLLOWING) AS r FROM t": tt().Select(
			Count().Over(OrderBy("ts").RangeBetween(Preceding(Expr("INTERVAL 10 SECONDS")), UnboundedFollowing)).As("r")),
		"SELECT avg(v) OVER (ORDER BY k DESC GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) AS r FROM t": tt().Select(
			Avg(v).Over(OrderBy(k.Desc()).GroupsBetween(-1, 1).Exclude("CURRENT ROW")).As("r")),
		"SELECT * FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY ts DESC) = 1": tt().Qualify(Call("row_number").Over(PartitionBy("k").OrderBy(Col("ts").Desc())).Eq(1)),
		"SELECT k, s, sum(v) AS x FROM t GROUP BY ROLLUP (k, s)":                          tt().Rollup("k", "s").Agg(Sum(v).As("x")),
		"SELECT k, s, sum(v) AS x FROM t GROUP BY CUBE (k, s)":                            tt().Cube("k", "s").Agg(Sum(v).As("x")),
		"SELECT k, s, sum(v) AS x FROM t GROUP BY GROUPING SETS ((k), (s), ())":           tt().GroupingSets([][]string{{"k"}, {"s"}, {}}, "k", "s").Agg(Sum(v).As("x")),
		"SELECT sum(v) FILTER (WHERE k = 1) AS x, count(DISTINCT s) AS y FROM t":          tt().Agg(Sum(v).FilterWhere(k.Eq(1)).As("x"), Call("count", Col("s")).Distinct().As("y")),
		"SELECT k FROM t INTERSECT SELECT k FROM u":                                       tt().Select("k").Intersect(u().Select("k")),
		"SELECT k FROM t INTERSECT ALL SELECT k FROM u":                                   tt().Select("k").IntersectAll(u().Select("k")),
		"SELECT k FROM t EXCEPT SELECT k FROM u":                                          tt().Select("k").Except(u().Select("k")),
		"SELECT k FROM t EXCEPT ALL SELECT k FROM u":                                      tt().Select("k").ExceptAll(u().Select("k")),
		"SELECT * FROM t NATURAL JOIN u":                                                  tt().NaturalJoin(u(), "inner"),
		"SELECT * FROM t CROSS JOIN u":                                                    tt().CrossJoin(u()),
		"SELECT * FROM t WHERE k IN (SELECT k FROM u)":                                    tt().Where(k.InQuery(u().Select("k"))),
		"SELECT * FROM t WHERE k NOT IN (SELECT k FROM u)":                                tt().Where(k.NotInQuery(u().Select("k"))),
		"SELECT * FROM t WHERE v > ANY (SELECT k FROM u)":                                 tt().Where(v.Gt(AnyOf(u().Select("k")))),
		"SELECT * FROM t WHERE v >= ALL (SELECT k FROM u WHERE k IS NOT NULL)":            tt().Where(v.Ge(AllOf(u().Where("k IS NOT NULL").Select("k")))),
		"SELECT * FROM t WHERE EXISTS (SELECT * FROM u WHERE u.k = t.k)":                  tt().Where(Exists(u().Where(Col("u.k").Eq(Outer("t.k"))))),
		"SELECT k, (SELECT max(name) FROM u WHERE u.k = t.k) AS m FROM t":                 tt().Select("k", Scalar(u().Where(Col("k").Eq(Outer("k"))).Agg(Max(Col("name")))).As("m")),
		"SELECT k, v - (SELECT avg(v) FROM t) AS d FROM t":                                tt().Select("k", v.Minus(tt().Agg(Avg(v))).As("d")),
		"SELECT t.k, b.name FROM t JOIN LATERAL (SELECT * FROM u WHERE u.k = t.k ORDER BY name LIMIT 1) AS b": tt().LateralJoin(
			u().Where(Col("u.k").Eq(Outer("t.k"))).OrderBy("name").Limit(1).As("b"), nil, "inner").Select("t.k", "b.name"),
		"SELECT k, e FROM t LATERAL VIEW explode(array(k, 7L)) x AS e":                               tt().LateralView(Call("explode", Call("array", k, 7)), "x", "e").Select("k", "e"),
		"SELECT posexplode(array(k, 7L)) AS (p, e) FROM t":                                           tt().Select(Call("posexplode", Call("array", k, 7)).AsMany("p", "e")),
		"SELECT transform(array(1L, 2L), x -> x + k) AS a FROM t":                                    tt().Select(Call("transform", []int{1, 2}, func(x Column) Column { return x.Plus(k) }).As("a")),
		"SELECT * FROM t ORDER BY k LIMIT 2 OFFSET 1":                                                tt().OrderBy("k").Offset(1).Limit(2),
		"SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)":                        tt().Tumble("ts", 10*time.Second),
		"SELECT * FROM HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)":      tt().Hop("ts", 5*time.Second, 10*time.Second),
		"SELECT * FROM CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)": tt().Cumulate("ts", 5*time.Second, 10*time.Second),
		"SELECT k <=> 1L AS a, k IS DISTINCT FROM 2L AS b, -k AS c, k DIV 2L AS d, k & 1L AS e, s || 'x' AS f, s RLIKE 'a' AS g FROM t": tt().Select(
			k.EqNullSafe(1).As("a"), k.IsDistinctFrom(2).As("b"), k.Neg().As("c"), k.IntDiv(2).As("d"), k.BitAnd(1).As("e"), Col("s").Concat("x").As("f"), Col("s").RLike("a").As("g")),
	} {
		want, err := s.SQL(t.Context(), sql)
		if err != nil {
			t.Errorf("%s\n%v", sql, err)
			continue
		}
		wantPlan, err := want.Explain()
		if err != nil {
			t.Errorf("%s\n%v", sql, err)
			continue
		}
		gotPlan, err := df.Explain()
		if err != nil {
			t.Errorf("methods for %s\n%v", sql, err)
			continue
		}
		if gotPlan != wantPlan {
			t.Errorf("%s\n-- SQL:\n%s\n-- methods:\n%s", sql, wantPlan, gotPlan)
		}
		same(t, sql, rowsOf(t, df), rowsOf(t, want)...)
	}
}
