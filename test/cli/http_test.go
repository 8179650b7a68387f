package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// get asks the served address, under another host name if host is set.
func get(t *testing.T, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	c := http.Client{Timeout: proctest.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// serve starts a pipeline with --http and returns the address.
func serve(t *testing.T, pipeline string) (*process, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "p.sql", pipeline)
	p := start(t, dir, "run", "--http", "127.0.0.1:0", "p.sql")
	return p, "http://" + p.address()
}

// address waits until the process says where it serves.
func (p *process) address() string {
	p.t.Helper()
	return p.Says(`serving http://(127\.0\.0\.1:\d+)\s`)
}

const served = `
CREATE TABLE g (id BIGINT, ts AS timestamp_seconds(id),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector'='datagen','rows-per-second'='500','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE c (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='console','format'='json');
CREATE STREAMING QUERY busy OUTPUT MODE update AS INSERT INTO c SELECT id % 3, count(*) FROM g GROUP BY id % 3;
`

func TestHTTP(t *testing.T) {
	t.Parallel()
	p, url := serve(t, served)
	p.Until("three batches", func() bool { return strings.Count(p.Out.String(), "\n") > 9 })
	if code, body := get(t, url+"/healthz", ""); code != http.StatusOK || !strings.Contains(body, `"ok"`) {
		t.Errorf("healthz: %d %s", code, body)
	}
	checkMetrics(t, url)
	checkProgress(t, url)
	for _, c := range []struct {
		path, host string
		code       int
	}{
		{"/healthz", "evil.example", http.StatusForbidden}, {"/metrics", "evil.example:80", http.StatusForbidden},
		{"/api/queries", "192.0.2.7", http.StatusForbidden}, {"/healthz", "localhost", http.StatusOK},
		{"/healthz", "[::1]:80", http.StatusOK}, {"/api/queries/nope", "", http.StatusNotFound}, {"/nope", "", http.StatusNotFound},
		{"/api/queries/busy", "", http.StatusOK},
	} {
		if code, body := get(t, url+c.path, c.host); code != c.code {
			t.Errorf("%s of host %q: %d %s, want %d", c.path, c.host, code, body, c.code)
		}
	}
	p.Signal(os.Interrupt)
	p.wait().check(t, done)
}

// checkMetrics reads the Prometheus text as a scraper does.
func checkMetrics(t *testing.T, url string) {
	t.Helper()
	code, body := get(t, url+"/metrics", "")
	if code != http.StatusOK {
		t.Fatalf("metrics: %d", code)
	}
	line := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z0-9_]+="(?:[^"\\]|\\.)*"(?:,[a-zA-Z0-9_]+="(?:[^"\\]|\\.)*")*\})? (\S+)$`)
	values := map[string]float64{}
	for l := range strings.Lines(body) {
		l = strings.TrimSuffix(l, "\n")
		if strings.HasPrefix(l, "# HELP ") || strings.HasPrefix(l, "# TYPE ") {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("not a sample: %q", l)
			continue
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%q: %v", l, err)
		}
		values[m[1]] += v
	}
	for _, name := range []string{
		"sluice_batches_total", "sluice_input_rows_total", "sluice_output_rows_total", "sluice_batch_phase_seconds",
		"sluice_state_rows", "sluice_state_bytes", "sluice_query_up", "sluice_memory_limit_bytes", "sluice_watermark_lag_seconds",
	} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	for _, name := range []string{"sluice_late_rows_total", "sluice_memory_bytes"} {
		if _, there := values[name]; !there {
			t.Errorf("no %s", name)
		}
	}
}

// checkProgress looks for the fields of Spark's StreamingQueryProgress.
func checkProgress(t *testing.T, url string) {
	t.Helper()
	_, body := get(t, url+"/api/queries", "")
	var queries []struct {
		Name, ID, Status, OutputMode, Checkpoint string
		LastProgress                             map[string]any
		Totals                                   map[string]float64
	}
	if err := json.Unmarshal([]byte(body), &queries); err != nil || len(queries) != 1 || queries[0].Name != "busy" || queries[0].OutputMode != "update" {
		t.Fatalf("%v: %s", err, body)
	}
	p := queries[0].LastProgress
	for _, field := range []string{
		"id", "runId", "name", "timestamp", "batchId", "batchDuration", "durationMs", "eventTime", "stateOperators", "sources", "sink",
		"numInputRows", "inputRowsPerSecond", "processedRowsPerSecond",
	} {
		if p[field] == nil {
			t.Errorf("no %s in %v", field, p)
		}
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(p["timestamp"])); err != nil {
		t.Error(err)
	}
	for parent, fields := range map[string][]string{
		"durationMs": {"triggerExecution", "addBatch", "latestOffset", "queryPlanning", "walCommit", "commitOffsets"},
		"eventTime":  {"watermark"},
		"sink":       {"description", "numOutputRows"},
	} {
		m, _ := p[parent].(map[string]any)
		for _, f := range fields {
			if m[f] == nil {
				t.Errorf("no %s.%s in %v", parent, f, p[parent])
			}
		}
	}
	for parent, fields := range map[string][]string{
		"sources":        {"description", "startOffset", "endOffset", "latestOffset", "numInputRows", "inputRowsPerSecond", "processedRowsPerSecond"},
		"stateOperators": {"operatorName", "numRowsTotal", "memoryUsedBytes", "numRowsDroppedByWatermark"},
	} {
		list, _ := p[parent].([]any)
		if len(list) == 0 {
			t.Errorf("no %s", parent)
			continue
		}
		for _, f := range fields {
			if m, _ := list[0].(map[string]any); m[f] == nil {
				t.Errorf("no %s[0].%s in %v", parent, f, list[0])
			}
		}
	}
}

// TestHTTPTakenPort is told; nothing runs.
func TestHTTPTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	write(t, dir, "p.sql", served)
	r := refuses(t, dir, failed, []string{"--http .*address already in use"}, "run", "--http", l.Addr().String(), "p.sql")
	if strings.Contains(r.err, "started") {
		t.Errorf("a query ran: %s", r.err)
	}
}
