package executor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// process runs code of the user's over the rows of each key: first the initial
// rows, once, then those of the batch, then the timers that are due. In a plan
// that runs once each key is taken to its end before the next, with a store of its
// own that is thrown away: the end of time fires all of its timers.
type process struct {
	base
	n     *physical.Process
	user  logical.Processor // nil until the first batch, and after a fault
	ctx   *logical.ProcessContext
	state *processState
	out   *processOutput
	input []*keyedRows

	ready []arrow.RecordBatch
	done  bool
}

func newProcess(n *physical.Process, in []Operator) (*process, error) {
	p := &process{base: base{node: n, in: in}, n: n}
	var err error
	if p.state, err = newProcessState(typesOf(n.Keys[0])); err != nil {
		return nil, fmt.Errorf("key of processor %q: %w", n.Def.Name, err)
	}
	p.state.holds = n.Def.Holds
	for i, op := range in {
		rows, err := newKeyedRows(n.Keys[i], n.Orders[i], op.Schema())
		if err != nil {
			return nil, err
		}
		p.input = append(p.input, rows)
	}
	p.out, err = newProcessOutput(n, p.state)
	return p, err
}

func (p *process) Open(ctx context.Context, tc *TaskContext) error {
	p.ready, p.done = release(p.ready), false
	for _, in := range p.input {
		in.open(tc)
	}
	p.out.open(tc)
	return p.base.Open(ctx, tc)
}

func (p *process) Close() error {
	p.ready = release(p.ready)
	for _, in := range p.input {
		in.reset()
		in.mem.set(0)
	}
	p.out.reset()
	return errors.Join(p.drop(), p.base.Close())
}

// drop ends the user's code. After a fault it is not known what it holds, so that
// the next attempt starts with a new one.
func (p *process) drop() error {
	if p.user == nil {
		return nil
	}
	user := p.user
	p.user = nil
	return p.guard("Close", user.Close)
}

func (p *process) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !p.done {
		p.done = true
		if err := p.compute(ctx); err != nil {
			p.out.reset()
			return nil, errors.Join(fmt.Errorf("processor %q: %w", p.n.Def.Name, err), p.drop())
		}
	}
	return popBatch(&p.ready)
}

func (p *process) compute(ctx context.Context) error {
	if err := p.begin(); err != nil {
		return err
	}
	defer func() {
		for _, in := range p.input {
			in.reset()
		}
	}()
	run := p.once
	if p.n.Operator != "" {
		run = p.stream
	}
	if err := run(ctx); err != nil {
		return err
	}
	var err error
	p.ready, err = p.out.finish(ctx)
	return err
}

// gather takes the rows of an input, by key.
func (p *process) gather(ctx context.Context, i int) error {
	if err := drain(ctx, p.in[i], p.input[i].add); err != nil {
		return err
	}
	return p.input[i].sort()
}

// begin starts the user's code if it does not run, and tells it of the batch.
func (p *process) begin() error {
	spec := &p.tc.Spec
	about := logical.ProcessBatch{ID: spec.Task.Batch, Now: spec.Now, Watermark: unshifted(spec.Watermark, p.n.Shift)}
	p.state.now = spec.Now
	if p.user != nil {
		p.ctx.Batch = about
		return nil
	}
	p.state.forget()
	p.ctx = &logical.ProcessContext{
		State: p.state, Timers: p.state, Out: p.out, Keys: p.state.keys.types, Batch: about,
		Key: func() []byte { return p.state.key[1:] },
	}
	for i, of := range p.n.Of {
		p.ctx.Input[of] = p.in[i].Schema()
	}
	user := p.n.Def.New()
	if user == nil {
		return batch.UserErrorf("its function made no processor")
	}
	p.user = user
	return p.guard("Open", func() error { return user.Open(p.ctx) })
}

// stream runs a batch of a stream over the store.
func (p *process) stream(ctx context.Context) error {
	txn, err := p.tc.State(ctx, p.n.Operator)
	if err != nil {
		return err
	}
	if err := p.state.open(p.tc, txn); err != nil {
		return err
	}
	p.state.judge = p.ctx.Batch.Watermark
	if err := p.state.expire(); err != nil {
		return err
	}
	var ins []int // but the initial rows
	for i, of := range p.n.Of {
		if of != logical.InitialRows {
			ins = append(ins, i)
		} else if err := p.initial(ctx, txn, i); err != nil {
			return err
		}
	}
	if err := p.each(ctx, ins, nil); err != nil {
		return err
	}
	event, clock := unshifted(p.tc.Spec.Close, p.n.Shift), p.tc.Spec.Now
	if event == batch.EndOfTime {
		p.ctx.Batch.Ended = true
		clock = batch.EndOfTime
	}
	for g := p.state.first; g < p.state.end; g++ {
		if err := p.fire(g, event, clock); err != nil {
			return err
		}
	}
	p.state.report(p.tc.Result, p.n.Shift)
	return nil
}

// initial hands on the initial rows, if that has not been done. A row of its own
// for each key group says that it has.
func (p *process) initial(ctx context.Context, txn statestore.Txn, input int) error {
	loaded := false
	mark := func(g int) []byte { return []byte{byte(g), sectionMeta, 0} }
	if err := txn.Get([][]byte{mark(p.state.first)}, func(int, []byte) error { loaded = true; return nil }); err != nil || loaded {
		return err
	}
	for g := p.state.first; g < p.state.end; g++ {
		if err := txn.Put(mark(g), nil); err != nil {
			return err
		}
	}
	return p.each(ctx, []int{input}, nil)
}

// each hands on the rows of inputs key by key, and calls end behind each key.
func (p *process) each(ctx context.Context, inputs []int, end func(key []byte) error) error {
	rows := make([]*keyedRows, len(inputs))
	for i, input := range inputs {
		if err := p.gather(ctx, input); err != nil {
			return err
		}
		rows[i] = p.input[input]
	}
	return eachOf(rows, func(key []byte, spans []keySpan) error {
		if err := p.state.take(key); err != nil {
			return err
		}
		err := inTurn(p.n, inputs, rows, spans, func(input int, s keySpan) error { return p.rows(input, s) })
		if err != nil || end == nil {
			return err
		}
		return end(key)
	})
}

// once takes each key to its end.
func (p *process) once(ctx context.Context) error {
	store := &oneKeyStore{}
	store.clear()
	if err := p.state.open(p.tc, store); err != nil {
		return err
	}
	all := make([]int, len(p.in))
	for i := range all {
		all[i] = i
	}
	p.ctx.Batch.Ended = false
	return p.each(ctx, all, func(key []byte) error {
		p.ctx.Batch.Ended = true
		if err := p.fire(int(key[0]), batch.EndOfTime, batch.EndOfTime); err != nil {
			return err
		}
		p.ctx.Batch.Ended = false
		if p.n.Def.Update {
			if err := p.out.kept(store); err != nil {
				return err
			}
		}
		store.clear()
		return nil
	})
}

// rows hands on rows of the key in hand.
func (p *process) rows(input int, s keySpan) error {
	of, rec := p.n.Of[input], p.input[input].rec
	what := [...]string{logical.InitialRows: "Initial", logical.OtherRows: "ProcessConnected", logical.MainRows: "Process"}[of]
	if p.n.Operator != "" && len(p.n.Times) > 0 {
		held, err := p.state.lowestHold()
		if err != nil {
			return err
		}
		p.state.judge = notAfter(p.judgeOf(rec, s, p.n.OnTime[input]), held)
	}
	return p.guard(what, func() error { return p.user.Rows(rec, s.from, s.to, of) })
}

// notAfter lets what a key holds be on time, too.
func notAfter(judge, held batch.EventTime) batch.EventTime {
	if judge == batch.NoTime || held == batch.EndOfTime {
		return judge
	}
	return min(judge, held-1)
}

// judgeOf is the event time by which rows are late that are put out for others, whose
// own times are in a column if they are on time by construction; see processState.judge.
func (p *process) judgeOf(rec arrow.RecordBatch, s keySpan, column int) batch.EventTime {
	w := p.ctx.Batch.Watermark
	if column < 0 || w == batch.NoTime {
		return w
	}
	times, ok := rec.Column(column).(*array.Timestamp)
	if !ok {
		return w
	}
	for i := s.from; i < s.to; i++ {
		if times.IsValid(i) {
			w = min(w, batch.EventTime(times.Value(i))-1)
		}
	}
	return w
}

// timersMax bounds how many timers that are due may come of one, each set by the
// one before.
const timersMax = 100_000

// fire fires the timers of a key group that are due, those by event time first.
func (p *process) fire(g int, event, clock batch.EventTime) error {
	for range timersMax {
		some, err := p.fireKind(g, false, event)
		if err != nil {
			return err
		}
		more, err := p.fireKind(g, true, clock)
		if err != nil {
			return err
		}
		if !some && !more {
			return nil
		}
	}
	return p.endless()
}

// fireKind fires timers in the order of time, also those that are set meanwhile.
func (p *process) fireKind(g int, clock bool, limit batch.EventTime) (bool, error) {
	due, err := p.state.due(g, clock, limit)
	if err != nil || due == nil {
		return false, err
	}
	defer p.state.fired()
	for due.Len() > 0 {
		t := due.next()
		there, held, err := p.state.takeTimer(t, clock)
		if err != nil {
			return false, err
		}
		if !there {
			continue // another one has removed it
		}
		p.state.judge = notAfter(t.judge, held)
		if clock {
			p.state.judge = notAfter(p.ctx.Batch.Watermark, held)
		}
		if t.depth > timersMax {
			return false, p.endless()
		}
		if err := p.guard("OnTimer", func() error { return p.user.Timer(t.at, clock) }); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (p *process) endless() error {
	return batch.UserErrorf("key %s: its timers set others that are due at once, more than %d times; "+
		"a processor with periodic timers must stop setting them when the input has ended", p.state.keyText(), timersMax)
}

// guard runs code of the user's. What goes wrong in it is the query's fault and
// is not tried again; a panic is an error, too.
func (p *process) guard(what string, f func() error) (err error) {
	where := func() string {
		if what == "Open" || what == "Close" {
			return what
		}
		return fmt.Sprintf("%s of key %s", what, p.state.keyText())
	}
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if e, ok := r.(error); ok {
			var limit *limits.LimitError
			if errors.As(e, &limit) {
				panic(r) // of the engine's memory: the task has words for it
			}
			err = batch.UserErrorf("%s: panic: %w\n%s", where(), e, debug.Stack())
			return
		}
		err = batch.UserErrorf("%s: panic: %v\n%s", where(), r, debug.Stack())
	}()
	if err := f(); err != nil {
		return batch.UserErrorf("%s: %w", where(), err)
	}
	return nil
}

// keyText prints the key in hand.
func (s *processState) keyText() string {
	if len(s.key) == 0 {
		return "[]"
	}
	bs := newBuilders(s.alloc, s.keys.types)
	defer releaseBuilders(bs)
	if err := s.keys.enc.Decode(s.key[1:], bs); err != nil {
		return fmt.Sprintf("%x", s.key)
	}
	cols := finish(bs)
	texts := make([]string, len(cols))
	for i, c := range cols {
		texts[i] = strings.Clone(c.ValueStr(0))
		c.Release()
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
