package kafka

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice"
)

// TestLatency: a query tells how long its rows took since their messages' timestamps, in
// the progress of a batch, in a histogram and in the metrics. Rows that the query drops
// count, too.
func TestLatency(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out := name(t, "in"), name(t, "out")
		c.create(t, 3, in, out)
		var recs []*kgo.Record
		for id := range 90 { // a third of them an hour old
			age := time.Duration(0)
			if id%3 == 0 {
				age = time.Hour
			}
			recs = append(recs, &kgo.Record{Topic: in, Key: fmt.Append(nil, id), Value: fmt.Appendf(nil, `{"id":%d}`, id), Timestamp: time.Now().Add(-age)})
		}
		if err := c.client(t).ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		s := session(t, sluice.Options{CheckpointDir: t.TempDir(), Pipeline: true, Once: true})
		script := c.table("src", "id BIGINT", in, "") + c.table("dst", "id BIGINT", out, "") +
			"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id FROM src WHERE id < 30"
		if err := s.Exec(t.Context(), script); err != nil {
			t.Fatal(err)
		}
		if err := s.AwaitAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		q, _ := s.Query("q")
		l := q.Latency()
		if under := l.Counts[len(l.Counts)-1]; l.Rows != 90 || under != 60 || l.Seconds < 30*3600 {
			t.Errorf("%d rows took %.0f s together, %d of them less than an hour", l.Rows, l.Seconds, under)
		}
		rows := int64(0)
		for _, p := range q.Recent() {
			if m := p.LatencyMs; m != nil {
				rows += m.Rows
				if m.Max < 3_600_000 || m.Min >= 3_600_000 || m.Min > m.P50 || m.P50 > m.P99 || m.P99 > m.Max {
					t.Errorf("batch %d has latency %+v", p.BatchID, *m)
				}
			}
		}
		if rows != 90 {
			t.Errorf("the progress of all batches tells of %d rows", rows)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "http://127.0.0.1/metrics", nil)
		s.Handler().ServeHTTP(w, r)
		for _, line := range []string{`sluice_latency_seconds_count{query="q"} 90`, `sluice_latency_seconds_bucket{query="q",le="3600"} 60`, `sluice_latency_seconds_bucket{query="q",le="+Inf"} 90`} {
			if !strings.Contains(w.Body.String(), line) {
				t.Errorf("the metrics lack %s", line)
			}
		}
	})
}
