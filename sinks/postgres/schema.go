package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice/internal/pgclient"
)

func byName(name string) func(arrow.Field) bool {
	return func(f arrow.Field) bool { return strings.EqualFold(f.Name, name) }
}

// columnType is the database's type for a column that it is to make.
func columnType(dt arrow.DataType) (string, error) {
	switch dt := dt.(type) {
	case *arrow.Decimal128Type:
		return fmt.Sprintf("numeric(%d,%d)", dt.Precision, dt.Scale), nil
	case *arrow.TimestampType:
		if dt.TimeZone == "" {
			return "timestamp", nil
		}
		return "timestamptz", nil
	case *arrow.ListType:
		elem, err := columnType(dt.Elem())
		if strings.HasSuffix(elem, "[]") || elem == "jsonb" {
			return "jsonb", err
		}
		return elem + "[]", err
	case *arrow.StructType, *arrow.MapType:
		return "jsonb", nil
	case *arrow.DictionaryType:
		return columnType(dt.ValueType)
	}
	if name, ok := columnTypes[dt.ID()]; ok {
		return name, nil
	}
	return "", fmt.Errorf("values of type %s have no form in PostgreSQL", dt)
}

var columnTypes = map[arrow.Type]string{
	arrow.NULL: "text", arrow.BOOL: "boolean", arrow.INT8: "smallint", arrow.INT16: "smallint", arrow.INT32: "integer", arrow.INT64: "bigint",
	arrow.FLOAT32: "real", arrow.FLOAT64: "double precision", arrow.STRING: "text", arrow.BINARY: "bytea", arrow.DATE32: "date",
	arrow.TIME64: "time", arrow.INTERVAL_MONTHS: "interval", arrow.DURATION: "interval",
}

var (
	numbers   = []string{"int2", "int4", "int8", "numeric", "float4", "float8"}
	fractions = []string{"numeric", "float4", "float8"}
	documents = []string{"json", "jsonb"}
)

// accepted are the types of the database that take values of a type, besides texts.
func accepted(dt arrow.DataType) []string {
	switch dt.ID() {
	case arrow.BOOL:
		return []string{"bool"}
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		return numbers
	case arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128:
		return fractions
	case arrow.BINARY:
		return []string{"bytea", "uuid"}
	case arrow.DATE32:
		return []string{"date", "timestamp"}
	case arrow.TIMESTAMP:
		if dt.(*arrow.TimestampType).TimeZone == "" {
			return []string{"timestamp"}
		}
		return []string{"timestamptz", "timestamp"}
	case arrow.TIME64:
		return []string{"time"}
	case arrow.INTERVAL_MONTHS, arrow.DURATION:
		return []string{"interval"}
	default:
		return nil
	}
}

// fits reports whether a column of the database takes values of a type.
func fits(dt arrow.DataType, c pgclient.Column) bool {
	if d, ok := dt.(*arrow.DictionaryType); ok {
		dt = d.ValueType
	}
	switch dt := dt.(type) {
	case *arrow.NullType:
		return true
	case *arrow.ListType:
		if c.Array {
			return fits(dt.Elem(), pgclient.Column{Base: c.Base, Category: "?"}) || dt.Elem().ID() == arrow.STRING && c.Base != "bytea"
		}
		return slices.Contains(documents, c.Base)
	case *arrow.StructType, *arrow.MapType:
		return !c.Array && slices.Contains(documents, c.Base)
	case *arrow.StringType: // whatever the database reads from text and is no number, time or flag
		return !c.Array && strings.Contains("SEUIVGX?", c.Category) && c.Base != "bytea"
	case *arrow.BinaryType:
		return !c.Array && slices.Contains(accepted(dt), c.Base)
	}
	return !c.Array && (slices.Contains(accepted(dt), c.Base) || c.Category == "S")
}

// ddl is the statement that makes the table.
func (t *target) ddl() string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (", t.config.Table.Quoted())
	for i, f := range t.spec.Schema.Fields() {
		if i > 0 {
			b.WriteString(", ")
		}
		typ, _ := columnType(f.Type) // parse has refused what has none
		fmt.Fprintf(&b, "%s %s", pgclient.QuoteIdent(f.Name), typ)
	}
	if len(t.keys) > 0 && !t.replaces() {
		fmt.Fprintf(&b, ", PRIMARY KEY (%s)", t.names(t.keys))
	}
	b.WriteString(")")
	return b.String()
}

// names lists columns by their positions, nil for all, quoted, as the database has them.
func (t *target) names(at []int) string {
	if at == nil {
		for i := range t.spec.Schema.Fields() {
			at = append(at, i)
		}
	}
	out := make([]string, len(at))
	for i, c := range at {
		name := t.spec.Schema.Field(c).Name
		if t.columns != nil {
			name = t.columns[c].Name
		}
		out[i] = pgclient.QuoteIdent(name)
	}
	return strings.Join(out, ", ")
}

// check finds the table's columns in the database, or makes the table.
func (t *target) check(ctx context.Context, conn *pgx.Conn) error {
	found, err := pgclient.Describe(ctx, conn, t.config.Table)
	if err != nil {
		return err
	}
	if found == nil && t.create {
		if _, err := conn.Exec(ctx, t.ddl()); err != nil && !pgclient.MadeByOther(err) {
			return fmt.Errorf("make table %s: %w", t.config.Table, err)
		}
		if found, err = pgclient.Describe(ctx, conn, t.config.Table); err != nil {
			return err
		}
	}
	if found == nil {
		return t.userError("%s has no table %s: set 'create-table' = 'true', or run\n  %s", t.config.Where(), t.config.Table, t.ddl())
	}
	return t.match(found)
}

// match finds the column of the database for each of the schema's.
func (t *target) match(found *pgclient.Table) error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	columns := make([]pgclient.Column, t.spec.Schema.NumFields())
	written := map[string]bool{}
	for i, f := range t.spec.Schema.Fields() {
		at := slices.IndexFunc(found.Columns, func(c pgclient.Column) bool { return c.Name == f.Name })
		if at < 0 {
			at = slices.IndexFunc(found.Columns, func(c pgclient.Column) bool { return strings.EqualFold(c.Name, f.Name) })
		}
		if at < 0 {
			typ, _ := columnType(f.Type)
			fault("it has no column %q (ALTER TABLE %s ADD COLUMN %s %s)", f.Name, t.config.Table.Quoted(), pgclient.QuoteIdent(f.Name), typ)
			continue
		}
		c := found.Columns[at]
		columns[i], written[c.Name] = c, true
		switch {
		case c.Generated:
			fault("its column %q is always generated", c.Name)
		case !fits(f.Type, c):
			typ, _ := columnType(f.Type)
			fault("its column %q is of type %s, which does not take values of type %s (%s would)", c.Name, c.Type, f.Type, typ)
		}
	}
	for _, c := range found.Columns {
		if !written[c.Name] && c.NotNull && !c.Default && !c.Generated {
			fault("its column %q may not be NULL, has no default, and nothing is written to it", c.Name)
		}
	}
	t.columns = columns
	if t.upserts() && len(faults) == 0 && !t.unique(found) {
		fault("no unique index has just the key's columns, by which rows are upserted (CREATE UNIQUE INDEX ON %s (%s))", t.config.Table.Quoted(), t.names(t.keys))
	}
	if len(faults) > 0 {
		return t.userError("table %s of %s does not fit: %s", t.config.Table, t.config.Where(), strings.Join(faults, "; "))
	}
	return nil
}

func (t *target) unique(found *pgclient.Table) bool {
	var key []string
	for _, k := range t.keys {
		key = append(key, t.columns[k].Name)
	}
	slices.Sort(key)
	return slices.ContainsFunc(found.Unique, func(u []string) bool {
		u = slices.Clone(u)
		slices.Sort(u)
		return slices.Equal(u, key)
	})
}
