package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
)

// ColumnNames lists the columns.
func (d *DataFrame) ColumnNames() ([]string, error) { return d.names() }

// DTypes lists each column's name and its type in SQL.
func (d *DataFrame) DTypes() ([][2]string, error) {
	n, err := d.bound()
	if err != nil {
		return nil, err
	}
	out := make([][2]string, n.Schema().NumFields())
	for i, f := range n.Schema().Fields() {
		out[i] = [2]string{f.Name, expr.TypeName(f.Type)}
	}
	return out, nil
}

// PrintSchema prints the columns as a tree.
func (d *DataFrame) PrintSchema(w io.Writer) error {
	n, err := d.bound()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("root\n")
	for _, f := range n.Schema().Fields() {
		printField(&b, " |-- ", f)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func printField(b *strings.Builder, indent string, f arrow.Field) {
	name := strings.ToLower(expr.TypeName(f.Type))
	var below []arrow.Field
	switch t := f.Type.(type) {
	case *arrow.StructType:
		name, below = "struct", t.Fields()
	case *arrow.MapType:
		key, item := t.KeyField(), t.ItemField()
		key.Name, item.Name = "key", "value"
		name, below = "map", []arrow.Field{key, item}
	case *arrow.ListType:
		elem := t.ElemField()
		elem.Name = "element"
		name, below = "array", []arrow.Field{elem}
	}
	fmt.Fprintf(b, "%s%s: %s (nullable = %t)\n", indent, f.Name, name, f.Nullable)
	for _, g := range below {
		printField(b, " |   "+indent, g)
	}
}

// ExplainMode returns the plan as EXPLAIN with a mode prints it. ANALYZE runs the
// query and tells rows, time and memory of each operator.
func (d *DataFrame) ExplainMode(ctx context.Context, mode string) (string, error) {
	if _, err := d.bound(); err != nil {
		return "", err
	}
	q, err := d.asQuery()
	if err != nil {
		return "", err
	}
	r, err := d.s.explainStatement(ctx, &ast.Explain{Mode: strings.ToUpper(mode), Stmt: &ast.QueryStmt{Query: q}})
	if err != nil {
		return "", err
	}
	if r.Rows != nil {
		err = r.Rows.Close()
	}
	return r.Plan, err
}

// Batches runs the query and gives its rows batch by batch. A batch is good until
// the loop goes on: to keep it, retain it. The query ends with the loop.
func (d *DataFrame) Batches(ctx context.Context) iter.Seq2[arrow.RecordBatch, error] {
	return func(yield func(arrow.RecordBatch, error) bool) {
		r, err := d.Reader(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			rec, err := r.Next(ctx)
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				if err = errors.Join(err, r.Close()); err != nil {
					yield(nil, err)
				}
				return
			}
			more := yield(rec, nil)
			rec.Release()
			if !more {
				_ = r.Close() // the caller has what it wanted, and nobody to tell
				return
			}
		}
	}
}

// Rows runs the query and gives its rows one by one, see Row.
func (d *DataFrame) Rows(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for rec, err := range d.Batches(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range int(rec.NumRows()) {
				if !yield(rowOf(rec, i), nil) {
					return
				}
			}
		}
	}
}

func rowOf(rec arrow.RecordBatch, i int) Row {
	row := make(Row, rec.NumCols())
	for c, col := range rec.Columns() {
		row[c] = value(col, i)
	}
	return row
}

// Take runs the query for its first n rows.
func (d *DataFrame) Take(ctx context.Context, n int64) ([]Row, error) { return d.Limit(n).Collect(ctx) }

// Head is Take.
func (d *DataFrame) Head(ctx context.Context, n int64) ([]Row, error) { return d.Take(ctx, n) }

// First runs the query for its first row, nil if there is none.
func (d *DataFrame) First(ctx context.Context) (Row, error) {
	rows, err := d.Take(ctx, 1)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0], nil
}

// IsEmpty reports whether the query has no rows.
func (d *DataFrame) IsEmpty(ctx context.Context) (bool, error) {
	rows, err := d.Take(ctx, 1)
	return len(rows) == 0, err
}

// ToArrow runs the query and returns all rows as a table, which the caller releases.
func (d *DataFrame) ToArrow(ctx context.Context) (arrow.Table, error) {
	schema, err := d.Schema()
	if err != nil {
		return nil, err
	}
	recs, err := d.batches(ctx)
	if err != nil {
		return nil, err
	}
	t := array.NewTableFromRecords(schema, recs)
	releaseAll(recs)
	return t, nil
}

// batches runs the query and returns all batches, which the caller releases.
func (d *DataFrame) batches(ctx context.Context) ([]arrow.RecordBatch, error) {
	var recs []arrow.RecordBatch
	for rec, err := range d.Batches(ctx) {
		if err != nil {
			releaseAll(recs)
			return nil, err
		}
		rec.Retain()
		recs = append(recs, rec)
	}
	return recs, nil
}

func releaseAll(recs []arrow.RecordBatch) {
	for _, r := range recs {
		r.Release()
	}
}

// ShowN runs the query and prints its first n rows as a table.
func (d *DataFrame) ShowN(ctx context.Context, w io.Writer, n int64) (err error) {
	first := d.Limit(n)
	recs, err := first.batches(ctx)
	if err != nil {
		return err
	}
	defer releaseAll(recs)
	f, err := render.New(d.s.zone())
	if err != nil {
		return err
	}
	return f.WriteTable(w, first.node.Schema(), recs, render.TableOptions{})
}

// Cache runs the query now and keeps its rows in memory: the result reads them
// instead of running the query again. Unpersist, or closing the session, lets them go.
func (d *DataFrame) Cache(ctx context.Context) (*DataFrame, error) {
	schema, err := d.Schema()
	if err != nil {
		return nil, err
	}
	recs, err := d.batches(ctx)
	if err != nil {
		return nil, err
	}
	defer releaseAll(recs)
	out := d.s.CreateDataFrame(nullable(schema), withSchema(nullable(schema), recs)...)
	out.alias = d.alias
	return out, out.err
}

// withSchema puts batches under another schema of the same types. The results
// share the rows of the borrowed batches.
func withSchema(schema *arrow.Schema, recs []arrow.RecordBatch) []arrow.RecordBatch {
	out := make([]arrow.RecordBatch, len(recs))
	for i, r := range recs {
		out[i] = array.NewRecordBatch(schema, r.Columns(), r.NumRows())
	}
	return out
}

// Persist is Cache.
func (d *DataFrame) Persist(ctx context.Context) (*DataFrame, error) { return d.Cache(ctx) }

// CreateTempView is CreateView.
func (d *DataFrame) CreateTempView(name string) error { return d.CreateView(name) }

// Session is the session that the DataFrame belongs to.
func (d *DataFrame) Session() *Session { return d.s }
