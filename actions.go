package sluice

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// Schema returns the columns.
func (d *DataFrame) Schema() (*arrow.Schema, error) {
	n, err := d.bound()
	if err != nil {
		return nil, err
	}
	return n.Schema(), nil
}

// Columns returns the columns as CREATE TABLE declares them: "a BIGINT, b STRING".
func (d *DataFrame) Columns() (string, error) {
	n, err := d.bound()
	if err != nil {
		return "", err
	}
	cols := make([]string, n.Schema().NumFields())
	for i, f := range n.Schema().Fields() {
		cols[i] = columnName(f.Name) + " " + typeText(f.Type)
	}
	return strings.Join(cols, ", "), nil
}

// typeText is a type as CREATE TABLE takes it: expr.TypeName is for people and
// does not quote.
func typeText(dt arrow.DataType) string {
	switch t := dt.(type) {
	case *arrow.StructType:
		fields := make([]string, t.NumFields())
		for i, f := range t.Fields() {
			fields[i] = columnName(f.Name) + ": " + typeText(f.Type)
		}
		return "STRUCT<" + strings.Join(fields, ", ") + ">"
	case *arrow.MapType:
		return "MAP<" + typeText(t.KeyType()) + ", " + typeText(t.ItemType()) + ">"
	case *arrow.ListType:
		return "ARRAY<" + typeText(t.Elem()) + ">"
	}
	return expr.TypeName(dt)
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// columnListWords start something else than a column in CREATE TABLE.
	columnListWords = []string{"PRIMARY", "WATERMARK", "CONSTRAINT", "UNIQUE", "LIKE"}
)

// columnName quotes a name where CREATE TABLE needs it.
func columnName(name string) string {
	if plainName.MatchString(name) && !slices.Contains(columnListWords, strings.ToUpper(name)) {
		if _, err := parser.ParseName(name, parser.Options{}); err == nil {
			return name
		}
	}
	return ast.QuoteName(name)
}

// Explain returns the plan as EXPLAIN prints it.
func (d *DataFrame) Explain() (string, error) {
	n, err := d.bound()
	if err != nil {
		return "", err
	}
	return d.s.explain(context.Background(), n)
}

// Reader runs the query over what its tables hold now and returns its rows as
// batches, which the caller releases.
func (d *DataFrame) Reader(ctx context.Context) (Reader, error) {
	n, err := d.bound()
	if err != nil {
		return nil, err
	}
	return d.s.runBatch(ctx, n)
}

// Collect runs the query and returns all rows as Go values, see Row.
func (d *DataFrame) Collect(ctx context.Context) ([]Row, error) {
	r, err := d.Reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(ctx, r)
}

// Count runs the query and returns the number of its rows.
func (d *DataFrame) Count(ctx context.Context) (int64, error) {
	rows, err := d.GroupBy().Count().Collect(ctx)
	if err != nil {
		return 0, err
	}
	if len(rows) == 1 {
		if n, ok := rows[0][0].(int64); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("count rows: got %v", rows)
}

// showRows is how many rows Show prints.
const showRows = 1000

// Show runs the query and prints its first rows, at most 1000, as a table.
func (d *DataFrame) Show(ctx context.Context, w io.Writer) error { return d.ShowN(ctx, w, showRows) }

// CreateView names the DataFrame so that SQL can use it.
func (d *DataFrame) CreateView(name string) error {
	n, err := d.bound()
	if err != nil {
		return err
	}
	return d.s.cat.addPlan(name, n)
}
