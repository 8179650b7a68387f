package sluice

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// priced gives each event the price that was set last for its user, in the past hour.
type priced struct {
	ProcessorBase
	price *ValueState[event]
}

func (p *priced) Open(c *ProcessorContext) error {
	p.price = NewValueState[event](c, "price")
	return nil
}

func (p *priced) ProcessConnected(_ *ProcessorContext, _ Row, rows *Rows) error {
	prices, err := RowsAs[event](rows)
	if err != nil || len(prices) == 0 {
		return err
	}
	return p.price.Update(prices[len(prices)-1])
}

func (p *priced) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	events, err := RowsAs[event](rows)
	if err != nil {
		return err
	}
	price, ok, err := p.price.Get()
	if err != nil {
		return err
	}
	for _, e := range events {
		if !ok || e.Ts.Sub(price.Ts) > time.Hour {
			continue
		}
		if err := c.Emit(e.Ts, e.V, price.V); err != nil {
			return err
		}
	}
	return nil
}

// TestTwoInputsShareState hands prices and events to one processor, in the order of
// their times, and compares batch, stream and restarts with a naive loop.
func TestTwoInputsShareState(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 9))
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	const f = "2006-01-02 15:04:05"
	var files [][]string
	out := []string{}
	prices := map[string]event{}
	for range 6 {
		var lines []string
		for range 40 {
			at = at.Add(time.Duration(1+rng.IntN(400)) * time.Second)
			e := event{User: fmt.Sprintf("u%d", rng.IntN(4)), Ts: at, V: rng.Int64N(100)}
			lines = append(lines, e.line())
			if e.V < 30 {
				prices[e.User] = e
			} else if p, ok := prices[e.User]; ok && e.Ts.Sub(p.Ts) <= time.Hour {
				out = append(out, fmt.Sprintf("%s|%s|%d|%d", e.User, e.Ts.Format(f), e.V, p.V))
			}
		}
		files = append(files, lines)
	}
	slices.Sort(out)
	c := processCase{
		mode: Append, ddl: []string{"user STRING, ts TIMESTAMP_NTZ, v BIGINT, price BIGINT"},
		build: func(_ testing.TB, s *Session) []*DataFrame {
			d := s.Table("events").Where("v >= 30").KeyBy("user").Process("priced", func() Processor { return &priced{} },
				"ts TIMESTAMP_NTZ, v BIGINT, price BIGINT", InOrderOf("ts"),
				Connect(s.Table("events").Where("v < 30").KeyBy("user"), InOrderOf("ts")))
			return []*DataFrame{d}
		},
	}
	c.check(t, files, [][]string{out})
}

func TestConnectIsRefused(t *testing.T) {
	s := testTables(t)
	if _, err := s.CreateStream("st", schemaOf(t, s, "k BIGINT, v DOUBLE")); err != nil {
		t.Fatal(err)
	}
	make := func() Processor { return &failing{} }
	connected := func() Processor { return &priced{} }
	on := func(d *DataFrame, make func() Processor, opt ProcessOption) *DataFrame {
		return d.KeyBy("k").Process("p", make, "n BIGINT", opt)
	}
	other := func() *Keyed { return s.Table("u").KeyBy("k") }
	for _, c := range []struct {
		d    *DataFrame
		want string
	}{
		{on(s.Table("t"), make, Connect(other())), "has no method ProcessConnected"},
		{on(s.Table("t"), connected, Connect(s.Table("u").KeyBy("k", "name"))), "what is connected has 2 keys, the rows have 1"},
		{on(s.Table("t"), connected, Connect(s.Table("u").KeyBy("nope"))), "nope"},
		{on(s.Table("t"), connected, Connect(other(), UpdateBy())), "Connect takes the options InOrderOf and DropLate"},
		{on(s.Table("t"), connected, Connect(openSession(t, Options{}).Table("u").KeyBy("k"))), "u"},
	} {
		_, err := c.d.Collect(t.Context())
		wantError(t, err, c.want)
	}
	_, err := on(s.Table("st"), connected, Connect(other())).WriteToMemory("m").Start(t.Context())
	wantError(t, err, "of its two inputs one is a stream and one is not")
	d := s.Table("t").KeyBy("k").Process("p", connected, "n BIGINT", InOrderOf("v"), Connect(other(), InOrderOf("name")))
	_, err = d.Collect(t.Context())
	wantError(t, err, "its inputs are in order of a")
}

// visits tells how often a key was seen while it was looked at every hour.
type visits struct {
	ProcessorBase
	value *ValueState[int64]
	list  *ListState[int64]
	set   *MapState[int64, bool]
}

func (p *visits) Open(c *ProcessorContext) error {
	p.value = NewValueState[int64](c, "value", StateTTL(time.Hour), TTLOnRead())
	p.list = NewListState[int64](c, "list", StateTTL(time.Hour), TTLOnRead())
	p.set = NewMapState[int64, bool](c, "set", StateTTL(time.Hour), TTLOnRead())
	return nil
}

func (p *visits) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	_, ok, err := p.value.Get()
	if err != nil {
		return err
	}
	list, err := p.list.Get()
	if err != nil {
		return err
	}
	n, entries := rows.Int64(0, rows.Index("v")), int64(0)
	err = p.set.Iterate(func(int64, bool) (bool, error) { entries++; return true, nil })
	if !ok {
		err = errors.Join(err, p.value.Update(1))
	}
	if n > 0 {
		err = errors.Join(err, p.list.Append(n), p.set.Put(n, true))
	}
	return errors.Join(err, c.Emit(int64(len(list))*100+entries*10+map[bool]int64{true: 1}[ok]))
}

// TestReadingMakesStateLiveOn reads state of an hour every 40 minutes.
func TestReadingMakesStateLiveOn(t *testing.T) {
	inBubble(t, func() Processor { return &visits{} }, func(t *testing.T, st *Stream, q *Query, got *collected) {
		for i, step := range []struct {
			wait        time.Duration
			lines, want string
		}{
			{0, "a,1\nb,1", "a|0 b|0"},
			{40 * time.Minute, "a,2", "a|111"},
			{40 * time.Minute, "a,0", "a|221"},
			{40 * time.Minute, "a,0\nb,0", "a|221 b|0"},
			{61 * time.Minute, "a,0\nb,0", "a|0 b|0"},
		} {
			<-time.After(step.wait)
			add(t, st, step.lines)
			process(t, q)
			if g := got.take(); g != step.want {
				t.Errorf("step %d: got %q, want %q", i, g, step.want)
			}
		}
	})
}

// TestStatesThatAreDeclaredNoMoreGo starts a query again with code that has another
// state besides, and then with one that has lost the first.
func TestStatesThatAreDeclaredNoMoreGo(t *testing.T) {
	dir := t.TempDir()
	counting := func(names ...string) func() Processor {
		return func() Processor {
			var states []*ValueState[int64]
			return &failing{
				open: func(c *ProcessorContext) error {
					for _, n := range names {
						states = append(states, NewValueState[int64](c, n))
					}
					return nil
				},
				process: func(c *ProcessorContext, _ Row, rows *Rows) error {
					var text []string
					for i, s := range states {
						n, _, err := s.Get()
						if err := errors.Join(err, s.Update(n+int64(rows.Len()))); err != nil {
							return err
						}
						text = append(text, fmt.Sprintf("%s=%d", names[i], n+int64(rows.Len())))
					}
					return c.Emit(strings.Join(text, " "))
				},
			}
		}
	}
	for i, run := range []struct {
		names []string
		want  string
	}{
		{[]string{"x"}, "x=1"},
		{[]string{"x", "yy"}, "x=2 yy=1"},
		{[]string{"yy"}, "yy=2"},
		{[]string{"x", "yy"}, "x=1 yy=3"},
	} {
		feedFiles(t, dir, i, []string{"a,2024-01-01 00:00:00,1"})
		s := openSession(t, Options{CheckpointDir: filepath.Join(dir, "ck")})
		must(t, s, fmt.Sprintf(processEvents, dir))
		q, err := s.Table("events").KeyBy("user").Process("p", counting(run.names...), "s STRING").WriteToMemory("out").Name("q").Trigger(AvailableNow()).Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint("run ", i), rowsOf(t, s.MemoryTable("out")), "a|"+run.want)
		if n, want := q.Progress().StateOperators[0].NumRowsTotal, int64(2*len(run.names)); n != want {
			t.Errorf("run %d: %d rows of state, want %d", i, n, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
