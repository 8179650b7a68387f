package sluice

import (
	"bytes"
	"testing"
	"time"
)

func TestFunctionsOfEveryType(t *testing.T) {
	s := openSession(t, Options{})
	for name, f := range map[string]ScalarFunc{
		"invert": Func1(func(b bool) (bool, error) { return !b, nil }),
		"inc32":  Func1(func(v int32) (int32, error) { return v + 1, nil }),
		"inc64":  Func1(func(v int64) (int64, error) { return v + 1, nil }),
		"half":   Func1(func(v float64) (float64, error) { return v / 2, nil }),
		"shout":  Func1(func(v []byte) ([]byte, error) { return bytes.ToUpper(v), nil }),
		"later": Func2(func(t time.Time, seconds int64) (time.Time, error) {
			return t.Add(time.Duration(seconds) * time.Second), nil
		}),
		"glue": Func3(func(a string, n int64, b string) (string, error) { return a + string(rune('0'+n)) + b, nil }),
	} {
		if err := s.RegisterFunc(name, f); err != nil {
			t.Fatal(err)
		}
	}
	for sql, want := range map[string]string{
		"SELECT invert(x) FROM VALUES (true), (NULL) AS t(x)":                                "NULL false",
		"SELECT inc32(x), inc64(x) FROM VALUES (1Y), (NULL) AS t(x)":                         "2|2 NULL|NULL",
		"SELECT half(x) FROM VALUES (3), (NULL) AS t(x)":                                     "1.5 NULL",
		"SELECT CAST(shout(CAST(x AS BINARY)) AS STRING) FROM VALUES ('ab'), (NULL) AS t(x)": "AB NULL",
		"SELECT later(TIMESTAMP '2024-01-01 00:00:00', 90)":                                  "2024-01-01 00:01:30",
		"SELECT GLUE(x, 7, 'z') FROM VALUES ('a'), ('b') AS t(x)":                            "a7z b7z",
		"SELECT inc64(2) + inc64(NULL)":                                                      "NULL",
		"SELECT glue(d, 1, 'x') FROM VALUES ('k'), ('k') AS t(d) GROUP BY d":                 "k1x",
	} {
		rows := query(t, s, sql)
		got := ""
		for i, r := range rows {
			if i > 0 {
				got += " "
			}
			got += r
		}
		if got != want {
			t.Errorf("%s gives %q, want %q", sql, got, want)
		}
	}
	for sql, want := range map[string]string{
		"SELECT inc64()":          "takes 1 arguments, got 0",
		"SELECT inc64(array(1))":  "inc64",
		"SELECT incc64(1)":        `did you mean "inc64"`,
		"SELECT inc64('nothing')": "nothing",
	} {
		df, err := s.SQL(t.Context(), sql)
		if err == nil {
			_, err = df.Collect(t.Context())
		}
		wantError(t, err, want)
	}
	wantError(t, s.RegisterFunc("x", ScalarFunc{}), "Func1")
	wantError(t, s.RegisterAggregate("x", AggregateFunc{}), "Aggregator.Func")
	wantError(t, s.RegisterFunc("Upper", Func1(func(s string) (string, error) { return s, nil })), "built-in")
	wantError(t, s.RegisterAggregate("sum", longest.Func()), "built-in")
	wantError(t, s.RegisterAggregate("inc32", longest.Func()), "is a function already")
	same(t, "SHOW FUNCTIONS", columnOf(t, s, "SHOW FUNCTIONS LIKE 'inc*'"), "inc32", "inc64")
}

// columnOf is the first column of a statement's rows.
func columnOf(t *testing.T, s *Session, sql string) (out []string) {
	t.Helper()
	err := s.Run(t.Context(), sql, func(r *Result) error {
		rows, err := collect(t.Context(), r.Rows)
		for _, row := range rows {
			out = append(out, row[0].(string))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// longest is the longest string of a group.
var longest = Aggregator[string, string, string]{
	Zero: func() string { return "" },
	Add: func(s, v string) string {
		if len(v) > len(s) {
			return v
		}
		return s
	},
	Merge: func(a, b string) string {
		if len(b) > len(a) {
			return b
		}
		return a
	},
	Final: func(s string) (string, bool) { return s, s != "" },
}

// TestAggregatesAgreeOverBatches: partial results live in state and cross
// exchanges, and come out as those of one batch.
func TestAggregatesAgreeOverBatches(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "3"}})
	if err := s.RegisterAggregate("longest", longest.Func()); err != nil {
		t.Fatal(err)
	}
	st := newStream(t, s, "ev")
	q := start(t, s.Table("ev").GroupBy(Col("v").Mod(2).As("odd")).Agg(Call("longest", Col("k")).As("l"), Count().As("n")).WriteToMemory("m").Mode(Complete))
	for _, lines := range []string{"a,1\nbb,2\nNULL,3", "ccc,1", "d,4\nNULL,4\ndddd,6"} {
		add(t, st, lines)
		process(t, q)
	}
	want := []string{"0|dddd|4", "1|ccc|3"}
	same(t, "as a stream", rowsOf(t, s.MemoryTable("m")), want...)
	same(t, "as a batch", query(t, s, "SELECT v % 2, longest(k), count(*) FROM ev GROUP BY v % 2"), want...)
	same(t, "without rows", query(t, s, "SELECT longest(k) FROM ev WHERE v > 100"), "NULL")
	same(t, "as a condition", query(t, s, "SELECT v FROM ev GROUP BY v HAVING longest(k) = 'ccc'"), "1")
}

// TestStatesThatCannotBeWritten fail their query and nothing else.
func TestStatesThatCannotBeWritten(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "2"}})
	odd := Aggregator[int64, int64, func()]{
		Zero: func() func() { return nil }, Add: func(f func(), _ int64) func() { return func() {} },
		Merge: func(a, _ func()) func() { return a }, Final: func(func()) (int64, bool) { return 0, true },
	}
	if err := s.RegisterAggregate("odd", odd.Func()); err != nil {
		t.Fatal(err)
	}
	st := newStream(t, s, "ev")
	add(t, st, "a,1\nb,2")
	q := start(t, s.Table("ev").GroupBy("k").Agg(Call("odd", Col("v")).As("o")).WriteToMemory("m").Mode(Complete))
	wantError(t, q.Await(t.Context()), "partial result")
	same(t, "the session is usable", query(t, s, "SELECT 1"), "1")
}
