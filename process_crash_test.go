package sluice

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// busy has all that a processor can have: two inputs, states with and without a TTL,
// timers of both kinds and several outputs. It counts its calls, so that the test can
// kill the query in the middle of a batch.
type busy struct {
	ProcessorBase
	calls *atomic.Int64
	sum   *ValueState[int64]
	seen  *ValueState[bool]
	held  *MapState[time.Time, int64]
	price *ListState[int64]
}

const (
	busyTTL  = 20 * time.Millisecond
	busyRing = 3 * time.Millisecond
)

func (p *busy) Open(c *ProcessorContext) error {
	p.sum, p.seen = NewValueState[int64](c, "sum"), NewValueState[bool](c, "seen", StateTTL(busyTTL))
	p.held, p.price = NewMapState[time.Time, int64](c, "held"), NewListState[int64](c, "price")
	return nil
}

func (p *busy) ProcessConnected(_ *ProcessorContext, _ Row, rows *Rows) error {
	p.calls.Add(1)
	for i := range rows.Len() {
		if err := p.price.Append(rows.Int64(i, rows.Index("v"))); err != nil {
			return err
		}
	}
	return nil
}

func (p *busy) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	p.calls.Add(1)
	events, err := RowsAs[event](rows)
	if err != nil {
		return err
	}
	sum, _, err := p.sum.Get()
	if err != nil {
		return err
	}
	for _, e := range events {
		sum += e.V
		at := e.Ts.Add(time.Minute)
		held, _, err := p.held.Get(at)
		if err := errors.Join(err, p.held.Put(at, held+e.V), c.SetEventTimer(at)); err != nil {
			return err
		}
	}
	_, seen, err := p.seen.Get()
	return errors.Join(err, p.sum.Update(sum), p.seen.Update(true), c.SetClockTimer(c.Now().Add(busyRing)),
		c.Emit(c.BatchID(), c.Now(), int64(len(events)), sum, seen))
}

func (p *busy) OnTimer(c *ProcessorContext, _ Row, t Timer) error {
	p.calls.Add(1)
	if t.Clock {
		return c.EmitTo("rings", t.At, c.Now(), c.Ended())
	}
	v, _, err := p.held.Get(t.At)
	prices, perr := p.price.Get()
	return errors.Join(err, perr, p.held.Remove(t.At), c.EmitTo("echoes", t.At, v, int64(len(prices))))
}

var busyTables = []string{
	"user STRING, b BIGINT, now TIMESTAMP_NTZ, n BIGINT, total BIGINT, seen BOOLEAN",
	"user STRING, at TIMESTAMP_NTZ, now TIMESTAMP_NTZ, ended BOOLEAN", "user STRING, at TIMESTAMP_NTZ, v BIGINT", hourlyColumns,
}

// busyQuery starts the query with its four tables.
func busyQuery(t *testing.T, s *Session, dir string, calls *atomic.Int64, trigger Trigger) *Query {
	t.Helper()
	c := processCase{ddl: busyTables}
	c.declare(t, s, dir)
	d := s.Table("events").Where("v >= 20").KeyBy("user").Process("busy", func() Processor { return &busy{calls: calls} },
		"b BIGINT, now TIMESTAMP_NTZ, n BIGINT, total BIGINT, seen BOOLEAN", InOrderOf("ts"),
		Connect(s.Table("events").Where("v < 20").KeyBy("user"), InOrderOf("ts")),
		SideOutput("rings", "at TIMESTAMP_NTZ, now TIMESTAMP_NTZ, ended BOOLEAN"),
		SideOutput("echoes", "at TIMESTAMP_NTZ, v BIGINT, prices BIGINT"), SideEventTime("echoes", "at", 0))
	echoes := d.SideOutput("echoes")
	w := d.WriteTo("out0").Name("q").Trigger(trigger)
	for i, more := range []*DataFrame{d.SideOutput("rings"), echoes.Select("user", "at", "v"), hourly(echoes, "at")} {
		w = w.Also(more.WriteTo(fmt.Sprintf("out%d", i+1)))
	}
	q, err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestKillAndRescaleABusyProcessor abandons a query at random moments, starts it
// again with other parallelisms, and holds each of its outputs against what the events
// and the times of the batches say.
func TestKillAndRescaleABusyProcessor(t *testing.T) {
	dir := t.TempDir()
	files, flat := randomEvents(21, 18, 25, 6, time.Minute)
	rng := rand.New(rand.NewPCG(8, 15))
	var calls atomic.Int64
	run := func(trigger Trigger, killAt int64) {
		t.Helper()
		s := openSession(t, Options{CheckpointDir: filepath.Join(dir, "ck"), Settings: map[string]string{
			"parallelism": fmt.Sprint(1 + rng.IntN(4)), "checkpoint.interval": []string{"1ms", "1 hour"}[rng.IntN(2)]}})
		q := busyQuery(t, s, dir, &calls, trigger)
		if killAt > 0 {
			processed := make(chan error, 1)
			go func() { processed <- q.ProcessAllAvailable(t.Context()) }()
			for limit, over := calls.Load()+killAt, false; !over && calls.Load() < limit; {
				select {
				case err := <-processed:
					if over = true; err != nil {
						t.Error(err)
					}
				case <-time.After(100 * time.Microsecond): // look at the calls again
				}
			}
			q.Abandon()
		}
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil && killAt == 0 {
			t.Fatal(err)
		}
	}
	for i, f := range files {
		feedFiles(t, dir, i, f)
		if i%2 == 1 {
			run(Immediate(), 1+rng.Int64N(40))
		}
	}
	run(AvailableNow(), 0)
	checkBusy(t, dir, flat)
}

func checkBusy(t *testing.T, dir string, flat []event) {
	s := openSession(t, Options{})
	c := processCase{ddl: busyTables}
	c.declare(t, s, dir)
	sums, echoes, windows := map[string]int64{}, map[string]map[time.Time]int64{}, hours{}
	for _, e := range flat {
		if e.V < 20 {
			continue
		}
		if sums[e.User] += e.V; echoes[e.User] == nil {
			echoes[e.User] = map[time.Time]int64{}
		}
		echoes[e.User][e.Ts.Add(time.Minute)] += e.V
	}
	var want []string
	for user, at := range echoes {
		for ts, v := range at {
			want = append(want, fmt.Sprintf("%s|%s|%d", user, ts.Format("2006-01-02 15:04:05"), v))
			windows.add(user, ts, v)
		}
	}
	slices.Sort(want)
	same(t, "echoes", rowsOf(t, s.Table("out2").Where("user <> 'clock'")), want...)
	same(t, "windows of echoes", rowsOf(t, s.Table("out3").Where("user <> 'clock'")), windows.lines()...)

	// What comes by the clock is held against the times of the batches.
	rows, err := s.Table("out0").OrderBy("user", "b").Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, total, due, end := map[string]time.Time{}, map[string]int64{}, map[string]time.Time{}, time.Time{}
	for _, r := range rows {
		user, now := r[0].(string), r[2].(time.Time)
		was, ok := last[user]
		if seen, want := r[5].(bool), ok && was.Add(busyTTL).After(now); seen != want {
			t.Errorf("%s in batch %d: seen %t, its last batch was %s before", user, r[1], seen, now.Sub(was))
		}
		if now.After(end) {
			end = now
		}
		last[user], total[user] = now, r[4].(int64)
		due[fmt.Sprint(user, " ", now.Add(busyRing))] = now.Add(busyRing)
	}
	delete(total, "clock")
	if fmt.Sprint(total) != fmt.Sprint(sums) {
		t.Errorf("sums: got %v want %v", total, sums)
	}
	rings, err := s.Table("out1").Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rings {
		at, now := r[1].(time.Time), r[2].(time.Time)
		key := fmt.Sprint(r[0], " ", at)
		if _, ok := due[key]; !ok || now.Before(at) && !r[3].(bool) {
			t.Errorf("%s rang at %s, which nobody has set, or again", key, now)
		}
		delete(due, key)
	}
	for key, at := range due {
		if !at.After(end) {
			t.Errorf("%s has not rung by %s", key, end)
		}
	}
}
