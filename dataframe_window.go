package sluice

import (
	"time"

	"github.com/sluice-stream/sluice/sql/ast"
)

// Tumble adds window_start, window_end and window_time: windows of one size after
// another, by a time column.
func (d *DataFrame) Tumble(column string, size time.Duration) *DataFrame {
	return d.windows("TUMBLE", column, interval(size).e)
}

// Hop is Tumble with a window for each slide, so that a row is in several.
func (d *DataFrame) Hop(column string, slide, size time.Duration) *DataFrame {
	return d.windows("HOP", column, interval(slide).e, interval(size).e)
}

// Cumulate is windows that grow by a step up to a size.
func (d *DataFrame) Cumulate(column string, step, size time.Duration) *DataFrame {
	return d.windows("CUMULATE", column, interval(step).e, interval(size).e)
}

// SessionWindow groups the rows with the same keys that follow each other within a gap:
// GroupBy window_start, window_end and the keys.
func (d *DataFrame) SessionWindow(column string, gap time.Duration, keys ...string) *DataFrame {
	return d.windowed("SESSION", column, keys, interval(gap).e)
}

func (d *DataFrame) windows(name, column string, args ...ast.Expr) *DataFrame {
	return d.windowed(name, column, nil, args...)
}

func (d *DataFrame) windowed(name, column string, keys []string, args ...ast.Expr) *DataFrame {
	return d.derive(func() (*ast.Query, error) {
		q, err := d.asQuery()
		if err != nil {
			return nil, err
		}
		data := &ast.TableArg{Query: q}
		for _, k := range keys {
			c := Col(k)
			if c.err != nil {
				return nil, c.err
			}
			data.PartitionBy = append(data.PartitionBy, c.e)
		}
		ts := &ast.Descriptor{Columns: []ast.Ident{{Name: column}}}
		call := &ast.Call{Name: name1(name), Args: append([]ast.Expr{data, ts}, args...)}
		return &ast.Query{Body: all(&ast.TableFunc{Call: call})}, nil
	})
}
