package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
)

func knownFormat(f string) bool { return slices.Contains([]string{"table", "csv", "json", "arrow"}, f) }

// printResult prints what one statement gave: rows to out, a message to messages,
// or nowhere beside a format that programs read.
func printResult(ctx context.Context, out, messages io.Writer, r *sluice.Result, format string) (err error) {
	if r.Rows == nil {
		if r.Message != "" && format == "table" {
			_, err = fmt.Fprintln(messages, r.Message)
		}
		return err
	}
	defer func() { err = errors.Join(err, r.Rows.Close()) }()
	w := bufio.NewWriterSize(out, 1<<16)
	defer func() { err = errors.Join(err, w.Flush()) }()
	if r.Plan != "" && format == "table" {
		// The lines of a plan are long: a frame around them would break on every screen.
		_, err = w.WriteString(r.Plan)
		return err
	}
	return printRows(ctx, w, r, format)
}

// rowPrinter takes the rows of a result in one format.
type rowPrinter interface {
	Write(rec arrow.RecordBatch) error
	Close() error
}

func printRows(ctx context.Context, w io.Writer, r *sluice.Result, format string) error {
	f, err := render.New(r.Zone)
	if err != nil {
		return err
	}
	var p rowPrinter
	switch format {
	case "csv":
		p = &linePrinter{w: w, row: f.AppendCSVRow, buf: append(render.AppendCSVHeader(nil, r.Schema), '\n')}
	case "json":
		p = &linePrinter{w: w, row: f.AppendJSONRow}
	case "arrow":
		p = arrowPrinter{ipc.NewWriter(w, ipc.WithSchema(r.Schema))}
	default:
		p = &tablePrinter{w: w, f: f, schema: r.Schema}
	}
	for {
		rec, err := r.Rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return p.Close()
		}
		if err != nil {
			return err
		}
		err = p.Write(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

// linePrinter prints a line a row.
type linePrinter struct {
	w   io.Writer
	row func(dst []byte, rec arrow.RecordBatch, i int) []byte
	buf []byte
}

func (p *linePrinter) Write(rec arrow.RecordBatch) error {
	for i := range int(rec.NumRows()) {
		p.buf = append(p.row(p.buf, rec, i), '\n')
		if len(p.buf) > 1<<15 {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *linePrinter) flush() error {
	_, err := p.w.Write(p.buf)
	p.buf = p.buf[:0]
	return err
}

func (p *linePrinter) Close() error { return p.flush() }

type arrowPrinter struct{ *ipc.Writer }

func (w arrowPrinter) Write(rec arrow.RecordBatch) error { return w.Writer.Write(rec) }

// tableRows is how many rows a table shows; csv and json show all.
const tableRows = 1000

// tablePrinter aligns columns, for which it keeps the rows that it will show.
type tablePrinter struct {
	w      io.Writer
	f      *render.Formatter
	schema *arrow.Schema
	kept   []arrow.RecordBatch
	n, all int64
}

func (p *tablePrinter) Write(rec arrow.RecordBatch) error {
	p.all += rec.NumRows()
	if room := tableRows - p.n; room > 0 {
		r := rec.NewSlice(0, min(room, rec.NumRows()))
		p.n += r.NumRows()
		p.kept = append(p.kept, r)
	}
	return nil
}

func (p *tablePrinter) Close() error {
	defer func() {
		for _, r := range p.kept {
			r.Release()
		}
	}()
	if err := p.f.WriteTable(p.w, p.schema, p.kept, render.TableOptions{}); err != nil {
		return err
	}
	rows := "rows"
	if p.all == 1 {
		rows = "row"
	}
	if p.all > p.n {
		_, err := fmt.Fprintf(p.w, "%d %s, the first %d shown (--format csv shows all)\n", p.all, rows, p.n)
		return err
	}
	_, err := fmt.Fprintf(p.w, "%d %s\n", p.all, rows)
	return err
}
