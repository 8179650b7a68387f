package sql

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Catalog is what the binder needs to know of named things. Names are compared
// without regard to case. It is implemented by the session.
type Catalog interface {
	// Relation returns what a name in FROM or INSERT INTO means, nil if there is none.
	Relation(name string) (*Relation, error)
	// Relations lists all names, for suggestions and SHOW TABLES.
	Relations() []string
	// Scalar and Aggregate apply a function that the user registered, with its
	// arguments cast; nil if there is none of that name. Built-in functions are
	// looked up first. Functions lists the names, for suggestions.
	Scalar(name string, args []expr.Expr) (expr.Expr, error)
	Aggregate(name string, args []expr.Expr) (*expr.AggCall, error)
	Functions() []string
}

// Relation is a table or a view. Exactly one of Table, View and Plan is set, but a
// materialized view has both a Table, of its rows, and a View, its definition.
type Relation struct {
	Name  string
	Table *TableDef
	View  *ViewDef
	Plan  logical.Node // a DataFrame: bound already
}

// Materialized reports whether the relation is a materialized view.
func (r *Relation) Materialized() bool { return r.View != nil && r.View.Materialized }

// ViewDef is a view: its text is bound where it is used.
type ViewDef struct {
	Columns      []string // new names, nil to keep the query's
	Query        *ast.Query
	Text         string // as the user wrote it
	Materialized bool
}

// TableDef is a table of a connector, as CREATE TABLE declared it and with its
// physical columns completed by the connector where the DDL left them out.
type TableDef struct {
	Name      string
	Connector string
	Options   map[string]string
	Columns   []ColumnDef // in declared order
	Physical  *arrow.Schema
	Meta      []logical.Meta // metadata columns of Physical
	Watermark *WatermarkDef
	Keys      []string      // PRIMARY KEY
	Partition []string      // PARTITIONED BY
	Changes   batch.Changes // whether the rows of its source carry a kind of change
	Stream    bool          // as a source it is an unbounded stream in the context of this statement
	Keyed     bool          // as a source it is looked up by key, see logical.Table
	Inferred  bool          // the connector has found the columns, nobody declared them
	Data      any           // rows of a table made in Go
	Text      string        // the CREATE TABLE statement, for SHOW CREATE TABLE
}

// ColumnDef is a column of a table: physical or metadata (Physical >= 0), or computed.
type ColumnDef struct {
	Name     string
	Type     arrow.DataType // nil for a computed column
	Null     bool
	Physical int      // position in TableDef.Physical, -1 for a computed column
	Expr     ast.Expr // of a computed column
	Virtual  bool     // METADATA .. VIRTUAL or computed: not written by INSERT
	Comment  string
}

// WatermarkDef is WATERMARK FOR Column AS Expr.
type WatermarkDef struct {
	Column string
	Expr   ast.Expr // column - interval, or the column itself
}
