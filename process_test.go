package sluice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

const processEvents = `
CREATE TABLE events (user STRING, ts TIMESTAMP_NTZ, v BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)
WITH ('connector'='filesystem', 'path'='%s/in', 'format'='csv', 'max-files-per-trigger'='1');
`

// feedFiles writes CSV files of events.
func feedFiles(t testing.TB, dir string, first int, files ...[]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i, lines := range files {
		text := "user,ts,v\n" + strings.Join(lines, "\n") + "\n"
		name := filepath.Join(dir, "in", fmt.Sprintf("part-%04d.csv", first+i))
		if err := os.WriteFile(name+".tmp", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".tmp", name); err != nil {
			t.Fatal(err)
		}
	}
}

// processCase is a processor over events with what it is to give.
type processCase struct {
	build func(t testing.TB, s *Session) []*DataFrame
	mode  Mode
	ddl   []string // columns of the tables that take the results
	keys  string   // PRIMARY KEY of the first
}

// declare makes the tables of a case in a session.
func (c *processCase) declare(t testing.TB, s *Session, dir string) {
	must(t, s, fmt.Sprintf(processEvents, dir))
	for i, cols := range c.ddl {
		if i == 0 && c.keys != "" {
			cols += ", PRIMARY KEY (" + c.keys + ") NOT ENFORCED"
		}
		must(t, s, fmt.Sprintf("CREATE TABLE out%d (%s) WITH ('connector'='filesystem', 'path'='%s/out%d', 'format'='parquet')", i, cols, dir, i))
	}
}

// stream processes what is there with a parallelism, in a process of its own, as it were.
func (c *processCase) stream(t testing.TB, dir string, parallelism int) {
	t.Helper()
	s := openSession(t, Options{CheckpointDir: filepath.Join(dir, "ck"), Settings: map[string]string{"parallelism": fmt.Sprint(parallelism)}})
	c.declare(t, s, dir)
	var w *Writer
	for i, d := range c.build(t, s) {
		one := d.WriteTo(fmt.Sprintf("out%d", i)).Name("q").Mode(c.mode).Trigger(AvailableNow())
		if w == nil {
			w = one
		} else {
			w = w.Also(one)
		}
	}
	q, err := w.Start(t.Context())
	if err == nil {
		err = q.Await(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// results reads what the tables hold, without the user that moves the time on.
func (c *processCase) results(t testing.TB, dir string) [][]string {
	t.Helper()
	s := openSession(t, Options{})
	c.declare(t, s, dir)
	var out [][]string
	for i := range c.ddl {
		rows := rowsOf(t, s.Table(fmt.Sprintf("out%d", i)).Where("user <> 'clock'"))
		out = append(out, rows)
	}
	return out
}

// check compares batch, stream, and a stream that is started again with another
// parallelism after each batch.
func (c *processCase) check(t *testing.T, files [][]string, want [][]string) {
	t.Helper()
	dir := t.TempDir()
	feedFiles(t, dir, 0, files...)
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "3"}})
	c.declare(t, s, dir)
	for i, d := range c.build(t, s) {
		same(t, fmt.Sprintf("output %d as a batch", i), rowsOf(t, d.Where("user <> 'clock'")), want[i]...)
	}
	c.stream(t, dir, 2)
	for i, got := range c.results(t, dir) {
		same(t, fmt.Sprintf("output %d as a stream", i), got, want[i]...)
	}
	again := t.TempDir()
	for i, f := range files {
		feedFiles(t, again, i, f)
		c.stream(t, again, 1+i%3)
	}
	for i, got := range c.results(t, again) {
		same(t, fmt.Sprintf("output %d with restarts", i), got, want[i]...)
	}
}

// randomEvents makes files of events in the order of time, and one that moves the
// watermark behind them all.
func randomEvents(seed uint64, files, rows, users int, step time.Duration) (lines [][]string, flat []event) {
	rng := rand.New(rand.NewPCG(seed, 2))
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for range files {
		var f []string
		for range rows {
			at = at.Add(time.Duration(rng.Int64N(int64(step))).Truncate(time.Second))
			e := event{User: fmt.Sprintf("u%d", rng.IntN(users)), Ts: at, V: rng.Int64N(100)}
			flat = append(flat, e)
			f = append(f, e.line())
		}
		lines = append(lines, f)
	}
	return append(lines, []string{event{"clock", at.Add(240 * time.Hour), 0}.line()}, []string{event{"clock", at.Add(240 * time.Hour), 0}.line()}), flat
}

type event struct {
	User string
	Ts   time.Time
	V    int64
}

func (e event) line() string {
	return fmt.Sprintf("%s,%s,%d", e.User, e.Ts.Format("2006-01-02 15:04:05"), e.V)
}

// sessions cuts the events of a user where nothing happens for ten minutes.
type sessions struct {
	ProcessorBase
	open *ValueState[userSession]
}

type userSession struct {
	Start, End time.Time
	N, Sum     int64
}

const sessionGap = 10 * time.Minute

func (p *sessions) Open(c *ProcessorContext) error {
	p.open = NewValueState[userSession](c, "open")
	return nil
}

func (p *sessions) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	events, err := RowsAs[event](rows)
	if err != nil {
		return err
	}
	for _, e := range events {
		s, ok, err := p.open.Get()
		if err != nil {
			return err
		}
		if ok {
			if err := c.DeleteEventTimer(s.End.Add(sessionGap)); err != nil {
				return err
			}
			if !e.Ts.Before(s.End.Add(sessionGap)) {
				if err := p.emit(c, s); err != nil {
					return err
				}
				ok = false
			}
		}
		if !ok {
			s = userSession{Start: e.Ts}
		}
		s.End, s.N, s.Sum = e.Ts, s.N+1, s.Sum+e.V
		if err := p.open.Update(s); err != nil {
			return err
		}
		if err := c.SetEventTimer(s.End.Add(sessionGap)); err != nil {
			return err
		}
	}
	return nil
}

func (p *sessions) emit(c *ProcessorContext, s userSession) error {
	return c.Emit(s.Start, s.End, s.N, s.Sum)
}

func (p *sessions) OnTimer(c *ProcessorContext, _ Row, t Timer) error {
	s, ok, err := p.open.Get()
	if err != nil || !ok {
		return errors.Join(err, errors.New("a timer without a session"))
	}
	if want := s.End.Add(sessionGap); !t.At.Equal(want) {
		return fmt.Errorf("the timer of %s came at %s", want, t.At)
	}
	if left, err := c.EventTimers(); err != nil || len(left) > 0 {
		return fmt.Errorf("timers left: %v %v", left, err)
	}
	return errors.Join(p.emit(c, s), p.open.Clear())
}

func TestProcessMakesSessions(t *testing.T) {
	files, flat := randomEvents(1, 6, 40, 5, 4*time.Minute)
	c := processCase{
		mode: Append, ddl: []string{"user STRING, start_at TIMESTAMP_NTZ, end_at TIMESTAMP_NTZ, n BIGINT, total BIGINT"},
		build: func(_ testing.TB, s *Session) []*DataFrame {
			return []*DataFrame{s.Table("events").KeyBy("user").Process("sessions", func() Processor { return &sessions{} },
				"start_at TIMESTAMP_NTZ, end_at TIMESTAMP_NTZ, n BIGINT, total BIGINT", InOrderOf("ts"))}
		},
	}
	c.check(t, files, [][]string{naiveSessions(flat)})
}

func naiveSessions(flat []event) []string {
	open := map[string]*userSession{}
	var out []string
	put := func(user string, s *userSession) {
		const f = "2006-01-02 15:04:05"
		out = append(out, fmt.Sprintf("%s|%s|%s|%d|%d", user, s.Start.Format(f), s.End.Format(f), s.N, s.Sum))
	}
	for _, e := range flat {
		s := open[e.User]
		if s != nil && e.Ts.Sub(s.End) >= sessionGap {
			put(e.User, s)
			s = nil
		}
		if s == nil {
			s = &userSession{Start: e.Ts}
			open[e.User] = s
		}
		s.End, s.N, s.Sum = e.Ts, s.N+1, s.Sum+e.V
	}
	for user, s := range open {
		put(user, s)
	}
	slices.Sort(out)
	return out
}

// fraud tells of a small payment that a large one follows within a minute; what it
// has seen goes to a side output, too.
type fraud struct {
	ProcessorBase
	small *MapState[time.Time, int64]
	last  *ListState[int64]
}

func (p *fraud) Open(c *ProcessorContext) error {
	p.small, p.last = NewMapState[time.Time, int64](c, "small"), NewListState[int64](c, "last")
	return nil
}

func (p *fraud) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	ts, v := rows.Index("ts"), rows.Index("V")
	for i := range rows.Len() {
		at, amount := rows.Time(i, ts), rows.Int64(i, v)
		if amount >= 80 {
			err := p.small.Iterate(func(was time.Time, a int64) (bool, error) {
				if d := at.Sub(was); d > time.Minute {
					return true, nil
				}
				return true, c.Emit(was, a, amount)
			})
			if err != nil {
				return err
			}
		}
		if amount < 20 {
			if err := errors.Join(p.small.Put(at, amount), c.SetEventTimer(at.Add(time.Minute))); err != nil {
				return err
			}
		}
		if err := p.last.Append(amount); err != nil {
			return err
		}
		all, err := p.last.Get()
		if err != nil {
			return err
		}
		if len(all) == 3 {
			if err := errors.Join(c.EmitTo("triples", at, all), p.last.Clear()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *fraud) OnTimer(_ *ProcessorContext, _ Row, t Timer) error {
	return p.small.Remove(t.At.Add(-time.Minute))
}

func TestProcessFindsPatternsWithSeveralOutputs(t *testing.T) {
	files, flat := randomEvents(3, 5, 60, 4, 30*time.Second)
	const f = "2006-01-02 15:04:05"
	alerts, triples := []string{}, []string{}
	small, last := map[string]map[time.Time]int64{}, map[string][]string{}
	for _, e := range flat {
		if small[e.User] == nil {
			small[e.User] = map[time.Time]int64{}
		}
		if e.V >= 80 {
			for at, v := range small[e.User] {
				if e.Ts.Sub(at) <= time.Minute {
					alerts = append(alerts, fmt.Sprintf("%s|%s|%d|%d", e.User, at.Format(f), v, e.V))
				}
			}
		}
		if e.V < 20 {
			small[e.User][e.Ts] = e.V
		}
		if last[e.User] = append(last[e.User], fmt.Sprint(e.V)); len(last[e.User]) == 3 {
			triples = append(triples, fmt.Sprintf("%s|%s|[%s]", e.User, e.Ts.Format(f), strings.Join(last[e.User], ", ")))
			last[e.User] = nil
		}
	}
	slices.Sort(alerts)
	slices.Sort(triples)
	if len(alerts) == 0 || len(triples) == 0 {
		t.Fatal("the events have no pattern")
	}
	c := processCase{
		mode: Append, ddl: []string{"user STRING, at TIMESTAMP_NTZ, small BIGINT, large BIGINT", "user STRING, at TIMESTAMP_NTZ, vs ARRAY<BIGINT>"},
		build: func(_ testing.TB, s *Session) []*DataFrame {
			d := s.Table("events").KeyBy("user").Process("fraud", func() Processor { return &fraud{} },
				"at TIMESTAMP_NTZ, small BIGINT, large BIGINT", InOrderOf("ts"), SideOutput("triples", "at TIMESTAMP_NTZ, vs ARRAY<BIGINT>"))
			return []*DataFrame{d, d.SideOutput("triples")}
		},
	}
	c.check(t, files, [][]string{alerts, triples})
}

// totals keeps a sum for each key in an output that is updated.
type totals struct {
	ProcessorBase
	sum *ValueState[int64]
}

func (p *totals) Open(c *ProcessorContext) error {
	p.sum = NewValueState[int64](c, "sum")
	return nil
}

func (p *totals) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	sum, _, err := p.sum.Get()
	if err != nil {
		return err
	}
	for i := range rows.Len() {
		sum += rows.Int64(i, rows.Index("v"))
	}
	if sum%3 == 0 {
		err = c.Delete()
	} else {
		err = c.Emit(sum)
	}
	return errors.Join(err, p.sum.Update(sum))
}

func (p *totals) Initial(_ *ProcessorContext, key Row, rows *Rows) error {
	if rows.Len() != 1 || rows.String(0, 0) != key[0] {
		return fmt.Errorf("initial rows of %v: %v", key, rows.Row(0))
	}
	return p.sum.Update(rows.Int64(0, 1))
}

func TestProcessUpdatesFromAnInitialState(t *testing.T) {
	files, flat := randomEvents(5, 5, 30, 6, time.Minute)
	sums := map[string]int64{"u1": 1000, "u3": 2000, "zz": 5}
	for _, e := range flat {
		sums[e.User] += e.V
	}
	var rows []string
	var total, n int64
	for user, sum := range sums {
		if user != "zz" && sum%3 != 0 {
			rows = append(rows, fmt.Sprintf("%s|%d", user, sum))
			total, n = total+sum, n+1
		}
	}
	slices.Sort(rows)
	build := func(t testing.TB, s *Session) *DataFrame {
		start, err := s.SQL(t.Context(), "SELECT * FROM VALUES ('u1', 1000), ('u3', 2000), ('zz', 5) AS t(u, n)")
		if err != nil {
			t.Fatal(err)
		}
		return s.Table("events").KeyBy("user").Process("totals", func() Processor { return &totals{} }, "total BIGINT",
			UpdateBy(), InitialState(start, "u"))
	}
	s := openSession(t, Options{})
	dir := t.TempDir()
	feedFiles(t, dir, 0, files...)
	must(t, s, fmt.Sprintf(processEvents, dir))
	same(t, "as a batch", rowsOf(t, build(t, s).Where("user <> 'clock'")), rows...)
	sumOf := func(s *Session) *DataFrame {
		return build(t, s).Where("user <> 'clock'").Agg(Sum(Col("total")).As("total"), Count().As("n"))
	}
	same(t, "an aggregate above, as a batch", rowsOf(t, sumOf(s)), fmt.Sprintf("%d|%d", total, n))
	// With restarts: the checkpoint goes on, the table in memory is that of the last run.
	again, ck := t.TempDir(), t.TempDir()
	state := map[string]string{}
	for i, f := range files {
		feedFiles(t, again, i, f)
		s := openSession(t, Options{CheckpointDir: ck, Settings: map[string]string{"parallelism": fmt.Sprint(1 + i%3)}})
		must(t, s, fmt.Sprintf(processEvents, again))
		apply := func(_ context.Context, _ int64, recs []arrow.RecordBatch) error {
			for _, line := range linesOf(recs...) {
				key, _, _ := strings.Cut(line, "|")
				at := strings.LastIndex(line, "|")
				switch line[at+1:] {
				case "+I", "+U":
					state[key] = line[:at]
				case "-D":
					delete(state, key)
				}
			}
			return nil
		}
		q, err := build(t, s).Where("user <> 'clock'").ForeachBatch(apply).Name("q").Mode(Update).Trigger(AvailableNow()).Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, line := range state {
		got = append(got, line)
	}
	slices.Sort(got)
	same(t, "with restarts", got, rows...)
	live := openSession(t, Options{})
	must(t, live, fmt.Sprintf(processEvents, dir))
	q, err := sumOf(live).WriteToMemory("sums").Mode(Complete).Trigger(AvailableNow()).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "an aggregate above, as a stream", rowsOf(t, live.MemoryTable("sums")), fmt.Sprintf("%d|%d", total, n))
}
