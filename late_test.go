package sluice

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLateRowsAreBalanced: every row that comes in is used, left out by WHERE, late or
// set aside, and those that are late or set aside are in their tables, once, whatever
// becomes of the process in between.
func TestLateRowsAreBalanced(t *testing.T) {
	dir := t.TempDir()
	script := fmt.Sprintf(`SET 'errors.policy' = 'quarantine';
CREATE TABLE src (ts TIMESTAMP_NTZ, k STRING, v STRING, WATERMARK FOR ts AS ts) WITH ('connector'='filesystem','path'='%[1]s/in','format'='csv','max-files-per-trigger'='1');
CREATE TABLE dst (e TIMESTAMP_NTZ, n BIGINT) WITH ('connector'='filesystem','path'='%[1]s/out','format'='csv');
CREATE TABLE late (late_end TIMESTAMP_NTZ, ts TIMESTAMP_NTZ, k STRING, v STRING, late_batch BIGINT) WITH ('connector'='filesystem','path'='%[1]s/late','format'='csv');
CREATE STREAMING QUERY q CHECKPOINT '%[1]s/ck' LATE INTO late AS INSERT INTO dst
SELECT window_end, sum(CAST(v AS INT)) FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND) WHERE k <> 'no' GROUP BY window_start, window_end`, dir)
	files := []string{
		"2024-01-01 00:00:01,a,1\n2024-01-01 00:00:02,no,1\n2024-01-01 00:00:20,a,2\n",
		"2024-01-01 00:00:03,a,3\n2024-01-01 00:00:04,no,4\n2024-01-01 00:00:21,a,x\n2024-01-01 00:00:31,a,4\n",
		"2024-01-01 00:00:05,a,5\n2024-01-01 00:00:29,b,6\n2024-01-01 00:00:50,a,7\n",
		"2024-01-01 00:00:49,a,8\n2024-01-01 00:00:06,b,9\n",
	}
	var in, used, filtered, late, bad int64
	for i, text := range files {
		putFile(t, filepath.Join(dir, "in", fmt.Sprintf("%d.csv", i)), "ts,k,v\n"+text)
		s := openSession(t, Options{Pipeline: true})
		must(t, s, script)
		q, _ := s.Query("q")
		process(t, q)
		for _, p := range q.Recent() {
			b := p.Balance
			if !b.Balanced() {
				t.Errorf("batch %d: %+v is not balanced", p.BatchID, b)
			}
			in, used, filtered, late, bad = in+b.In, used+b.Used, filtered+b.Filtered, late+b.Late, bad+b.Quarantined
		}
		if i%2 == 0 { // as a process that is killed
			q.Abandon()
		}
		if err := s.Close(); err != nil && i%2 != 0 {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(in, used, filtered, late, bad); got != "12 4 2 5 1" {
		t.Errorf("in, used, filtered, late, bad: %s", got)
	}
	s := openSession(t, Options{})
	tables, _, _ := strings.Cut(script, "CREATE STREAMING")
	must(t, s, tables)
	same(t, "late rows", query(t, s, "SELECT date_format(late_end, 'ss'), date_format(ts, 'ss'), k, v FROM late"),
		"10|03|a|3", "10|05|a|5", "10|06|b|9", "30|29|b|6", "50|49|a|8")
	same(t, "results", query(t, s, "SELECT date_format(e, 'ss'), n FROM dst"), "10|1", "30|2", "40|4")
}

// TestEmitAndLateOfAWriter are the clauses of SQL as methods.
func TestEmitAndLateOfAWriter(t *testing.T) {
	s := openSession(t, Options{})
	st, err := s.CreateStream("rows", schemaOf(t, s, "ts TIMESTAMP_NTZ, k STRING, v BIGINT"))
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, "CREATE TABLE ev (ts TIMESTAMP_NTZ, k STRING, v BIGINT, WATERMARK FOR ts AS ts) WITH ('connector'='memory', 'name'='rows')")
	df, err := s.SQL(t.Context(), "SELECT window_start, window_end, count(*) AS n FROM TUMBLE(TABLE ev, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end")
	if err != nil {
		t.Fatal(err)
	}
	short := func() *DataFrame { return df.Select(Call("date_format", Col("window_start"), "ss").As("s"), Col("n")) }
	rows := start(t, short().WriteToMemory("by_rows").Mode(Changelog).Name("by_rows").EmitAfterRows(2).LateInto("aside"))
	late := start(t, short().WriteToMemory("restated").Mode(Changelog).Name("restated").EmitAfterWatermark().LateRestate(time.Minute))
	every := start(t, df.WriteToMemory("every").Keys("window_start").Name("every").EmitEvery(time.Hour))
	for _, lines := range []string{"2024-01-01 00:00:01,a,1", "2024-01-01 00:00:02,a,1\n2024-01-01 00:00:11,a,1", "2024-01-01 00:00:03,a,1"} {
		add(t, st, lines)
		for _, q := range []*Query{rows, late, every} {
			process(t, q)
		}
	}
	same(t, "after two rows", rowsOf(t, s.MemoryTable("by_rows")), "00|2")
	same(t, "the late row", query(t, s, "SELECT date_format(ts, 'ss'), k, v, late_query FROM aside"), "03|a|1|by_rows")
	same(t, "restated", rowsOf(t, s.MemoryTable("restated")), "00|3")
	same(t, "of every hour, what has closed", query(t, s, "SELECT date_format(window_start, 'ss'), n FROM every"), "00|2")
	_, err = df.WriteToMemory("m").Name("m").EmitEvery(time.Hour).Mode(Append).Start(t.Context())
	wantError(t, err, "may still change")
	_, err = df.WriteToMemory("m").Name("m").LateRestate(time.Hour).Start(t.Context())
	wantError(t, err, "LATE RESTATE corrects results that have gone out")
	_, err = df.WriteToMemory("m").Name("m").EmitAfterRows(3).Mode(Complete).Start(t.Context())
	wantError(t, err, "EMIT holds changes back")
}
