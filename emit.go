package sluice

import (
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql/ast"
)

// emits reads EMIT, which says when results leave:
//
//	AFTER WATERMARK, ON WINDOW CLOSE, FINAL  once, when they cannot change any more
//	ON UPDATE, CHANGES                       as they change: modes update and changelog
//	EVERY d [BEFORE WATERMARK]               as they change, no more often than that
//	AFTER n ROWS                             refused: batches are cut by a source's options
func emits(d *queryDef, c *ast.StreamingClauses) error {
	e := c.Emit
	said := c.OutputMode != ""
	switch e.Kind {
	case "ON WINDOW CLOSE":
		if d.mode == sinks.Complete {
			return ast.Errorf(e.Pos, "EMIT AFTER WATERMARK puts a result out once, OUTPUT MODE complete all of them with every batch; leave one of the two out")
		}
		d.final = true
		return nil
	case "ON UPDATE":
		return emitAs(d, e, said, sinks.Update)
	case "CHANGES":
		return emitAs(d, e, said, sinks.Changelog)
	case "ROWS":
		return ast.Errorf(e.Pos, "EMIT AFTER n ROWS has no meaning here: results come out with a batch; its rows are bounded where they are read, such as by 'max-rows-per-trigger' of the source")
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

// emitEvery lets results that may still change out at an interval. Results come
// out with a batch, so that it is the interval of the batches.
func emitEvery(d *queryDef, c *ast.StreamingClauses, said bool) error {
	e := c.Emit
	every, err := emitInterval(e.Every)
	if err != nil {
		return err
	}
	switch {
	case said && d.mode == sinks.Append:
		return ast.Errorf(e.Pos, "EMIT EVERY puts out results that may still change, which OUTPUT MODE append cannot; use update or changelog")
	case !said:
		d.mode = sinks.Update
	}
	if c.Trigger == nil {
		d.trigger = microbatch.Trigger{Kind: microbatch.Every, Interval: every}
		return nil
	}
	if d.trigger.Kind != microbatch.Every || d.trigger.Interval != every {
		return ast.Errorf(e.Pos, "EMIT EVERY is the interval of the batches, as results come out with a batch; TRIGGER says another one, leave one of the two out")
	}
	return nil
}

func emitInterval(x ast.Expr) (time.Duration, error) {
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
		return 0, ast.Errorf(x.Position(), "EMIT EVERY: %w", err)
	}
	return time.Duration(a.Micros) * time.Microsecond, nil
}

// EmitAfterWatermark puts each result out once, when it cannot change any more, in
// the modes Update and Changelog, too.
func (w *Writer) EmitAfterWatermark() *Writer { w.def.final = true; return w }

// EmitEvery puts out results that may still change, no more often than that: it is
// the interval of the batches, and the mode Update unless another one is said.
func (w *Writer) EmitEvery(every time.Duration) *Writer {
	w.def.trigger = microbatch.Trigger{Kind: microbatch.Every, Interval: every}
	if w.def.mode == sinks.Append || w.def.mode == "" {
		w.def.mode = sinks.Update
	}
	return w
}
