package sluice

import (
	"testing"
	"time"
)

// TestSilentSourcesStopCounting: of two streams one ceases, and after the idle timeout
// the other one's event time closes the windows of both, without data.
func TestSilentSourcesStopCounting(t *testing.T) {
	const join = `CREATE TABLE out (s STRING, a BIGINT, b BIGINT) WITH ('connector'='memory');
		CREATE TABLE other (ts TIMESTAMP_NTZ, k STRING, v BIGINT, WATERMARK FOR ts AS ts) WITH ('connector'='memory', 'name'='others');
		SET 'watermark.idle-timeout' = '30 seconds';
		CREATE STREAMING QUERY q AS INSERT INTO out SELECT date_format(l.window_start, 'mm:ss'), l.n, r.n
		FROM (SELECT window_start, window_end, count(*) AS n FROM TUMBLE(TABLE ev, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end) l
		LEFT JOIN (SELECT window_start, window_end, count(*) AS n FROM TUMBLE(TABLE other, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end) r
		ON l.window_start = r.window_start AND l.window_end = r.window_end`
	inTime(t, t.TempDir(), "", func(x *timed) {
		other, err := x.s.CreateStream("others", schemaOf(x.t, x.s, "ts TIMESTAMP_NTZ, k STRING, v BIGINT"))
		if err != nil {
			x.t.Fatal(err)
		}
		must(x.t, x.s, join)
		// The other one has never spoken: it is waited for until 00:30.
		x.step(time.Second, "2024-01-01 00:00:01,a,1\n2024-01-01 00:00:11,a,1")
		x.step(29*time.Second, "2024-01-01 00:00:12,a,1")
		x.step(31*time.Second, "", "00:00|1|NULL")
		add(x.t, other, "2024-01-01 00:00:15,a,1\n2024-01-01 00:00:16,a,1")
		x.step(32*time.Second, "2024-01-01 00:00:40,a,1")
		x.step(58*time.Second, "2024-01-01 00:00:41,a,1")
		// It had its last row at 00:31, and from 01:01 on it counts no more.
		x.step(60*time.Second, "")
		x.step(62*time.Second, "", "00:10|2|2")
		x.st.End()
		other.End()
	})
}
