package cli

import (
	"strings"
	"testing"
)

// TestExplainOfARunningQuery asks from another process what a query waits for.
func TestExplainOfARunningQuery(t *testing.T) {
	t.Parallel()
	p, url := serve(t, `
CREATE TABLE g (id BIGINT, ts AS timestamp_seconds(id), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector'='datagen','rows-per-second'='500','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE c (w TIMESTAMP, n BIGINT) WITH ('connector'='blackhole');
CREATE STREAMING QUERY busy AS INSERT INTO c SELECT window_end, count(*) FROM TUMBLE(TABLE g, DESCRIPTOR(ts), INTERVAL '1' HOUR) GROUP BY window_start, window_end;
`)
	address := strings.TrimPrefix(url, "http://")
	explain := func(args ...string) string {
		t.Helper()
		r := sluice(t, t.TempDir(), append([]string{"explain", "--http", address}, args...)...)
		return r.out + r.err
	}
	p.Until("windows that wait", func() bool {
		return strings.Contains(explain("--watermark", "busy"), "window waits, ending at") || strings.Contains(explain("busy"), "windows wait, ending at")
	})
	if text := explain("--watermark", "busy"); !strings.Contains(text, "held back by g#0 since") {
		t.Errorf("it is not told what holds the watermark back:\n%s", text)
	}
	if text := explain("--batch", "0", "busy"); !strings.Contains(text, "== Batch 0 of busy") || !strings.Contains(text, "addBatch") {
		t.Errorf("it is not told of the batch:\n%s", text)
	}
	for want, args := range map[string][]string{
		"remembers":                {"--batch", "1000000", "busy"},
		"there is no query":        {"nobody"},
		"the name of one":          {},
		"give one of":              {"--watermark", "--batch", "1", "busy"},
		"want a number of a batch": {"--batch", "-2", "busy"},
	} {
		if text := explain(args...); !strings.Contains(text, want) {
			t.Errorf("explain %v gives %q, want %q", args, text, want)
		}
	}
	if r := sluice(t, t.TempDir(), "explain", "--watermark", "busy"); !strings.Contains(r.err, "say with --http") {
		t.Errorf("without an address: %s", r.err)
	}
}
