package pgclient

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Column is one of a table in the database.
type Column struct {
	Name      string
	Type      string // as it is declared: numeric(10,2)
	Base      string // the type's own name, without a domain around it: numeric; of an array that of its elements
	Category  string // pg_type.typcategory: N numbers, S texts, D times, A arrays, U others, E enumerations, ..
	Array     bool
	Precision int // of numeric, 0 if none is declared
	Scale     int
	NotNull   bool
	Default   bool // a row may leave it out
	Generated bool // a row may not give it
}

// Table is what a table looks like.
type Table struct {
	Columns []Column
	// Unique are the sets of columns that a row is found by.
	Unique [][]string
}

const columnsQuery = `
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(e.typname, b.typname)::text, b.typcategory::text, e.oid IS NOT NULL,
  a.atttypmod, a.attnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, a.attgenerated <> '' OR a.attidentity = 'a'
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
  LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

const uniqueQuery = `
SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND i.indnkeyatts = i.indnatts GROUP BY i.indexrelid ORDER BY bool_or(i.indisprimary) DESC, i.indexrelid`

// Describe looks a table up. It returns nil if there is none of the name.
func Describe(ctx context.Context, conn *pgx.Conn, n Name) (*Table, error) {
	fail := func(err error) error { return fmt.Errorf("look at table %s: %w", n, err) }
	rows, err := conn.Query(ctx, columnsQuery, n.Quoted())
	if err != nil {
		return nil, fail(err)
	}
	t := &Table{}
	t.Columns, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (c Column, err error) {
		var mod int32
		err = r.Scan(&c.Name, &c.Type, &c.Base, &c.Category, &c.Array, &mod, &c.NotNull, &c.Default, &c.Generated)
		if c.Base == "numeric" && mod >= 4 { // (precision << 16 | scale) + 4, the scale has 11 bits and a sign
			c.Precision, c.Scale = int((mod-4)>>16)&0xffff, int(((mod-4)&0x7ff)^1024)-1024
		}
		return c, err
	})
	if Is(err, noSchema) || err == nil && len(t.Columns) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fail(err)
	}
	if rows, err = conn.Query(ctx, uniqueQuery, n.Quoted()); err != nil {
		return nil, fail(err)
	}
	if t.Unique, err = pgx.CollectRows(rows, pgx.RowTo[[]string]); err != nil {
		return nil, fail(err)
	}
	return t, nil
}
