package sluice

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestObserveOfTables compares an Observation with the query that computes the same.
func TestObserveOfTables(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "3"}})
	dir := t.TempDir()
	files, flat := randomEvents(3, 6, 50, 5, time.Minute)
	feedFiles(t, dir, 0, files...)
	must(t, s, fmt.Sprintf(processEvents, dir))
	aggs := func() []any {
		return []any{Count().As("n"), Sum(Col("v")).As("total"), Avg(Col("v")).As("mean"), Max(Col("ts")).As("last"),
			Sum(Col("v")).Plus(Count()).As("both"), Expr("count(*) FILTER (WHERE v > 50)").As("large"), Expr("approx_count_distinct(user)").As("users")}
	}
	rows := s.Table("events").Where("user <> 'clock'")
	want, err := rows.Agg(aggs()...).Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := NewObservation("seen")
	n, err := rows.Observe(o, aggs()...).Where("v > 90").GroupBy("user").Count().Count(t.Context())
	if err != nil || n != 5 {
		t.Fatal(n, err)
	}
	got, err := o.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"n", "total", "mean", "last", "both", "large", "users"} {
		if fmt.Sprint(got[name]) != fmt.Sprint(want[0][i]) {
			t.Errorf("%s: got %v want %v", name, got[name], want[0][i])
		}
	}
	if got["n"] != int64(len(flat)) {
		t.Errorf("%v rows of %d", got["n"], len(flat))
	}
	// An INSERT, and a DataFrame that is read twice.
	must(t, s, fmt.Sprintf("CREATE TABLE copy (user STRING, v BIGINT) WITH ('connector'='filesystem','path'='%s/copy','format'='parquet')", dir))
	o2 := NewObservation("twice")
	seen := rows.Observe(o2, Count().As("n")).Select("user", "v")
	if _, err := seen.Union(seen).WriteTo("copy").Insert(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := o2.Get(t.Context()); err != nil || got["n"] != int64(len(flat)) {
		t.Errorf("of an INSERT: %v %v", got, err)
	}
	plan, err := rows.Observe("x", Count().As("n")).Explain()
	if err != nil || !strings.Contains(plan, "Observe x [count(*)") {
		t.Errorf("%v\n%s", err, plan)
	}
	never, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewObservation("never").Get(never); err == nil {
		t.Error("an Observation that nothing runs for has metrics")
	}
}

func TestObserveIsRefused(t *testing.T) {
	s := testTables(t)
	d := s.Table("t")
	for _, c := range []struct {
		d    *DataFrame
		want string
	}{
		{d.Observe("", Count()), "want a name and an aggregate"},
		{d.Observe("x"), "want a name and an aggregate"},
		{d.Observe(7, Count()), "not a int"},
		{d.Observe("x", Col("k")), "takes aggregates over the rows that pass"},
		{d.Observe("x", Expr("count(DISTINCT k)")), "cannot be computed where the rows pass"},
		{d.Observe("x", Col("nope")), "nope"},
	} {
		_, err := c.d.Collect(t.Context())
		wantError(t, err, c.want)
	}
}

// TestObserveOfAStream reports each batch's own rows, at any parallelism, below and
// above an aggregate, and the same after a restart.
func TestObserveOfAStream(t *testing.T) {
	for _, parallelism := range []string{"1", "3"} {
		s := openSession(t, Options{Settings: map[string]string{"parallelism": parallelism}})
		st := streamOf(t, s, "st", "k STRING, v BIGINT")
		d := s.Table("st").Observe("in", Count().As("n"), Sum(Col("v")).As("v")).
			GroupBy("k").Agg(Sum(Col("v")).As("v")).Observe("out", Count().As("n"), Max(Col("v")).As("most"))
		q, err := d.WriteToMemory("sums").Mode(Complete).Name("q").Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u, err := d.WriteToMemory("changes").Mode(Changelog).Name("u").Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, step := range []struct{ lines, complete, changes string }{
			{"a,1\nb,2\na,3", `{"in":{"n":3,"v":6},"out":{"most":4,"n":2}}`, `{"in":{"n":3,"v":6},"out":{"most":4,"n":2}}`},
			{"a,10", `{"in":{"n":1,"v":10},"out":{"most":14,"n":2}}`, `{"in":{"n":1,"v":10},"out":{"most":14,"n":1}}`},
			{"c,-1\nd,NULL", `{"in":{"n":2,"v":-1},"out":{"most":14,"n":4}}`, `{"in":{"n":2,"v":-1},"out":{"most":-1,"n":2}}`},
		} {
			add(t, st, step.lines)
			for j, x := range []*Query{q, u} {
				process(t, x)
				got, err := json.Marshal(x.Progress().ObservedMetrics)
				if want := []string{step.complete, step.changes}[j]; err != nil || string(got) != want {
					t.Errorf("parallelism %s batch %d of %s: got %s %v\nwant %s", parallelism, i, x.Name(), got, err, want)
				}
			}
		}
	}
}
