package sluice

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hourly counts what a DataFrame has in each hour of a time column, by user.
func hourly(d *DataFrame, column string) *DataFrame {
	return d.Tumble(column, time.Hour).GroupBy("user", "window_start", "window_end").Agg(Count().As("n"), Sum(Col("v")).As("v")).
		Select("user", "window_end", "n", "v")
}

const hourlyColumns = "user STRING, window_end TIMESTAMP_NTZ, n BIGINT, v BIGINT"

// hours is what hourly gives for rows of a user, a time and a value.
type hours map[string][2]int64

func (h hours) add(user string, at time.Time, v int64) {
	key := fmt.Sprintf("%s|%s", user, at.Truncate(time.Hour).Add(time.Hour).Format("2006-01-02 15:04:05"))
	h[key] = [2]int64{h[key][0] + 1, h[key][1] + v}
}

func (h hours) lines() []string {
	var out []string
	for k, v := range h {
		out = append(out, fmt.Sprintf("%s|%d|%d", k, v[0], v[1]))
	}
	slices.Sort(out)
	return out
}

// TestWindowsOverSessionsOfAProcessor puts sessions out by the time of their start,
// long after the watermark has passed it, and counts them in windows of that time.
func TestWindowsOverSessionsOfAProcessor(t *testing.T) {
	files, flat := randomEvents(11, 6, 40, 5, 4*time.Minute)
	want := hours{}
	for _, line := range naiveSessions(flat) {
		var user, from, to string
		var n, sum int64
		parts := strings.Split(line, "|")
		user, from, to = parts[0], parts[1], parts[2]
		fmt.Sscan(parts[3], &n)
		fmt.Sscan(parts[4], &sum)
		at, err := time.Parse("2006-01-02 15:04:05", from)
		if err != nil || to < from {
			t.Fatal(line, err)
		}
		want.add(user, at, sum)
	}
	c := processCase{
		mode: Append, ddl: []string{hourlyColumns},
		build: func(_ testing.TB, s *Session) []*DataFrame {
			d := s.Table("events").KeyBy("user").Process("sessions", func() Processor { return &sessions{} },
				"start_at TIMESTAMP_NTZ, end_at TIMESTAMP_NTZ, n BIGINT, v BIGINT", InOrderOf("ts"), EventTime("start_at", 12*time.Hour))
			return []*DataFrame{hourly(d, "start_at")}
		},
	}
	c.check(t, files, [][]string{want.lines()})
}

// heldSessions are sessions whose start is held until they end.
type heldSessions struct{ sessions }

func (p *heldSessions) Process(c *ProcessorContext, key Row, rows *Rows) error {
	if err := p.sessions.Process(c, key, rows); err != nil {
		return err
	}
	s, _, err := p.open.Get()
	return errors.Join(err, c.SetEventTimerHolding(s.End.Add(sessionGap), s.Start))
}

// TestWindowsWaitForWhatATimerHolds is the same without a delay: event time is held at
// the start of the earliest session that is open.
func TestWindowsWaitForWhatATimerHolds(t *testing.T) {
	files, flat := randomEvents(13, 8, 40, 5, 4*time.Minute)
	want := hours{}
	for _, line := range naiveSessions(flat) {
		parts := strings.Split(line, "|")
		at, err := time.Parse("2006-01-02 15:04:05", parts[1])
		if err != nil {
			t.Fatal(line, err)
		}
		sum, err := strconv.ParseInt(parts[4], 10, 64)
		if err != nil {
			t.Fatal(line, err)
		}
		want.add(parts[0], at, sum)
	}
	c := processCase{
		mode: Append, ddl: []string{hourlyColumns},
		build: func(_ testing.TB, s *Session) []*DataFrame {
			d := s.Table("events").KeyBy("user").Process("sessions", func() Processor { return &heldSessions{} },
				"start_at TIMESTAMP_NTZ, end_at TIMESTAMP_NTZ, n BIGINT, v BIGINT", InOrderOf("ts"), EventTime("start_at", 0), HoldEventTime())
			return []*DataFrame{hourly(d, "start_at")}
		},
	}
	c.check(t, files, [][]string{want.lines()})
}

// TestHeldEventTimeStepByStep looks at which windows are out while a timer holds one open.
func TestHeldEventTimeStepByStep(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "3"}})
	st := streamOf(t, s, "st", "k STRING, ts TIMESTAMP_NTZ, v BIGINT")
	// v > 0: hold the time of the row for v minutes and put it out then; 0: put it out
	// now; -1: take all timers back.
	d := s.Table("st").WithWatermark("ts", 0).KeyBy("k").Process("p", func() Processor {
		return &ringing{failing: failing{process: func(c *ProcessorContext, _ Row, rows *Rows) error {
			for i := range rows.Len() {
				at, v := rows.Time(i, 1), rows.Int64(i, 2)
				var err error
				switch {
				case v > 0:
					err = c.SetEventTimerHolding(at.Add(time.Duration(v)*time.Minute), at)
				case v == 0:
					err = c.Emit(at)
				default:
					timers, lerr := c.EventTimers()
					for err = lerr; err == nil && len(timers) > 0; timers = timers[1:] {
						err = c.DeleteEventTimer(timers[0])
					}
				}
				if err != nil {
					return err
				}
			}
			return nil
		}}}
	}, "at TIMESTAMP_NTZ", EventTime("at", 0), HoldEventTime())
	q, err := d.Tumble("at", 10*time.Minute).GroupBy("window_start", "window_end").Agg(Count().As("n")).
		Select(Call("date_format", Col("window_start"), "HH:mm").As("s"), Col("n")).WriteToMemory("out").Name("q").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		lines string
		want  []string
	}{
		{"a,2024-01-01 10:01:00,60\nb,2024-01-01 10:02:00,0\nc,2024-01-01 10:03:00,30", nil},
		{"b,2024-01-01 10:25:00,0", nil},                                       // the window of 10:00 has passed, and is held
		{"b,2024-01-01 10:45:00,0", nil},                                       // c's timer has rung, at 10:33, and a's holds
		{"b,2024-01-01 11:05:00,0", []string{"10:00|3", "10:20|1", "10:40|1"}}, // a's has rung, too
		{"a,2024-01-01 11:06:00,60", []string{"10:00|3", "10:20|1", "10:40|1"}},
		{"b,2024-01-01 11:25:00,0", []string{"10:00|3", "10:20|1", "10:40|1"}}, // 11:00 is held at 11:06
		{"a,2024-01-01 11:26:00,-1", []string{"10:00|3", "10:20|1", "10:40|1", "11:00|1"}},
	} {
		add(t, st, step.lines)
		process(t, q)
		same(t, fmt.Sprint("step ", i), rowsOf(t, s.MemoryTable("out")), step.want...)
	}
	if n := lateSum(q); n != 0 {
		t.Errorf("%d rows were late", n)
	}
}

// ringing puts the held time out when its timer rings.
type ringing struct{ failing }

func (p *ringing) OnTimer(c *ProcessorContext, _ Row, t Timer) error {
	return c.Emit(time.Date(2024, 1, 1, 10, map[int]int{1: 1, 33: 3}[t.At.Minute()], 0, 0, time.UTC))
}

// echoes passes each row on with its own time, and puts it out again when the
// watermark is a minute past it, to the output "again".
type echoes struct {
	ProcessorBase
	held *MapState[time.Time, int64]
}

func (p *echoes) Open(c *ProcessorContext) error {
	p.held = NewMapState[time.Time, int64](c, "held")
	return nil
}

func (p *echoes) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	ts, v := rows.Index("ts"), rows.Index("v")
	for i := range rows.Len() {
		at := rows.Time(i, ts).Add(time.Minute)
		held, _, err := p.held.Get(at)
		if err != nil {
			return err
		}
		if err := errors.Join(c.Emit(rows.Time(i, ts), rows.Int64(i, v)), p.held.Put(at, held+rows.Int64(i, v)), c.SetEventTimer(at)); err != nil {
			return err
		}
	}
	return nil
}

func (p *echoes) OnTimer(c *ProcessorContext, _ Row, t Timer) error {
	v, ok, err := p.held.Get(t.At)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("nothing is held for %s", t.At))
	}
	return errors.Join(c.EmitTo("again", t.At, v), p.held.Remove(t.At))
}

const echoColumns = "ts TIMESTAMP_NTZ, v BIGINT"

// TestProcessorsHandEventTimeOn chains two processors, and windows over each of their
// outputs: rows that are passed on, and rows that timers put out with their own time.
func TestProcessorsHandEventTimeOn(t *testing.T) {
	files, flat := randomEvents(12, 6, 30, 4, 3*time.Minute)
	passed, again, twice := hours{}, hours{}, hours{}
	held := map[string]map[time.Time]int64{}
	for _, e := range flat {
		passed.add(e.User, e.Ts, e.V)
		if held[e.User] == nil {
			held[e.User] = map[time.Time]int64{}
		}
		held[e.User][e.Ts] += e.V
	}
	for user, at := range held {
		for ts, v := range at {
			again.add(user, ts.Add(time.Minute), v)
			twice.add(user, ts.Add(2*time.Minute), v)
		}
	}
	echo := func(d *DataFrame, name string) *DataFrame {
		return d.KeyBy("user").Process(name, func() Processor { return &echoes{} }, echoColumns, InOrderOf("ts"), EventTime("ts", 0),
			SideOutput("again", echoColumns), SideEventTime("again", "ts", 0))
	}
	c := processCase{
		mode: Append, ddl: []string{hourlyColumns, hourlyColumns, hourlyColumns},
		build: func(_ testing.TB, s *Session) []*DataFrame {
			one := echo(s.Table("events"), "one")
			two := echo(one.SideOutput("again"), "two")
			return []*DataFrame{hourly(one, "ts"), hourly(one.SideOutput("again"), "ts"), hourly(two.SideOutput("again"), "ts")}
		},
	}
	c.check(t, files, [][]string{passed.lines(), again.lines(), twice.lines()})
}

// TestRowsAProcessorPutsOutTooLate are counted and kept as the query keeps late rows.
func TestRowsAProcessorPutsOutTooLate(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "2"}})
	st, err := s.CreateStream("st", schemaOf(t, s, "k STRING, ts TIMESTAMP_NTZ, v BIGINT"))
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, "CREATE TABLE late (late_operator STRING, late_end TIMESTAMP, k STRING, v BIGINT) WITH ('connector'='memory', 'name'='late')")
	d := s.Table("st").WithWatermark("ts", 0).KeyBy("k").Process("back", func() Processor {
		return &failing{process: func(c *ProcessorContext, _ Row, rows *Rows) error {
			for i := range rows.Len() {
				v := rows.Int64(i, rows.Index("v"))
				if err := c.Emit(rows.Time(i, rows.Index("ts")).Add(-time.Duration(v)*time.Minute), v); err != nil {
					return err
				}
			}
			return nil
		}}
	}, "at TIMESTAMP_NTZ, v BIGINT", EventTime("at", 5*time.Minute))
	sums := d.Tumble("at", 10*time.Minute).GroupBy("window_start", "window_end").Agg(Sum(Col("v")).As("v")).
		Select(Call("date_format", Col("window_start"), "HH:mm").As("s"), Col("v"))
	q, err := sums.WriteToMemory("sums").Name("q").LateInto("late").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, lines := range []string{
		"a,2024-01-01 10:00:00,1\nb,2024-01-01 10:01:00,2",
		"a,2024-01-01 10:20:00,24\nb,2024-01-01 10:20:00,23", // the watermark is 10:01: of 09:56 is late
		"a,2024-01-01 10:21:00,6\nb,2024-01-01 10:21:00,5",   // and of 10:15
		"a,2024-01-01 11:00:00,0",
		"a,2024-01-01 11:00:01,0",
	} {
		add(t, st, lines)
		process(t, q)
	}
	same(t, "sums", query(t, s, "SELECT * FROM sums"), "09:50|26", "10:10|5")
	same(t, "late", query(t, s, "SELECT late_operator, date_format(late_end, 'HH:mm'), k, v FROM late"), "process-back|09:56|a|24", "process-back|10:15|a|6")
	if n := lateSum(q); n != 2 {
		t.Errorf("%d rows were late", n)
	}
}

func TestEventTimeOfAProcessorIsRefused(t *testing.T) {
	s := testTables(t)
	make := func() Processor {
		return &failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error {
			return c.SetEventTimerHolding(time.Unix(60, 0), time.Unix(0, 0))
		}}
	}
	for _, c := range []struct {
		opts []ProcessOption
		want string
	}{
		{[]ProcessOption{EventTime("x", 0)}, `event time "x" is no column of the keys and the output`},
		{[]ProcessOption{EventTime("n", 0)}, `event time "n" is a int64, not a timestamp`},
		{[]ProcessOption{EventTime("at", -1)}, "less than nothing"},
		{[]ProcessOption{HoldEventTime()}, "HoldEventTime without EventTime"},
		{[]ProcessOption{EventTime("at", 0)}, "the processor needs the option HoldEventTime"},
		{[]ProcessOption{EventTime("at", 0), UpdateBy()}, "what it takes back may have closed"},
		{[]ProcessOption{SideEventTime("side", "at", 0)}, `there is no output "side" before it`},
	} {
		_, err := s.Table("t").KeyBy("k").Process("p", make, "n BIGINT, at TIMESTAMP_NTZ", c.opts...).Collect(t.Context())
		wantError(t, err, c.want)
	}
}

// lateSum adds up the late rows of all batches.
func lateSum(q *Query) (n int64) {
	for _, p := range q.Recent() {
		n += p.LateRows
	}
	return n
}
