package sluice

import (
	"testing"
	"time"
)

// proctime declares a table over the stream "rows" with the time of the batches.
const proctime = `CREATE TABLE pt (ts TIMESTAMP_NTZ, k STRING, v BIGINT, t AS PROCTIME()) WITH ('connector'='memory', 'name'='rows');`

// TestWindowsByTheClockCloseByIt: in append mode the windows of a column that is
// PROCTIME() come out when the batches' time has passed their end, also if no data
// comes and between two times of the trigger. The bubble's clock begins at midnight.
func TestWindowsByTheClockCloseByIt(t *testing.T) {
	for _, trigger := range []string{"", "TRIGGER EVERY '7 seconds'"} {
		inTime(t, t.TempDir(), proctime+`CREATE TABLE out (s STRING, k STRING, n BIGINT, d BIGINT) WITH ('connector'='memory');
			CREATE STREAMING QUERY q `+trigger+` AS INSERT INTO out
			SELECT date_format(window_start, 'mm:ss'), k, count(*), count(DISTINCT v) FROM TUMBLE(TABLE pt, DESCRIPTOR(t), INTERVAL '10' SECOND) GROUP BY window_start, window_end, k`, func(x *timed) {
			x.step(3*time.Second, "2024-01-01 00:00:10,a,1\n2024-01-01 00:00:10,b,1")
			x.step(6*time.Second, "2023-01-01 00:00:10,a,1") // event time has no part in it
			x.step(9*time.Second, "")
			x.step(10*time.Second, "", "00:00|a|2|1", "00:00|b|1|1")
			x.step(25*time.Second, "2024-01-01 00:00:10,a,3")
			x.step(29*time.Second, "")
			x.step(31*time.Second, "", "00:20|a|1|1")
			x.step(time.Hour, "")
			x.step(time.Hour+time.Second, "2024-01-01 00:00:10,c,3")
			x.st.End()
			q, _ := x.s.Query("q")
			if err := q.Await(x.t.Context()); err != nil {
				x.t.Error(err)
			}
			x.step(time.Hour+2*time.Second, "", "00:00|c|1|1")
		})
	}
}

// TestSessionsByTheClock end a gap after the last batch that brought a row of theirs.
func TestSessionsByTheClock(t *testing.T) {
	inTime(t, t.TempDir(), proctime+`CREATE TABLE out (s STRING, e STRING, k STRING, n BIGINT) WITH ('connector'='memory');
		CREATE STREAMING QUERY q AS INSERT INTO out
		SELECT date_format(window_start, 'mm:ss'), date_format(window_end, 'mm:ss'), k, count(*) FROM SESSION(TABLE pt PARTITION BY k, DESCRIPTOR(t), INTERVAL '10' SECOND) GROUP BY window_start, window_end, k`, func(x *timed) {
		x.step(3*time.Second, "2024-01-01 00:00:10,a,1\n2024-01-01 00:00:10,b,1")
		x.step(9*time.Second, "2024-01-01 00:00:10,a,1")
		x.step(14*time.Second, "", "00:03|00:13|b|1")
		x.step(18*time.Second, "2024-01-01 00:00:10,a,1")
		x.step(27*time.Second, "")
		x.step(28*time.Second, "", "00:03|00:28|a|3")
		x.st.End()
	})
}

// TestJoinsByWindowsOfTheClock keep the rows of a window until it is over.
func TestJoinsByWindowsOfTheClock(t *testing.T) {
	inTime(t, t.TempDir(), proctime+`CREATE TABLE out (s STRING, a BIGINT, b BIGINT) WITH ('connector'='memory');
		CREATE STREAMING QUERY q AS INSERT INTO out
		SELECT date_format(a.window_start, 'mm:ss'), a.v, b.v
		FROM (SELECT * FROM TUMBLE(TABLE pt, DESCRIPTOR(t), INTERVAL '10' SECOND) WHERE v < 10) a
		LEFT JOIN (SELECT * FROM TUMBLE(TABLE pt, DESCRIPTOR(t), INTERVAL '10' SECOND) WHERE v >= 10) b
		ON a.k = b.k AND a.window_start = b.window_start AND a.window_end = b.window_end`, func(x *timed) {
		x.step(3*time.Second, "2024-01-01 00:00:10,a,1\n2024-01-01 00:00:10,b,2")
		x.step(6*time.Second, "2024-01-01 00:00:10,a,11")
		x.step(11*time.Second, "2024-01-01 00:00:10,b,12", "00:00|1|11", "00:00|2|NULL")
		x.step(25*time.Second, "")
		if rows := x.stateRows(); rows != 0 {
			x.t.Errorf("%d rows of state are left", rows)
		}
		x.st.End()
	})
}

// stateRows are the rows of the query's state after its last batch.
func (x *timed) stateRows() (rows int64) {
	q, _ := x.s.Query("q")
	for _, op := range q.Progress().StateOperators {
		rows += op.NumRowsTotal
	}
	return rows
}
