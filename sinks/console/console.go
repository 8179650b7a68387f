package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

var (
	optFormat   = options.Option{Key: "format", Kind: options.Enum, Default: "table", Values: []string{"table", "json", "csv"}, Doc: "How rows are printed."}
	optRows     = options.Option{Key: "num-rows", Kind: options.Int, Default: "20", Doc: "Rows of a batch that a table shows; 0 for all. Other formats print all."}
	optTruncate = options.Option{Key: "truncate", Kind: options.Text, Default: "20", Doc: "Widest cell of a table in characters; 0 or 'false' for no limit, 'true' for 20."}
	declared    = []options.Option{optFormat, optRows, optTruncate}
)

// defaultWidth is what 'truncate' = 'true' means.
const defaultWidth = 20

// Connector returns the connector, which prints to w.
func Connector(w io.Writer) sinks.Connector {
	hub := stage.NewHub(0)
	out := &output{w: w}
	return sinks.Connector{
		Name:     "console",
		Doc:      "Prints each committed batch.",
		Options:  declared,
		Modes:    []sinks.Mode{sinks.Append, sinks.Update, sinks.Complete, sinks.Changelog},
		Volatile: true,
		New: func(_ context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			p, err := newPrinter(spec, out)
			if err != nil {
				return nil, nil, err
			}
			t := hub.Target(spec)
			return t.Sink(p.print), t.Writers(), nil
		},
	}
}

// output is the one writer that all sinks of a connector share.
type output struct {
	sync.Mutex
	w io.Writer
}

// printer prints the batches of one sink.
type printer struct {
	spec      sinks.Spec
	out       *output
	format    string
	rows      int
	width     int
	formatter *render.Formatter
	header    bool // of CSV, printed
}

func newPrinter(spec sinks.Spec, out *output) (*printer, error) {
	what := fmt.Sprintf("table %q", spec.Table)
	if err := options.Check(what, spec.Options, declared); err != nil {
		return nil, err
	}
	f, err := render.New(spec.Zone)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", what, err)
	}
	p := &printer{spec: spec, out: out, formatter: f, format: strings.ToLower(spec.Options.Get(optFormat))}
	rows := spec.Options.Int(optRows)
	if rows < 0 || rows > 1<<30 {
		return nil, batch.UserErrorf("%s: option '%s' = '%d': want 0 to %d", what, optRows.Key, rows, 1<<30)
	}
	p.rows = int(rows)
	truncate := strings.ToLower(spec.Options.Get(optTruncate))
	if n, err := strconv.Atoi(truncate); err == nil && n >= 0 {
		p.width = n
	} else if on, err := strconv.ParseBool(truncate); err != nil {
		return nil, batch.UserErrorf("%s: option '%s' = '%s': want a number of characters, true or false", what, optTruncate.Key, truncate)
	} else if on {
		p.width = defaultWidth
	}
	return p, nil
}

// print writes a batch at once, so that it is never mixed with another's output.
func (p *printer) print(_ context.Context, id batch.ID, recs []arrow.RecordBatch) error {
	p.out.Lock()
	defer p.out.Unlock()
	var buf bytes.Buffer
	header := p.header
	switch p.format {
	case "json":
		p.json(&buf, id, recs)
	case "csv":
		p.csv(&buf, id, recs)
	default:
		// An empty table would say nothing, many times over; in complete mode it
		// says that the result is empty.
		if rowsOf(recs) == 0 && p.spec.Mode != sinks.Complete {
			return nil
		}
		if err := p.table(&buf, id, recs); err != nil {
			return err
		}
	}
	if _, err := buf.WriteTo(p.out.w); err != nil {
		p.header = header
		return batch.ExternalError(fmt.Errorf("print batch %d of table %q: %w", id, p.spec.Table, err), false)
	}
	return nil
}

func rowsOf(recs []arrow.RecordBatch) (n int64) {
	for _, r := range recs {
		n += r.NumRows()
	}
	return n
}

func (p *printer) json(buf *bytes.Buffer, id batch.ID, recs []arrow.RecordBatch) {
	var line []byte
	for _, rec := range recs {
		ops, columns := stage.Ops(rec)
		for row := range int(rec.NumRows()) {
			line = fmt.Appendf(line[:0], `{"batch":%d,"op":"%s","row":`, id, stage.OpAt(ops, row))
			line = p.formatter.AppendJSONColumns(line, rec, columns, row)
			buf.Write(append(line, '}', '\n'))
		}
	}
}

func (p *printer) csv(buf *bytes.Buffer, id batch.ID, recs []arrow.RecordBatch) {
	var line []byte
	if !p.header {
		p.header = true
		buf.Write(append(render.AppendCSVHeader([]byte("batch,op,"), p.spec.Schema), '\n'))
	}
	for _, rec := range recs {
		ops, columns := stage.Ops(rec)
		for row := range int(rec.NumRows()) {
			line = fmt.Appendf(line[:0], "%d,%s,", id, stage.OpAt(ops, row))
			line = p.formatter.AppendCSVColumns(line, rec, columns, row)
			buf.Write(append(line, '\n'))
		}
	}
}

const rule = "-------------------------------------------\n"

func (p *printer) table(buf *bytes.Buffer, id batch.ID, recs []arrow.RecordBatch) error {
	if !p.spec.Batch { // a one-shot statement has one batch, whose number says nothing
		fmt.Fprintf(buf, "%sBatch: %d\n%s", rule, id, rule)
	}
	fields := p.spec.Schema.Fields()
	changes := p.spec.Mode == sinks.Update || p.spec.Mode == sinks.Changelog
	if changes {
		fields = append([]arrow.Field{{Name: "op", Type: arrow.BinaryTypes.String}}, fields...)
	}
	t := render.NewTable(fields, p.width)
	var cell []byte
	shown, total := 0, int64(0)
	for _, rec := range recs {
		total += rec.NumRows()
		ops, columns := stage.Ops(rec)
		for row := 0; row < int(rec.NumRows()) && (p.rows == 0 || shown < p.rows); row++ {
			shown++
			if changes {
				t.Add([]byte(stage.OpAt(ops, row).String()))
			}
			for c := range columns {
				cell = p.formatter.AppendText(cell[:0], rec.Column(c), row)
				t.Add(cell)
			}
		}
	}
	if _, err := t.WriteTo(buf); err != nil {
		return fmt.Errorf("lay out batch %d: %w", id, err)
	}
	if int64(shown) < total {
		fmt.Fprintf(buf, "only showing top %d of %d rows\n", shown, total)
	}
	buf.WriteByte('\n')
	return nil
}
