package sql

import (
	"maps"
	"math"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// BuildTable turns CREATE TABLE into a table definition: types, which columns
// are physical, metadata or computed, the watermark and the keys. Computed
// columns and the watermark are checked here, so that their errors point at
// this statement and not at a later query. With no columns at all the connector
// completes the definition (Complete); call CheckTable then. text is the statement
// as the user wrote it, for SHOW CREATE TABLE; empty prints it anew.
func BuildTable(cat Catalog, t *ast.CreateTable, text string, opts Options) (*TableDef, error) {
	if t.Like != nil {
		return copyTable(cat, t)
	}
	def := &TableDef{Name: dotted(t.Name.Parts), Options: map[string]string{}, Text: ast.SQL(t)}
	if text != "" {
		def.Text = text
	}
	for _, o := range t.Options {
		def.Options[o.Key] = o.Value
	}
	if t.Using != "" && def.Options["format"] == "" {
		def.Options["format"] = strings.ToLower(t.Using)
		if def.Options["connector"] == "" {
			def.Options["connector"] = "filesystem"
		}
	}
	def.Connector = def.Options["connector"]
	if err := buildColumns(def, t); err != nil {
		return nil, err
	}
	if err := buildKeys(def, t); err != nil {
		return nil, err
	}
	if t.Watermark != nil {
		if len(t.Watermark.Column.Parts) != 1 {
			return nil, unsupported(t.Watermark.Column.Pos, "a watermark on a field of a column")
		}
		def.Watermark = &WatermarkDef{Column: t.Watermark.Column.Parts[0].Name, Expr: t.Watermark.Expr}
	}
	if len(t.Columns) == 0 {
		return def, nil
	}
	return def, CheckTable(cat, def, opts)
}

// Complete gives a table without declared columns those of a schema: what its
// connector found, or what CREATE TABLE AS SELECT returns.
func (t *TableDef) Complete(schema *arrow.Schema) {
	t.Physical = schema
	t.Columns = nil
	for i, f := range schema.Fields() {
		t.Columns = append(t.Columns, ColumnDef{Name: f.Name, Type: f.Type, Null: f.Nullable, Physical: i})
	}
}

// CheckTable binds the computed columns and the watermark of a table once.
func CheckTable(cat Catalog, def *TableDef, opts Options) error {
	_, err := newBinder(cat, opts).scan(def)
	return err
}

// copyTable binds CREATE TABLE .. LIKE as Flink does: everything is taken over
// unless a clause excludes it, and the options given here win.
func copyTable(cat Catalog, t *ast.CreateTable) (*TableDef, error) {
	name := dotted(t.Like.Parts)
	rel, err := cat.Relation(name)
	switch {
	case err != nil:
		return nil, ast.Errorf(t.Like.Pos, "table %q: %w", name, err)
	case rel == nil:
		return nil, newBinder(cat, Options{}).unknownTable(t.Like.Pos, name)
	case rel.Table == nil:
		return nil, ast.Errorf(t.Like.Pos, "%q is a view; CREATE TABLE .. LIKE copies a table", name)
	case len(t.Columns) > 0 || t.Watermark != nil || t.PrimaryKey != nil || t.PartitionBy != nil:
		return nil, unsupported(t.Pos, "CREATE TABLE .. LIKE with columns or keys of its own")
	}
	def := *rel.Table
	def.Name, def.Text, def.Options = dotted(t.Name.Parts), ast.SQL(t), map[string]string{}
	without := func(what string) bool {
		keep := true
		for _, o := range t.LikeOptions {
			if how, of, _ := strings.Cut(o, " "); of == "ALL" || of == what {
				keep = how != "EXCLUDING"
			}
		}
		return !keep
	}
	if !without("OPTIONS") {
		maps.Copy(def.Options, rel.Table.Options)
	}
	for _, o := range t.Options {
		def.Options[o.Key] = o.Value
	}
	if without("WATERMARKS") {
		def.Watermark = nil
	}
	if without("CONSTRAINTS") {
		def.Keys = nil
	}
	if without("PARTITIONS") {
		def.Partition = nil
	}
	def.Connector = def.Options["connector"]
	return &def, nil
}

func buildColumns(def *TableDef, t *ast.CreateTable) error {
	var fields []arrow.Field
	seen := map[string]bool{}
	for _, c := range t.Columns {
		if k := strings.ToLower(c.Name.Name); seen[k] {
			return ast.Errorf(c.Pos, "column %q is declared twice", c.Name.Name)
		} else {
			seen[k] = true
		}
		if c.Default != nil {
			return unsupported(c.Default.Position(), "DEFAULT")
		}
		col := ColumnDef{Name: c.Name.Name, Null: !c.NotNull, Physical: -1, Expr: c.Computed, Comment: c.Comment}
		if c.Type != nil {
			dt, err := TypeOf(c.Type)
			if err != nil {
				return err
			}
			col.Type = dt
		}
		if c.Computed != nil {
			col.Virtual = true
			def.Columns = append(def.Columns, col)
			continue
		}
		col.Physical = len(fields)
		if m := c.Metadata; m != nil {
			key := m.Key
			if key == "" {
				key = c.Name.Name
			}
			col.Virtual = m.Virtual
			def.Meta = append(def.Meta, logical.Meta{Column: len(fields), Key: key})
		}
		fields = append(fields, arrow.Field{Name: c.Name.Name, Type: col.Type, Nullable: col.Null})
		def.Columns = append(def.Columns, col)
	}
	if len(t.Columns) > 0 {
		def.Physical = arrow.NewSchema(fields, nil)
	}
	return nil
}

// buildKeys checks that the columns of PRIMARY KEY and PARTITIONED BY exist.
// Without declared columns the connector's are not known yet.
func buildKeys(def *TableDef, t *ast.CreateTable) error {
	if t.PrimaryKey != nil && !t.NotEnforced {
		return ast.Errorf(t.PrimaryKeyAt, "a PRIMARY KEY is not checked here; write PRIMARY KEY (..) NOT ENFORCED")
	}
	check := func(ids []ast.Ident, clause string) ([]string, error) {
		var out []string
		for _, id := range ids {
			name := id.Name
			if len(def.Columns) > 0 {
				var names []string
				found := false
				for _, c := range def.Columns {
					names = append(names, c.Name)
					if strings.EqualFold(c.Name, id.Name) {
						name, found = c.Name, true
					}
				}
				if !found {
					err := ast.Errorf(id.Pos, "%s: there is no column %q", clause, id.Name)
					if near := ast.Nearest(id.Name, names); near != "" {
						return nil, err.WithHint("did you mean %q?", near)
					}
					return nil, err
				}
			}
			out = append(out, name)
		}
		return out, nil
	}
	var err error
	if def.Keys, err = check(t.PrimaryKey, "PRIMARY KEY"); err != nil {
		return err
	}
	def.Partition, err = check(t.PartitionBy, "PARTITIONED BY")
	return err
}

// watermarkDelay reads column - INTERVAL '..', or the column alone.
func watermarkDelay(w *WatermarkDef) (time.Duration, error) {
	pos := w.Expr.Position()
	isColumn := func(e ast.Expr) bool {
		c, ok := e.(*ast.Column)
		return ok && strings.EqualFold(c.Parts[len(c.Parts)-1].Name, w.Column)
	}
	if isColumn(w.Expr) {
		return 0, nil
	}
	b, ok := w.Expr.(*ast.Binary)
	if !ok || b.Op != "-" || !isColumn(b.L) {
		return 0, ast.Errorf(pos, "a watermark is the column less a fixed interval: WATERMARK FOR %s AS %s - INTERVAL '4' SECOND", w.Column, w.Column)
	}
	iv, ok := b.R.(*ast.Interval)
	if !ok {
		return 0, ast.Errorf(b.R.Position(), "the delay of a watermark is an interval literal such as INTERVAL '4' SECOND")
	}
	a, err := iv.Amount()
	switch {
	case err != nil:
		return 0, ast.Errorf(iv.Pos, "%w", err)
	case a.YearMonth:
		return 0, ast.Errorf(iv.Pos, "the delay of a watermark must have a fixed length; use days or smaller units")
	case a.Micros < 0 || a.Micros > math.MaxInt64/1000:
		return 0, ast.Errorf(iv.Pos, "the delay of a watermark must not be negative, nor above 292 years")
	}
	return time.Duration(a.Micros) * time.Microsecond, nil
}

// Insert is a bound INSERT: a plan whose columns are those the sink takes.
type Insert struct {
	Target    *TableDef
	Plan      logical.Node
	Overwrite bool
}

// BindInsert binds INSERT INTO: the query, and casts to the target's columns by
// position. Columns that are not named get NULL; computed and VIRTUAL ones are
// not written. A target without declared columns takes the query as it is.
func BindInsert(cat Catalog, in *ast.Insert, opts Options) (*Insert, error) {
	b := newBinder(cat, opts)
	name := dotted(in.Table.Parts)
	rel, err := cat.Relation(name)
	if err != nil {
		return nil, ast.Errorf(in.Table.Pos, "table %q: %w", name, err)
	}
	switch {
	case rel == nil:
		return nil, b.unknownTable(in.Table.Pos, name)
	case rel.Table == nil:
		return nil, ast.Errorf(in.Table.Pos, "%q is a view and cannot be written to", name)
	}
	out := &Insert{Target: rel.Table, Overwrite: in.Overwrite}
	sc, err := b.query(in.Query)
	if err != nil {
		return nil, err
	}
	sc = sc.projected()
	if len(rel.Table.Columns) == 0 {
		if in.Columns != nil {
			return nil, ast.Errorf(in.Columns[0].Pos, "table %q declares no columns that could be named", name)
		}
		out.Plan = sc.node
		return out, nil
	}
	out.Plan, err = assign(in, name, rel.Table, sc)
	return out, err
}

// assign casts the columns of a query to those of a table.
func assign(in *ast.Insert, name string, t *TableDef, sc *scope) (logical.Node, error) {
	from, targets, err := insertColumns(in, name, t)
	if err != nil {
		return nil, err
	}
	if given := len(sc.cols); given != targets {
		return nil, ast.Errorf(in.Query.Pos, "INSERT INTO %s needs %d columns, but the query returns %d", name, targets, given)
	}
	var es []expr.Expr
	var names []string
	for i, c := range t.Columns {
		if c.Virtual {
			continue
		}
		var e expr.Expr = expr.NullOf(c.Type)
		if j := from[i]; j >= 0 {
			if e, err = cast(in.Query.Pos, sc.cols[j].e, c.Type, false); err != nil {
				return nil, ast.Errorf(in.Query.Pos, "column %q of %s is %s, but the query gives %s", c.Name, name,
					expr.TypeName(c.Type), expr.TypeName(sc.cols[j].e.Type()))
			}
		} else if !c.Null {
			return nil, ast.Errorf(in.Columns[0].Pos, "column %q of %s is NOT NULL and must be given", c.Name, name)
		}
		es, names = append(es, e), append(names, c.Name)
	}
	return project(sc.node, es, names), nil
}

// insertColumns says for each column of the table which column of the query
// fills it (-1 for none), and how many columns the query must have.
func insertColumns(in *ast.Insert, name string, t *TableDef) (from []int, n int, err error) {
	from = make([]int, len(t.Columns))
	for i, c := range t.Columns {
		from[i] = -1
		if in.Columns == nil && !c.Virtual {
			from[i] = n
			n++
		}
	}
	if in.Columns == nil {
		return from, n, nil
	}
	var names []string
	for _, c := range t.Columns {
		if !c.Virtual {
			names = append(names, c.Name)
		}
	}
	for j, id := range in.Columns {
		at := -1
		for i, c := range t.Columns {
			if strings.EqualFold(c.Name, id.Name) {
				at = i
			}
		}
		switch {
		case at < 0:
			e := ast.Errorf(id.Pos, "table %q has no column %q", name, id.Name)
			if near := ast.Nearest(id.Name, names); near != "" {
				return nil, 0, e.WithHint("did you mean %q?", near)
			}
			return nil, 0, e
		case t.Columns[at].Virtual:
			return nil, 0, ast.Errorf(id.Pos, "column %q of %s is computed and cannot be written", id.Name, name)
		case from[at] >= 0:
			return nil, 0, ast.Errorf(id.Pos, "column %q is named twice", id.Name)
		}
		from[at] = j
	}
	return from, len(in.Columns), nil
}
