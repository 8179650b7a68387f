package semantics

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-stream/sluice"
)

// frames are the queries that SQL cannot write: processors.
var frames = map[string]func(ctx context.Context, s *sluice.Session) (*sluice.DataFrame, error){
	"timers":  processed(func() sluice.Processor { return &timers{} }),
	"on-time": processed(func() sluice.Processor { return &timers{} }, sluice.DropLate("ts")),
	"quiet":   processed(func() sluice.Processor { return &quiet{} }),
	"rearms":  processed(func() sluice.Processor { return &rearms{} }),
}

// processed runs a processor over the table ev by its key.
func processed(mk func() sluice.Processor, opts ...sluice.ProcessOption) func(ctx context.Context, s *sluice.Session) (*sluice.DataFrame, error) {
	return func(ctx context.Context, s *sluice.Session) (*sluice.DataFrame, error) {
		df, err := s.SQL(ctx, "SELECT k, unix_micros(ts) AS us, ts, v FROM ev")
		if err != nil {
			return nil, err
		}
		return df.KeyBy("k").Process("p", mk, "what STRING, at BIGINT, n BIGINT", opts...), nil
	}
}

func seconds(t time.Time) int64 { return t.Unix() }

// timers sets a timer five seconds behind each row's time, and tells of rows and
// timers with the number of its calls.
type timers struct {
	sluice.ProcessorBase
	calls *sluice.ValueState[int64]
}

func (p *timers) Open(c *sluice.ProcessorContext) error {
	p.calls = sluice.NewValueState[int64](c, "calls")
	return nil
}

func (p *timers) emit(c *sluice.ProcessorContext, what string, at int64) error {
	n, _, err := p.calls.Get()
	return errors.Join(err, p.calls.Update(n+1), c.Emit(what, at, n+1))
}

func (p *timers) Process(c *sluice.ProcessorContext, _ sluice.Row, rows *sluice.Rows) error {
	for i := range rows.Len() {
		at := time.UnixMicro(rows.Int64(i, 1)).UTC()
		if err := errors.Join(p.emit(c, "row", seconds(at)), c.SetEventTimer(at.Add(5*time.Second))); err != nil {
			return err
		}
	}
	return nil
}

func (p *timers) OnTimer(c *sluice.ProcessorContext, _ sluice.Row, t sluice.Timer) error {
	return p.emit(c, "timer", seconds(t.At))
}

// quiet tells of a key that has had no row for ten seconds of event time, and
// forgets it: each row deletes the timer of the one before.
type quiet struct {
	sluice.ProcessorBase
	last *sluice.ValueState[int64]
}

func (p *quiet) Open(c *sluice.ProcessorContext) error {
	p.last = sluice.NewValueState[int64](c, "last")
	return nil
}

func (p *quiet) Process(c *sluice.ProcessorContext, _ sluice.Row, rows *sluice.Rows) error {
	for i := range rows.Len() {
		last, some, err := p.last.Get()
		if err != nil {
			return err
		}
		us := rows.Int64(i, 1)
		if some && us <= last {
			continue
		}
		if some {
			if err := c.DeleteEventTimer(time.UnixMicro(last).Add(10 * time.Second)); err != nil {
				return err
			}
		}
		if err := errors.Join(p.last.Update(us), c.SetEventTimer(time.UnixMicro(us).Add(10*time.Second))); err != nil {
			return err
		}
	}
	return nil
}

func (p *quiet) OnTimer(c *sluice.ProcessorContext, _ sluice.Row, t sluice.Timer) error {
	last, _, err := p.last.Get()
	return errors.Join(err, c.Emit("quiet since", seconds(time.UnixMicro(last)), seconds(t.At)), p.last.Clear())
}

// rearms sets a timer from within a timer, twice, at a time that may have passed.
type rearms struct{ sluice.ProcessorBase }

func (p *rearms) Process(c *sluice.ProcessorContext, _ sluice.Row, rows *sluice.Rows) error {
	return c.SetEventTimer(time.UnixMicro(rows.Int64(0, 1)).Add(time.Second))
}

func (p *rearms) OnTimer(c *sluice.ProcessorContext, _ sluice.Row, t sluice.Timer) error {
	if err := c.Emit("timer", seconds(t.At), t.At.UnixMicro()%1_000_000); err != nil {
		return err
	}
	if t.At.UnixMicro()%1_000_000 >= 200_000 {
		return nil
	}
	return c.SetEventTimer(t.At.Add(100 * time.Millisecond))
}
