package sluice

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Processor is user code with state, see Keyed.Process. A value is used by one
// goroutine. An error or a panic ends the query, with the processor's name and the
// key in its text.
type Processor interface {
	// Open declares the states, by functions such as NewValueState, and opens what the
	// code needs. It is called once, before all else.
	Open(c *ProcessorContext) error
	// Process gets the rows that a batch has of a key. They are good until it returns.
	Process(c *ProcessorContext, key Row, rows *Rows) error
	// OnTimer is called when the time of a timer of the key has come.
	OnTimer(c *ProcessorContext, key Row, t Timer) error
	// Close gives back what Open has opened.
	Close() error
}

// InitialProcessor is a Processor that takes the rows of the option InitialState.
type InitialProcessor interface {
	Processor
	Initial(c *ProcessorContext, key Row, rows *Rows) error
}

// ConnectedProcessor is a Processor that takes the rows of the option Connect.
type ConnectedProcessor interface {
	Processor
	ProcessConnected(c *ProcessorContext, key Row, rows *Rows) error
}

// ProcessorBase has the methods that a processor may not need: embed it.
type ProcessorBase struct{}

// Open does nothing.
func (ProcessorBase) Open(*ProcessorContext) error { return nil }

// OnTimer does nothing.
func (ProcessorBase) OnTimer(*ProcessorContext, Row, Timer) error { return nil }

// Close does nothing.
func (ProcessorBase) Close() error { return nil }

// Timer is a timer of a key.
type Timer struct {
	At    time.Time
	Clock bool // by the batch's time, not by event time
}

// ProcessorContext is what a processor works with: the states that it has declared,
// timers, outputs, the time. But for Open all of it is about the key in hand.
type ProcessorContext struct {
	c     *logical.ProcessContext
	def   *logical.ProcessDef
	index map[string]int // of the outputs
	err   error          // of a declaration
	open  bool
}

// processor is a user's Processor as the executor runs it.
type processor struct {
	user    Processor
	def     *logical.ProcessDef
	ctx     *ProcessorContext
	keys    *rowkey.Encoder
	rows    [logical.MainRows + 1]Rows
	take    [logical.MainRows + 1]func(c *ProcessorContext, key Row, rows *Rows) error
	builder []array.Builder
}

var _ logical.Processor = (*processor)(nil)

// Open prepares the context and lets the user's code declare its states.
func (p *processor) Open(c *logical.ProcessContext) error {
	p.ctx = &ProcessorContext{c: c, def: p.def, index: map[string]int{}, open: true}
	for i, o := range p.def.Outputs {
		p.ctx.index[o.Name] = i
	}
	if err := p.methods(); err != nil {
		return err
	}
	var err error
	if p.keys, err = rowkey.NewEncoder(c.Keys); err != nil {
		return err
	}
	for _, t := range c.Keys {
		p.builder = append(p.builder, array.NewBuilder(memory.DefaultAllocator, t))
	}
	for of, schema := range c.Input {
		if schema != nil {
			p.rows[of].schema(schema)
		}
	}
	err = p.user.Open(p.ctx)
	p.ctx.open = false
	return firstErr(p.ctx.err, err)
}

// methods finds what takes the rows of each input.
func (p *processor) methods() error {
	p.take[logical.MainRows] = p.user.Process
	if u, ok := p.user.(InitialProcessor); ok {
		p.take[logical.InitialRows] = u.Initial
	} else if p.ctx.c.Input[logical.InitialRows] != nil {
		return batch.UserErrorf("there is an InitialState, and %T has no method Initial", p.user)
	}
	if u, ok := p.user.(ConnectedProcessor); ok {
		p.take[logical.OtherRows] = u.ProcessConnected
	} else if p.ctx.c.Input[logical.OtherRows] != nil {
		return batch.UserErrorf("there are rows of Connect, and %T has no method ProcessConnected", p.user)
	}
	return nil
}

// key is the key in hand as Go values.
func (p *processor) key() (Row, error) {
	if err := p.keys.Decode(p.ctx.c.Key(), p.builder); err != nil {
		return nil, err
	}
	row := make(Row, len(p.builder))
	for i, b := range p.builder {
		arr := b.NewArray()
		row[i] = value(arr, 0)
		arr.Release()
	}
	return row, nil
}

// Rows hands on the rows of a key.
func (p *processor) Rows(rec arrow.RecordBatch, from, to int, of logical.ProcessInput) error {
	key, err := p.key()
	if err != nil {
		return err
	}
	rows := &p.rows[of]
	rows.set(rec, from, to)
	defer rows.done()
	return p.take[of](p.ctx, key, rows)
}

// Timer hands on a timer.
func (p *processor) Timer(at batch.EventTime, clock bool) error {
	key, err := p.key()
	if err != nil {
		return err
	}
	return p.user.OnTimer(p.ctx, key, Timer{At: at.Time(), Clock: clock})
}

// Close ends the user's code.
func (p *processor) Close() error {
	for _, b := range p.builder {
		b.Release()
	}
	p.builder = nil
	return p.user.Close()
}

// BatchID is the number of the batch.
func (c *ProcessorContext) BatchID() int64 { return int64(c.c.Batch.ID) }

// Now is the time of the batch, which is the same when it is run again.
func (c *ProcessorContext) Now() time.Time { return c.c.Batch.Now.Time() }

// Watermark is the event time up to which no rows are expected; false if there is
// none yet, or none at all.
func (c *ProcessorContext) Watermark() (time.Time, bool) {
	if w := c.c.Batch.Watermark; w != batch.NoTime && w != batch.EndOfTime {
		return w.Time(), true
	}
	return time.Time{}, false
}

// Ended says in OnTimer that no row will come any more: the input is a table, or a
// stream that has ended. All timers fire then, and periodic ones must not be set again.
func (c *ProcessorContext) Ended() bool { return c.c.Batch.Ended }

// InputSchema is the schema of the rows of Process.
func (c *ProcessorContext) InputSchema() *arrow.Schema { return c.c.Input[logical.MainRows] }

// SetEventTimer calls OnTimer for this key when the watermark has reached t. Setting a
// timer that is set changes nothing. Times are cut to microseconds.
func (c *ProcessorContext) SetEventTimer(t time.Time) error { return c.set(t, false) }

// SetEventTimerHolding is SetEventTimer that holds the event time of the outputs at an
// earlier time, until the timer has fired or is deleted: rows of that time and later are
// not late until then. A time that is over already is not held. It needs the option HoldEventTime.
func (c *ProcessorContext) SetEventTimerHolding(t, hold time.Time) error {
	if err := c.settable(t); err != nil {
		return err
	}
	return c.c.Timers.Hold(batch.TimeOf(t), batch.TimeOf(hold))
}

// SetClockTimer calls OnTimer for this key in the first batch whose time is t or
// later. A batch without data is made for it.
func (c *ProcessorContext) SetClockTimer(t time.Time) error { return c.set(t, true) }

// DeleteEventTimer takes back a timer by event time. That there is none is no fault.
func (c *ProcessorContext) DeleteEventTimer(t time.Time) error {
	return c.c.Timers.Remove(batch.TimeOf(t), false)
}

// DeleteClockTimer takes back a timer by the clock.
func (c *ProcessorContext) DeleteClockTimer(t time.Time) error {
	return c.c.Timers.Remove(batch.TimeOf(t), true)
}

// EventTimers lists the key's timers by event time, the earliest first.
func (c *ProcessorContext) EventTimers() ([]time.Time, error) { return c.timers(false) }

// ClockTimers lists the key's timers by the clock, the earliest first.
func (c *ProcessorContext) ClockTimers() ([]time.Time, error) { return c.timers(true) }

func (c *ProcessorContext) set(t time.Time, clock bool) error {
	if err := c.settable(t); err != nil {
		return err
	}
	return c.c.Timers.Set(batch.TimeOf(t), clock)
}

func (c *ProcessorContext) settable(t time.Time) error {
	if c.open {
		return batch.UserErrorf("a timer is of a key, and Open has none")
	}
	if y := t.Year(); y < 1 || y > 9999 {
		return batch.UserErrorf("a timer at %s: want a year from 1 to 9999", t)
	}
	return nil
}

func (c *ProcessorContext) timers(clock bool) ([]time.Time, error) {
	at, err := c.c.Timers.List(clock)
	out := make([]time.Time, len(at))
	for i, t := range at {
		out[i] = t.Time()
	}
	return out, err
}

// Emit puts a row out: a value for each column of the output, which the key is put
// before. Values are nil, Go values that Row has, those that convert without loss,
// and structs, slices and maps for nested columns.
func (c *ProcessorContext) Emit(values ...any) error { return c.emit(0, false, values) }

// EmitTo puts a row out to a SideOutput.
func (c *ProcessorContext) EmitTo(output string, values ...any) error {
	at, ok := c.index[output]
	if !ok {
		return batch.UserErrorf("there is no output %q", output)
	}
	return c.emit(at, false, values)
}

// Delete takes back the row of the main output that has these values in the columns of
// UpdateBy; the others do not matter.
func (c *ProcessorContext) Delete(values ...any) error {
	if c.def.Update {
		full := make([]any, c.def.Outputs[0].Schema.NumFields())
		switch {
		case len(values) == len(c.def.UpdateBy):
			for i, at := range c.def.UpdateBy {
				full[at] = values[i]
			}
			values = full
		case len(values) != len(full):
			return batch.UserErrorf("Delete takes the %d values of UpdateBy, or a whole row", len(c.def.UpdateBy))
		}
	}
	return c.emit(0, true, values)
}

func (c *ProcessorContext) emit(output int, deleted bool, values []any) error {
	if c.open {
		return batch.UserErrorf("a row is of a key, and Open has none")
	}
	fields := c.def.Outputs[output].Schema.Fields()
	if len(values) != len(fields) {
		return batch.UserErrorf("a row of %d values for an output of %d columns", len(values), len(fields))
	}
	for i, b := range c.c.Out.Builders(output) {
		if err := appendAny(b, values[i]); err != nil {
			return fmt.Errorf("column %q: %w", fields[i].Name, err)
		}
	}
	return c.c.Out.Done(output, deleted)
}
