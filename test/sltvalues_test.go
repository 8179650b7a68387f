package test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// liftedMax is in how many micro-batches the rows of VALUES arrive.
const liftedMax = 3

// errPrefix says that the batch fails over a part of the rows, as the stream has: the
// query can only be asked of all of them at once.
var errPrefix = errors.New("a part of the rows has no answer")

// lift makes streams of the VALUES that a query reads, if nothing is fed: what is a
// constant in the file then grows row by row.
func (r *streamRun) lift(ctx context.Context) error {
	if r.plan.Check == nil || len(r.plan.Batches[0]) > 0 {
		return nil
	}
	stmts, err := parser.Parse(r.sql, parser.Options{})
	if err != nil {
		return err
	}
	var found []*ast.Derived
	ast.Inspect(stmts[0], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Query:
			return n.With == nil || !n.With.Recursive
		case *ast.Derived:
			if q := n.Query; !n.Lateral && q.With == nil && q.OrderBy == nil && q.Limit == nil && q.Offset == nil {
				if _, ok := q.Body.(*ast.Values); ok {
					found = append(found, n)
					return false
				}
			}
		}
		return true
	})
	for _, d := range found {
		f, err := r.e.values(ctx, d.Query, fmt.Sprintf("lifted%d", len(r.lifted)))
		if err != nil {
			continue // it refers to what is around it
		}
		r.lifted = append(r.lifted, f)
		r.fed[f.name] = &f.fedTable
		d.Query.Body = &ast.Select{
			Items: []ast.SelectItem{{Expr: &ast.Star{}}},
			From:  []ast.Table{&ast.TableName{Name: ast.Name{Parts: []ast.Ident{{Name: f.name}}}}},
		}
	}
	if len(r.lifted) > 0 {
		r.sql = ast.SQL(stmts[0])
	}
	return nil
}

// liftedTable is a table of the rows of VALUES.
type liftedTable struct {
	fedTable
	all []arrow.RecordBatch
}

func (e *engine) values(ctx context.Context, q *ast.Query, name string) (*liftedTable, error) {
	df, err := e.s.SQL(ctx, ast.SQL(q))
	if err != nil {
		return nil, err
	}
	f := &liftedTable{fedTable: fedTable{name: name}}
	if f.schema, err = df.Schema(); err != nil {
		return nil, err
	}
	rows, err := df.Reader(ctx)
	if err != nil {
		return nil, err
	}
	err = eachBatch(ctx, rows, func(rec arrow.RecordBatch) {
		f.all = append(f.all, array.NewRecordBatch(f.schema, rec.Columns(), rec.NumRows()))
	})
	return f, err
}

// add adds the rows of piece i of n.
func (f *liftedTable) add(i, n int) error {
	total, at := rowsIn(f.all), 0
	from, to := total*i/n, total*(i+1)/n
	for _, rec := range f.all {
		rows := int(rec.NumRows())
		if a, b := max(from, at), min(to, at+rows); a < b {
			part := rec.NewSlice(int64(a-at), int64(b-at))
			f.rows = append(f.rows, part)
			if err := f.put(part); err != nil {
				return err
			}
		}
		at += rows
	}
	return nil
}

// grow feeds the lifted rows piece by piece and holds the result after each
// against the batch answer over the rows that have come.
func (r *streamRun) grow(ctx context.Context) error {
	n := 1
	for _, f := range r.lifted {
		n = max(n, min(rowsIn(f.all), liftedMax))
	}
	for i := range n {
		for _, f := range r.lifted {
			if err := f.add(i, n); err != nil {
				return err
			}
		}
		if i > 0 {
			if err := r.restart(ctx, i); err != nil {
				return err
			}
		}
		if err := r.available(ctx); err != nil {
			if _, _, berr := rowsOf(ctx, r.sub.s, r.sql); berr != nil && i < n-1 {
				return errPrefix
			}
			return err
		}
		if i == n-1 || !r.out.seen {
			continue
		}
		_, want, err := rowsOf(ctx, r.sub.s, r.sql)
		if err != nil {
			return fmt.Errorf("after %d of %d batches the stream goes on, and the batch fails: %w", i+1, n, err)
		}
		if !sameRows(want, r.out.rows) {
			return fmt.Errorf("output mode %s: after %d of %d batches of %s the rows are\n%s\nand the batch answer is\n%s", r.out.mode, i+1, n, r.sql, lines(r.out.rows), lines(want))
		}
	}
	return nil
}

func lines(rows [][]string) string {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(strings.Join(row, "\t") + "\n")
	}
	return b.String()
}
