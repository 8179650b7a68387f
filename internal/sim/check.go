package sim

import (
	"errors"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// checker follows what became durable and visible, and knows what it ought to
// be. It computes every batch a second time, as one task, from the plans alone,
// and every watermark by its own rule.
type checker struct {
	w       *world
	term    batch.Term // of the newest durable record
	plans   []microbatch.Planned
	commits []microbatch.Committed
	state   model.State
	before  model.State    // before the last commit
	mayLose bool           // before is known
	sums    []batch.Digest // of each batch's output
	rows    []int64
	ends    []int                        // where plans end, by source
	highest []map[string]batch.EventTime // by source and partition, over committed batches
	wm      batch.EventTime
}

func newChecker(w *world) *checker {
	c := &checker{w: w, wm: batch.NoTime, ends: make([]int, len(w.query.Sources))}
	for range w.query.Sources {
		c.highest = append(c.highest, map[string]batch.EventTime{})
	}
	return c
}

func (c *checker) committed() batch.ID { return batch.ID(len(c.commits)) - 1 }

// durable checks records at the moment at which no crash can take them any more.
func (c *checker) durable(recs []microbatch.Record) {
	for _, r := range recs {
		if c.w.err != nil {
			return
		}
		if r.LogTerm() < c.term {
			c.w.fail(model.Violationf("I6: %s is durable after term %d", describe(r), c.term))
		}
		c.term = r.LogTerm()
		switch r := r.(type) {
		case microbatch.Planned:
			c.planned(r)
		case microbatch.Committed:
			c.commit(r)
		case microbatch.Checkpointed:
			for _, s := range c.w.sinks {
				if s.Holds < r.Batch {
					c.w.fail(model.Violationf("M7: a checkpoint of batch %d is recorded, sink %s holds %d", r.Batch, s.Name, s.Holds))
				}
			}
		case microbatch.Started:
			if r.Last != batch.ID(len(c.plans))-1 {
				c.w.fail(model.Violationf("term %d starts after batch %d, %d are planned", r.Term, r.Last, len(c.plans)))
			}
		case microbatch.Adopted:
			c.w.fail(model.Violationf("a state is adopted in term %d, and nobody asked for it", r.Term))
		}
	}
}

func (c *checker) planned(p microbatch.Planned) {
	w := c.w
	if n := batch.ID(len(c.plans)); p.Batch < n {
		w.fail(model.Violationf("I1: batch %d is planned again", p.Batch))
		return
	} else if p.Batch > n || n != batch.ID(len(c.commits)) {
		w.fail(model.Violationf("I2: batch %d is planned, %d plans and %d commits are durable", p.Batch, n, len(c.commits)))
		return
	}
	for i, g := range p.Ranges {
		if model.Index(g.Start) != c.ends[i] || model.Index(g.End) < c.ends[i] {
			w.fail(model.Violationf("I8: batch %d reads %s [%q,%q), the batch before ended at %d", p.Batch, g.Source, g.Start, g.End, c.ends[i]))
		}
		c.ends[i] = model.Index(g.End)
	}
	if p.Watermark < c.wm || len(c.plans) > 0 && p.Now < c.plans[len(c.plans)-1].Now {
		w.fail(model.Violationf("I9: batch %d has watermark %d after %d", p.Batch, p.Watermark, c.wm))
	}
	if want := max(c.wm, c.watermark()); p.Watermark != want && !w.o.Idle {
		w.fail(model.Violationf("batch %d has watermark %d, its input says %d", p.Batch, p.Watermark, want))
	}
	c.wm = p.Watermark
	c.plans = append(c.plans, p)
}

// watermark is the rule of the documentation over the committed input.
func (c *checker) watermark() batch.EventTime {
	var each []batch.EventTime
	for i := range c.w.query.Sources {
		low := batch.NoTime
		for _, t := range c.highest[i] {
			if low == batch.NoTime || t < low {
				low = t
			}
		}
		if low != batch.NoTime {
			low -= c.w.o.Disorder
		}
		each = append(each, low)
	}
	out := each[0]
	for _, t := range each[1:] {
		if c.w.o.Policy == microbatch.MaxWatermark {
			out = max(out, t)
		} else {
			out = min(out, t)
		}
	}
	return out
}

func (c *checker) commit(r microbatch.Committed) {
	w := c.w
	if r.Batch != batch.ID(len(c.commits)) || len(c.plans) <= int(r.Batch) {
		w.fail(model.Violationf("I2: batch %d is committed after %d commits and %d plans", r.Batch, len(c.commits), len(c.plans)))
		return
	}
	for _, s := range w.sinks {
		if s.Holds < r.Batch-1 {
			w.fail(model.Violationf("M4: batch %d is committed, sink %s holds %d", r.Batch, s.Name, s.Holds))
		}
	}
	plan := c.plans[r.Batch]
	state, tasks, err := w.query.Compute(plan, c.state, 1)
	if err != nil {
		w.fail(err)
		return
	}
	res, sum := tasks[0].Result, model.Sum(tasks[0].Out)
	for _, s := range w.sinks {
		if n, d := microbatch.SinkSum(r.Prepared, s.Name); d != sum || n != int64(len(tasks[0].Out)) {
			w.fail(model.Violationf("I7: batch %d prepared %d rows with digest %s for %s, its input gives %d with %s",
				r.Batch, n, d, s.Name, len(tasks[0].Out), sum))
		}
	}
	if r.Counters.RowsIn != res.Counters.RowsIn || r.Counters.Late != res.Counters.Late || r.NextDue != res.NextDue {
		w.fail(model.Violationf("I7: batch %d counts %+v due %d, its input gives %+v due %d", r.Batch, r.Counters, r.NextDue, res.Counters, res.NextDue))
	}
	c.note(plan)
	c.before, c.state, c.mayLose = c.state, state, true
	c.sums, c.rows = append(c.sums, sum), append(c.rows, int64(len(tasks[0].Out)))
	c.commits = append(c.commits, r)
}

// note takes in the event times of a committed plan.
func (c *checker) note(plan microbatch.Planned) {
	for i, s := range c.w.query.Sources {
		for _, row := range s.Rows[model.Index(plan.Ranges[i].Start):model.Index(plan.Ranges[i].End)] {
			p := s.Partition(row)
			if t, ok := c.highest[i][p]; !ok || row.Time > t {
				c.highest[i][p] = row.Time
			}
		}
	}
}

// lost goes back to before the last commit, which the log has lost.
func (c *checker) lost() {
	n := len(c.commits) - 1
	c.commits, c.sums, c.rows = c.commits[:n], c.sums[:n], c.rows[:n]
	c.plans = c.plans[:n+1]
	c.state, c.wm, c.mayLose = c.before, c.plans[n].Watermark, false
	for i, g := range c.plans[n].Ranges {
		c.ends[i] = model.Index(g.End)
		clear(c.highest[i])
	}
	for _, p := range c.plans[:n] {
		c.note(p)
	}
}

// mayRun checks that the plan is durable before a task starts (M3).
func (c *checker) mayRun(n *node, p microbatch.Planned) {
	if n.zombie {
		return // what it prepares is garbage, and its commit is refused
	}
	if int(p.Batch) >= len(c.plans) || !microbatch.SameRecord(c.plans[p.Batch], p) {
		c.w.fail(model.Violationf("M3: batch %d runs and its plan is not durable", p.Batch))
	}
}

// shown checks a sink after it was told to show a batch (M5).
func (c *checker) shown(s *model.Sink, id batch.ID, changed bool, err error) {
	w := c.w
	switch {
	case errors.Is(err, model.ErrViolation):
		w.fail(err)
	case err != nil:
		w.fail(model.Violationf("sink %s, batch %d: %v", s.Name, id, err))
	case !changed: // it showed the batch already
	case int(s.Holds) >= len(c.commits):
		w.fail(model.Violationf("M5: sink %s shows batch %d, which is not committed", s.Name, id))
	case s.Digest != c.sums[s.Holds]:
		w.fail(model.Violationf("sink %s shows batch %d with digest %s, its input gives %s", s.Name, s.Holds, s.Digest, c.sums[s.Holds]))
	case s.Commits != int(s.Holds)+1:
		w.fail(model.Violationf("sink %s shows %d batches after %d commits", s.Name, s.Holds+1, s.Commits))
	}
}

// truncated checks that the log stays small: at most what lies between the kept
// checkpoints, and never without one to start from.
func (c *checker) truncated() {
	first, checks := batch.ID(-1), 0
	for _, r := range c.w.log.Records() {
		switch r := r.(type) {
		case microbatch.Planned:
			if first < 0 {
				first = r.Batch
			}
		case microbatch.Checkpointed:
			checks++
			if checks == 1 && r.Batch != first {
				c.w.fail(model.Violationf("the log begins with batch %d, its oldest checkpoint is of %d", first, r.Batch))
			}
		case microbatch.Started, microbatch.Committed, microbatch.Adopted:
		}
	}
	if checks == 0 {
		c.w.fail(model.Violationf("the log was truncated to nothing"))
	}
}

// answer compares every sink with the batch answer over all input, which is
// computed here from the rows alone.
func (c *checker) answer() {
	w := c.w
	want := map[model.Out]int{}
	closed := batch.NoTime
	if n := len(c.plans); n > 0 {
		closed = c.plans[n-1].Close
	}
	counts := map[model.Cell]int64{}
	for i, s := range w.query.Sources {
		for at, r := range s.Rows {
			want[model.Out{Source: uint8(i), Key: r.Key, At: int64(at), Count: 1}]++
			if end := w.query.EndOf(r.Time); end <= closed {
				counts[model.Cell{End: end, Key: r.Key}]++
			}
		}
	}
	for cell, n := range counts {
		want[model.Out{Window: true, Key: cell.Key, At: int64(cell.End), Count: n}]++
	}
	noLate := !w.o.Late && !w.o.Idle && (w.o.Policy == microbatch.MinWatermark || len(w.query.Sources) == 1)
	for _, s := range w.sinks {
		left := len(want)
		seen := map[model.Cell]bool{}
		for _, o := range s.Shown {
			cell := model.Cell{End: batch.EventTime(o.At), Key: o.Key}
			switch {
			case want[o] == 1:
				want[o] = 2
				left--
			case noLate || !o.Window || want[o] > 1 || o.Count > counts[cell]:
				w.fail(model.Violationf("sink %s shows %+v, which the batch answer has not, or shows it twice", s.Name, o))
			default:
				left-- // a window that lost late rows
			}
			if o.Window && seen[cell] {
				w.fail(model.Violationf("sink %s shows window %+v twice", s.Name, cell))
			}
			seen[cell] = seen[cell] || o.Window
		}
		if left > 0 && noLate || left < 0 {
			w.fail(model.Violationf("sink %s lacks %d rows of the batch answer", s.Name, left))
		}
		for o := range want {
			want[o] = 1
		}
	}
	if c.due() && w.o.Trigger.Kind != microbatch.Once {
		w.fail(model.Violationf("a window is due at %d, the watermark is %d and the query rests", c.commits[len(c.commits)-1].NextDue, c.watermark()))
	}
}

// due reports whether the committed input makes a window due that is still in state.
func (c *checker) due() bool {
	n := len(c.commits)
	return n > 0 && !c.w.o.Idle && c.commits[n-1].NextDue <= max(c.wm, c.watermark())
}
