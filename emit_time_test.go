package sluice

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// timed runs a script in time that passes at once, over a stream of (ts, k, v) with a
// watermark that is not delayed. It steps in time, adds rows and compares what the
// table out has got.
type timed struct {
	t     *testing.T
	s     *Session
	st    *Stream
	begin time.Time
	seen  int
}

// inTime starts the statements of a script over the stream "rows".
func inTime(t *testing.T, dir, script string, f func(x *timed)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewSession(Options{CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Pipeline: true, Settings: map[string]string{"parallelism": "2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		st, err := s.CreateStream("rows", schemaOf(t, s, "ts TIMESTAMP_NTZ, k STRING, v BIGINT"))
		if err != nil {
			t.Fatal(err)
		}
		must(t, s, "CREATE TABLE ev (ts TIMESTAMP_NTZ, k STRING, v BIGINT, WATERMARK FOR ts AS ts) WITH ('connector'='memory', 'name'='rows');"+script)
		f(&timed{t: t, s: s, st: st, begin: time.Now()})
	})
}

// step waits until a time after the beginning, adds rows if there are any, lets the
// query see them, and wants these rows, sorted, in the batches since.
func (x *timed) step(at time.Duration, lines string, want ...string) {
	x.t.Helper()
	<-time.After(time.Until(x.begin.Add(at)))
	if lines != "" {
		add(x.t, x.st, lines)
	}
	synctest.Wait()
	q, ok := x.s.Query("q")
	if !ok {
		x.t.Fatal("there is no query q")
	}
	if lines != "" {
		process(x.t, q)
	}
	table, ok := x.s.reg.tables.Get("out")
	if !ok {
		x.t.Fatal("there is no table out")
	}
	var got []string
	batches := table.Batches()
	for i, b := range batches {
		if i >= x.seen {
			got = append(got, linesOf(b.Records...)...)
		}
		for _, r := range b.Records {
			r.Release()
		}
	}
	x.seen = len(batches)
	same(x.t, fmt.Sprintf("at %s after %q", at, lines), got, want...)
}

// TestEmitEveryFiresByTheClock at multiples of ten seconds, also when no data comes
// and whatever the trigger: the bubble's clock begins at midnight.
func TestEmitEveryFiresByTheClock(t *testing.T) {
	for _, trigger := range []string{"", "TRIGGER EVERY '1 hour'", "TRIGGER LATENCY '1 second'"} {
		t.Run(trigger, func(t *testing.T) {
			inTime(t, t.TempDir(), fmt.Sprintf(`CREATE TABLE out (s TIMESTAMP_NTZ, n BIGINT, PRIMARY KEY (s) NOT ENFORCED) WITH ('connector'='memory');
				CREATE STREAMING QUERY q OUTPUT MODE update %s EMIT EVERY '10 seconds' BEFORE WATERMARK AS INSERT INTO out
				SELECT window_start, count(*) FROM TUMBLE(TABLE ev, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, window_end`, trigger), func(x *timed) {
				x.step(3*time.Second, "2024-01-01 00:00:10,a,1")
				x.step(4*time.Second, "2024-01-01 00:00:20,a,1")
				x.step(9*time.Second, "")
				x.step(11*time.Second, "", "2024-01-01 00:00:00|2|+U")
				x.step(25*time.Second, "")
				x.step(25*time.Second, "2024-01-01 00:00:21,a,1")
				x.step(31*time.Second, "", "2024-01-01 00:00:00|3|+U")
				// The window closes between two multiples: its last result comes at once.
				x.step(32*time.Second, "2024-01-01 00:00:30,a,1")
				x.step(33*time.Second, "2024-01-01 00:01:05,a,1", "2024-01-01 00:00:00|4|+U")
				x.step(41*time.Second, "", "2024-01-01 00:01:00|1|+U")
				x.step(10*time.Minute, "")
				x.st.End()
			})
		})
	}
}
