package sluice

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// progressAt walks into decoded JSON: "sources.0.metrics".
func progressAt(v any, path string) (any, bool) {
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			next, ok := x[step]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(x) {
				return nil, false
			}
			v = x[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// TestProgressHasSparksFields holds the JSON of a batch against each field that
// Spark's StreamingQueryProgress has.
func TestProgressHasSparksFields(t *testing.T) {
	dir := t.TempDir()
	feedFiles(t, dir, 0,
		[]string{"a,2024-01-01 00:00:00,1", "b,2024-01-01 00:20:00,2"},
		[]string{"a,2024-01-01 00:00:01,5", "c,2024-01-01 00:30:00,4", "c,2024-01-01 00:40:00,6"},
		[]string{"d,2024-01-01 01:00:00,8"})
	s := openSession(t, Options{CheckpointDir: filepath.Join(dir, "ck"), Settings: map[string]string{"parallelism": "2"}})
	must(t, s, fmt.Sprintf(processEvents, dir)+fmt.Sprintf("CREATE TABLE dst (w TIMESTAMP_NTZ, user STRING, v BIGINT) WITH ('connector'='filesystem','path'='%s/out','format'='parquet')", dir))
	d := s.Table("events").Observe("quality", Count().As("n"), Max(Col("v")).As("most")).
		Tumble("ts", 10*time.Minute).GroupBy("window_start", "window_end", "user").Agg(Sum(Col("v")).As("v")).Select("window_end", "user", "v")
	q, err := d.WriteTo("dst").Name("q").Trigger(AvailableNow()).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	var second any // the batch that the second file has made: a row of it is late
	for _, p := range q.Recent() {
		if p.NumInputRows != 3 {
			continue
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &second); err != nil {
			t.Fatal(err)
		}
	}
	atLeast := func(least float64) func(v any) bool {
		return func(v any) bool { n, ok := v.(float64); return ok && n >= least }
	}
	is := func(want any) func(v any) bool { return func(v any) bool { return v == want } }
	text := func(v any) bool { s, ok := v.(string); return ok && s != "" }
	at := func(v any) bool {
		s, ok := v.(string)
		_, err := time.Parse(time.RFC3339Nano, s)
		return ok && err == nil
	}
	object := func(v any) bool { _, ok := v.(map[string]any); return ok }
	number := func(want int64) func(v any) bool { // a metric, which is text in Spark
		return func(v any) bool { return v == strconv.FormatInt(want, 10) }
	}
	for _, f := range []struct {
		path string
		ok   func(v any) bool
	}{
		{"id", is(q.ID())}, {"runId", text}, {"name", is("q")}, {"timestamp", at}, {"batchId", is(1.0)}, {"batchDuration", atLeast(0)},
		{"numInputRows", is(3.0)}, {"inputRowsPerSecond", atLeast(0.001)}, {"processedRowsPerSecond", atLeast(0.001)},
		{"durationMs.addBatch", atLeast(0)}, {"durationMs.commitOffsets", atLeast(0)}, {"durationMs.latestOffset", atLeast(0)},
		{"durationMs.queryPlanning", atLeast(0)}, {"durationMs.triggerExecution", atLeast(0)}, {"durationMs.walCommit", atLeast(0)},
		{"eventTime.max", is("2024-01-01T00:40:00.000Z")}, {"eventTime.min", is("2024-01-01T00:00:01.000Z")}, {"eventTime.avg", at},
		{"eventTime.watermark", is("2024-01-01T00:19:00.000Z")},
		{"stateOperators.0.operatorName", text}, {"stateOperators.0.numRowsTotal", atLeast(3)}, {"stateOperators.0.numRowsUpdated", atLeast(2)},
		{"stateOperators.0.allUpdatesTimeMs", atLeast(0)}, {"stateOperators.0.numRowsRemoved", is(1.0)}, {"stateOperators.0.allRemovalsTimeMs", atLeast(0)},
		{"stateOperators.0.commitTimeMs", atLeast(0)}, {"stateOperators.0.memoryUsedBytes", atLeast(1)},
		{"stateOperators.0.numRowsDroppedByWatermark", is(1.0)}, {"stateOperators.0.numShufflePartitions", is(2.0)},
		{"stateOperators.0.numStateStoreInstances", is(2.0)}, {"stateOperators.0.customMetrics", object},
		{"sources.0.description", text}, {"sources.0.startOffset", is(1.0)}, {"sources.0.endOffset", is(2.0)}, {"sources.0.latestOffset", atLeast(2)},
		{"sources.0.numInputRows", is(3.0)}, {"sources.0.inputRowsPerSecond", atLeast(0.001)}, {"sources.0.processedRowsPerSecond", atLeast(0.001)},
		{"sources.0.metrics.numFilesOutstanding", number(1)}, {"sources.0.metrics.numBytesOutstanding", number(int64(len("user,ts,v\nd,2024-01-01 01:00:00,8\n")))},
		{"sink.description", text}, {"sink.numOutputRows", is(1.0)}, {"sink.metrics.numFilesWritten", number(1)}, {"sink.metrics.numBytesWritten", text},
		{"observedMetrics.quality.n", is(3.0)}, {"observedMetrics.quality.most", is(6.0)},
	} {
		if v, there := progressAt(second, f.path); !there || !f.ok(v) {
			t.Errorf("%s is %v (there: %t)", f.path, v, there)
		}
	}
}

// TestMetricsOfSources are what a source tells of what it has not given yet.
func TestMetricsOfSources(t *testing.T) {
	s := openSession(t, Options{})
	st := streamOf(t, s, "st", "k STRING")
	add(t, st, "a\nb\nc")
	q, err := s.Table("st").WriteToMemory("out").Name("q").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	process(t, q)
	if got := q.Progress().Sources[0].Metrics["numRowsOutstanding"]; got != "0" {
		t.Errorf("rows outstanding: %q", got)
	}
	must(t, s, `CREATE TABLE r (timestamp TIMESTAMP, value BIGINT) WITH ('connector'='rate', 'rows-per-second'='7')`)
	r, err := s.Table("r").WriteToMemory("rates").Name("r").Trigger(Once()).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Recent() {
		if got := p.Sources[0].Metrics["rowsPerSecond"]; got != "7" {
			t.Errorf("rate: %q", got)
		}
	}
}
