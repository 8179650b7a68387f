package executor

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
)

// sourceRow is a row as a source has given it, or as it stands in front of an
// operator.
type sourceRow struct {
	rec   arrow.RecordBatch
	row   int
	cols  int    // only so many of rec's columns; 0 for all
	table string // "" if it is not the source's
}

// tracing finds the row of a source that row i of the batch in hand is made of. It
// reports false for a row that more than one row of a source has gone into, or that
// is one of several made of a row.
type tracing func(i int) (sourceRow, bool)

// tracer is an operator whose rows can be followed back to a source, for those of
// the batch that it has handed on last. A bad row is set aside as it came in, so
// that it can come in again.
type tracer interface{ trace(i int) (sourceRow, bool) }

// traced follows the rows of an operator back; nil if that cannot be done.
func traced(in Operator) tracing {
	if w, ok := in.(*watched); ok {
		in = w.op
	}
	if t, ok := in.(tracer); ok {
		return t.trace
	}
	return nil
}

// through follows row i of an operator on to its input.
func through(in Operator, i int) (sourceRow, bool) {
	if t := traced(in); t != nil {
		return t(i)
	}
	return sourceRow{}, false
}

var (
	_ tracer = (*scan)(nil)
	_ tracer = (*filter)(nil)
	_ tracer = (*project)(nil)
	_ tracer = (*watermark)(nil)
	_ tracer = (*lateFilter)(nil)
	_ tracer = (*guard)(nil)
	_ tracer = (*window)(nil)
)

func (s *scan) trace(i int) (sourceRow, bool) {
	return sourceRow{rec: s.last, row: i, table: s.n.Table}, s.last != nil
}

func (f *filter) trace(i int) (sourceRow, bool) {
	if f.src == nil || !f.src.exact {
		if i = int(f.keep[i]); f.fit != nil {
			i = int(f.fit[i])
		}
	}
	return through(f.in[0], i)
}

func (p *project) trace(i int) (sourceRow, bool) {
	if p.kept != nil {
		i = int(p.kept[i])
	}
	return through(p.in[0], i)
}

func (w *watermark) trace(i int) (sourceRow, bool) { return through(w.in[0], i) }

func (f *lateFilter) trace(i int) (sourceRow, bool) {
	if f.tc.Spec.Watermark != batch.NoTime { // else it has passed everything
		i = int(f.keep[i])
	}
	return through(f.in[0], i)
}

// trace follows rows that lie in one window; of several, one could not come again
// without the others.
func (w *window) trace(i int) (sourceRow, bool) {
	if w.n.Kind != logical.Tumble {
		return sourceRow{}, false
	}
	if len(w.rows) > 0 {
		i = int(w.rows[i])
	}
	return through(w.in[0], i)
}

func (g *guard) trace(i int) (sourceRow, bool) {
	if g.kept != nil {
		i = int(g.kept[i])
	}
	return through(g.in[0], i)
}

// remember keeps the batch that the scan hands on, if rows of it may be asked for.
func (s *scan) remember(rec arrow.RecordBatch) {
	if s.last != nil {
		s.last.Release()
		s.last = nil
	}
	if rec != nil && s.tc.unfit.keeps() {
		rec.Retain()
		s.last = rec
	}
}
