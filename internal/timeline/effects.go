package timeline

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// carryOut queues what the machine asks for. The names of the effects are those
// that crash before= and after= know.
func (r *Runner) carryOut(d *driver, rd microbatch.Ready) {
	d.status, d.wakeAt, d.term = rd.Status, rd.WakeAt, rd.Status.Term
	add := func(name, arg string, do func() []microbatch.Event) {
		d.queue = append(d.queue, effect{name, arg, do})
	}
	if rd.Restore != nil {
		add("restore", "", func() []microbatch.Event { return r.restore(d, *rd.Restore) })
	}
	for _, a := range rd.AskSinks {
		add("sink-ask", a.Sink, func() []microbatch.Event { return r.askSink(d, a) })
	}
	for _, a := range rd.Ask {
		add("ask", a.Source, func() []microbatch.Event { return r.ask(a) })
	}
	if rd.Checkpoint != nil {
		id := rd.Checkpoint.Batch
		state := d.states[id]
		add("checkpoint", "", func() []microbatch.Event { return r.checkpoint(id, state) })
	}
	if len(rd.Append) > 0 {
		kind := kindOf(rd.Append[len(rd.Append)-1])
		add("append", kind, func() []microbatch.Event { return r.write(d, rd.Append) })
		add("sync", kind, func() []microbatch.Event {
			r.log.Sync()
			return []microbatch.Event{microbatch.LogAppended{Through: rd.AppendThrough}}
		})
	}
	if rd.Run != nil {
		add("run", rd.Run.Mode.String(), func() []microbatch.Event { return r.launch(d, *rd.Run) })
	}
	if rd.Reveal != nil {
		r.showIn(d, *rd.Reveal, add)
	}
	if rd.Prune != batch.None {
		for v := range d.states {
			if v < rd.Prune {
				delete(d.states, v)
			}
		}
	}
	if len(rd.Release) > 0 {
		add("release", "", func() []microbatch.Event { r.release(rd.Release); return nil })
	}
	if rd.Truncate != batch.None {
		add("truncate", "", func() []microbatch.Event { return r.truncate(d, rd.Truncate) })
	}
	for _, t := range rd.Processed {
		r.printf("processed token=%d", t)
	}
}

func (r *Runner) write(d *driver, recs []microbatch.Record) []microbatch.Event {
	if f, ok := r.take("append "); ok {
		r.printf("append fails")
		return []microbatch.Event{microbatch.AppendFailed{Err: errors.New(f.text)}}
	}
	if err := r.log.Write(d.term, recs); err != nil {
		r.printf("append refused: %s", kindOf(recs[0]))
		return []microbatch.Event{microbatch.AppendFailed{Err: err}}
	}
	for _, rec := range recs {
		r.printf("append %s", describe(rec))
	}
	return nil
}

func (r *Runner) take(key string) (fault, bool) {
	f, ok := r.faults[key]
	delete(r.faults, key)
	return f, ok
}

func (r *Runner) restore(d *driver, rs microbatch.Restore) []microbatch.Event {
	clear(d.states)
	if rs.Batch == batch.None {
		d.states[batch.None] = model.State{}
		return []microbatch.Event{microbatch.Restored{Batch: rs.Batch}}
	}
	s, ok := r.store[rs.Manifests[0].Ref]
	if !ok || s.broken {
		r.printf("restore batch=%d: damaged", rs.Batch)
		return []microbatch.Event{microbatch.RestoreFailed{Batch: rs.Batch, Err: errors.New("bad checksum")}}
	}
	r.printf("restore batch=%d", rs.Batch)
	d.states[rs.Batch] = s.state
	return []microbatch.Event{microbatch.Restored{Batch: rs.Batch}}
}

func (r *Runner) askSink(d *driver, a microbatch.AskSink) []microbatch.Event {
	if f, ok := r.take("sink-ask " + a.Sink); ok {
		r.printf("sink-ask %s: no answer", a.Sink)
		return []microbatch.Event{microbatch.SinkUnknown{Sink: a.Sink, Err: errors.New(f.text), Retry: !f.final}}
	}
	id, digest, err := r.sink(a.Sink).Ask(a.Term, d.owner)
	if err != nil {
		return []microbatch.Event{microbatch.SinkUnknown{Sink: a.Sink, Err: err}}
	}
	r.printf("sink-ask %s: holds=%d", a.Sink, id)
	return []microbatch.Event{microbatch.SinkHolds{Sink: a.Sink, Batch: id, Digest: digest}}
}

func (r *Runner) sink(name string) *model.Sink {
	for _, s := range r.sinks {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func (r *Runner) ask(a microbatch.Ask) []microbatch.Event {
	if f, ok := r.take("source " + a.Source); ok {
		r.printf("ask %s: fails", a.Source)
		return []microbatch.Event{microbatch.SourceFailed{Source: a.Source, Ask: a.Seq, Err: errors.New(f.text), Retry: !f.final}}
	}
	i, err := r.source(a.Source)
	if err != nil {
		return nil
	}
	return []microbatch.Event{r.query.Sources[i].Answer(a)}
}

func (r *Runner) checkpoint(id batch.ID, state model.State) []microbatch.Event {
	if _, ok := r.take("checkpoint "); ok {
		r.printf("checkpoint batch=%d fails", id)
		return []microbatch.Event{microbatch.CheckpointFailed{Batch: id, Err: errors.New("store refused")}}
	}
	r.serial++
	ref := fmt.Sprintf("ck-%d-%d", id, r.serial)
	r.store[ref] = stored{state: state}
	r.printf("checkpoint batch=%d", id)
	return []microbatch.Event{microbatch.CheckpointDone{Batch: id, Manifests: []microbatch.Manifest{{Ref: ref}}}}
}

// showIn queues one effect for each sink and the answer.
func (r *Runner) showIn(d *driver, rv microbatch.Reveal, add func(string, string, func() []microbatch.Event)) {
	failed := false
	for _, name := range rv.Sinks {
		add("sink-commit", name, func() []microbatch.Event {
			if failed {
				return nil
			}
			ev := r.commit(d, rv, name)
			failed = ev != nil
			if ev == nil {
				return nil
			}
			return []microbatch.Event{ev}
		})
	}
	add("revealed", "", func() []microbatch.Event {
		if failed {
			return nil
		}
		return []microbatch.Event{microbatch.Revealed{Batch: rv.Batch}}
	})
}

// commit shows a batch in one sink; nil if that went well.
func (r *Runner) commit(d *driver, rv microbatch.Reveal, name string) microbatch.Event {
	f, faulty := r.take("sink " + name)
	if faulty && !f.lost {
		r.printf("sink-commit %s batch=%d fails", name, rv.Batch)
		return microbatch.RevealFailed{Batch: rv.Batch, Err: errors.New(f.text), Retry: !f.final}
	}
	before := len(r.sink(name).Shown)
	did, err := r.sink(name).Commit(rv.Batch, rv.Term, rv.Prepared)
	switch {
	case errors.Is(err, batch.ErrFenced):
		r.printf("sink-commit %s batch=%d refused: term %d is old", name, rv.Batch, rv.Term)
		return microbatch.TermLost{}
	case errors.Is(err, model.ErrOutputLost):
		r.printf("sink-commit %s batch=%d: %v", name, rv.Batch, model.ErrOutputLost)
		return microbatch.RevealFailed{Batch: rv.Batch, Err: err}
	case err != nil:
		r.printf("VIOLATION: %v", err)
		return nil
	case did:
		r.printf("sink-commit %s batch=%d rows=%d", name, rv.Batch, len(r.sink(name).Shown)-before)
	default:
		r.printf("sink-commit %s batch=%d: shown already", name, rv.Batch)
	}
	if faulty {
		r.printf("the answer of %s is lost", name)
		return microbatch.RevealFailed{Batch: rv.Batch, Err: errors.New("timeout"), Retry: true}
	}
	return nil
}

func (r *Runner) release(rel []microbatch.Release) {
	for _, x := range rel {
		if i, err := r.source(x.Source); err == nil {
			r.query.Sources[i].Released = max(r.query.Sources[i].Released, model.Index(x.To))
			r.printf("release %s to=%d", x.Source, model.Index(x.To))
		}
	}
}

func (r *Runner) truncate(d *driver, before batch.ID) []microbatch.Event {
	if err := r.log.Truncate(d.term, before); err != nil {
		r.printf("truncate refused")
		return []microbatch.Event{microbatch.TermLost{}}
	}
	r.printf("truncate before=%d", before)
	return nil
}

func kindOf(rec microbatch.Record) string {
	kind, _, _ := strings.Cut(describe(rec), " ")
	return kind
}

// describe prints a record as the traces show it.
func describe(rec microbatch.Record) string {
	switch rec := rec.(type) {
	case microbatch.Started:
		return fmt.Sprintf("started term=%d last=%d", rec.Term, rec.Last)
	case microbatch.Planned:
		var b strings.Builder
		fmt.Fprintf(&b, "planned batch=%d term=%d", rec.Batch, rec.Term)
		for _, g := range rec.Ranges {
			fmt.Fprintf(&b, " %s=[%d,%d)", g.Source, model.Index(g.Start), model.Index(g.End))
		}
		if rec.Watermark != batch.NoTime {
			fmt.Fprintf(&b, " watermark=%s", at(rec.Watermark))
		}
		if rec.Close != rec.Watermark {
			fmt.Fprintf(&b, " close=%s", at(rec.Close))
		}
		fmt.Fprintf(&b, " now=%s", at(rec.Now))
		if rec.NoData {
			b.WriteString(" no-data")
		}
		return b.String()
	case microbatch.Committed:
		late := ""
		if n := rec.Counters.Late; n > 0 {
			late = fmt.Sprintf(" late=%d", n)
		}
		return fmt.Sprintf("committed batch=%d term=%d rows=%d%s next=%s due=%s", rec.Batch, rec.Term,
			rec.Counters.RowsIn, late, at(rec.NextWatermark), at(rec.NextDue))
	case microbatch.Checkpointed:
		return fmt.Sprintf("checkpointed batch=%d term=%d", rec.Batch, rec.Term)
	case microbatch.Adopted:
		return fmt.Sprintf("adopted batch=%d term=%d from=%q", rec.Plan.Batch, rec.Term, rec.From)
	}
	return "unknown"
}
