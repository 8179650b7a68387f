package sluice

import (
	"strconv"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql/ast"
)

// emission is when results leave that may still change.
type emission struct {
	final bool          // when they cannot change any more
	every time.Duration // of the clock
	rows  int64         // that have changed a result
}

// emits reads EMIT, which says when results leave:
//
//	AFTER WATERMARK, ON WINDOW CLOSE, FINAL  once, when they cannot change any more
//	ON UPDATE, CHANGES                       as they change: modes update and changelog
//	EVERY d [BEFORE WATERMARK]               as they change, at multiples of d of the clock
//	AFTER n ROWS                             as they change, at multiples of n rows
func emits(d *queryDef, c *ast.StreamingClauses) error {
	e := c.Emit
	said := c.OutputMode != ""
	switch e.Kind {
	case "ON WINDOW CLOSE":
		if d.mode == sinks.Complete {
			return ast.Errorf(e.Pos, "EMIT AFTER WATERMARK puts a result out once, OUTPUT MODE complete all of them with every batch; leave one of the two out")
		}
		d.emit.final = true
		return nil
	case "ON UPDATE":
		return emitAs(d, e, said, sinks.Update)
	case "CHANGES":
		return emitAs(d, e, said, sinks.Changelog)
	case "ROWS":
		return emitRows(d, e, said)
	}
	return emitEvery(d, c, said)
}

// emitAs is another word for an output mode.
func emitAs(d *queryDef, e *ast.Emit, said bool, mode sinks.Mode) error {
	if said && d.mode != mode {
		return ast.Errorf(e.Pos, "EMIT %s is OUTPUT MODE %s, but the query asks for %s; leave one of the two out", e.Kind, mode, d.mode)
	}
	d.mode = mode
	return nil
}

// emitRows lets results out when so many more rows have come for them.
func emitRows(d *queryDef, e *ast.Emit, said bool) error {
	l, ok := e.Every.(*ast.Literal)
	n := int64(0)
	if ok && l.Kind == ast.LitInt {
		n, _ = strconv.ParseInt(l.Text, 10, 64) // what is no number is 0, and refused
	}
	switch {
	case n < 1:
		return ast.Errorf(e.Every.Position(), "EMIT AFTER n ROWS needs a whole number of rows above zero")
	case d.mode == sinks.Complete:
		return ast.Errorf(e.Pos, "EMIT AFTER n ROWS puts out the results that so many rows have changed, OUTPUT MODE complete all of them with every batch; leave one of the two out")
	case said && d.mode == sinks.Append:
		return ast.Errorf(e.Pos, "EMIT AFTER n ROWS puts out results that may still change, which OUTPUT MODE append cannot; use update or changelog")
	case !said:
		d.mode = sinks.Update
	}
	d.emit.rows = n
	return nil
}

// emitEvery lets results that may still change out at an interval of the clock,
// whatever starts the batches. The mode complete has no changes to hold back: there
// it is the interval of the batches.
func emitEvery(d *queryDef, c *ast.StreamingClauses, said bool) error {
	e := c.Emit
	every, err := emitInterval("EMIT EVERY", e.Every)
	switch {
	case err != nil:
		return err
	case said && d.mode == sinks.Append:
		return ast.Errorf(e.Pos, "EMIT EVERY puts out results that may still change, which OUTPUT MODE append cannot; use update or changelog")
	case d.mode == sinks.Complete && c.Trigger == nil:
		d.trigger = microbatch.Trigger{Kind: microbatch.Every, Interval: every}
	case d.mode == sinks.Complete && (d.trigger.Kind != microbatch.Every || d.trigger.Interval != every):
		return ast.Errorf(e.Pos, "EMIT EVERY is the interval of the batches in OUTPUT MODE complete; TRIGGER says another one, leave one of the two out")
	case d.mode != sinks.Complete:
		d.emit.every = every
	}
	if !said {
		d.mode = sinks.Update
	}
	return nil
}

// emitInterval reads the length of time of a clause.
func emitInterval(clause string, x ast.Expr) (time.Duration, error) {
	var a ast.Amount
	var err error
	switch x := x.(type) {
	case *ast.Interval:
		a, err = x.Amount()
	case *ast.Literal:
		if a, err = ast.ParseInterval(x.Text); x.Kind != ast.LitString {
			err = batch.UserErrorf("it is written INTERVAL '10' SECOND or '10 seconds'")
		}
	default:
		err = batch.UserErrorf("it is written INTERVAL '10' SECOND or '10 seconds'")
	}
	if err == nil && (a.YearMonth || a.Micros <= 0 || a.Micros > int64(1<<62)/1000) {
		err = batch.UserErrorf("it is a length of time above zero")
	}
	if err != nil {
		return 0, ast.Errorf(x.Position(), "%s: %w", clause, err)
	}
	return time.Duration(a.Micros) * time.Microsecond, nil
}

// EmitAfterWatermark puts each result out once, when it cannot change any more, in
// the modes Update and Changelog, too. With LateRestate a late row corrects what
// was put out.
func (w *Writer) EmitAfterWatermark() *Writer { w.def.emit.final = true; return w }

// EmitEvery puts out results that may still change at multiples of an interval of the
// clock, also if no data comes, and when their window closes; the mode is Update
// unless another one is said. In the mode Complete it is the interval of the batches.
func (w *Writer) EmitEvery(every time.Duration) *Writer {
	if w.def.mode == sinks.Complete {
		w.def.trigger = microbatch.Trigger{Kind: microbatch.Every, Interval: every}
		return w
	}
	w.def.emit.every = every
	return w.updating()
}

// EmitAfterRows puts out a group's result that may still change whenever its rows
// reach a multiple of n, and when its window closes; the mode is Update unless another
// one is said.
func (w *Writer) EmitAfterRows(n int64) *Writer {
	w.def.emit.rows = n
	return w.updating()
}

func (w *Writer) updating() *Writer {
	if w.def.mode == sinks.Append || w.def.mode == "" {
		w.def.mode = sinks.Update
	}
	return w
}
