package ast

// Stmt is one statement of a script.
type Stmt interface {
	Node
	stmt()
}

// Option is 'key' = 'value'.
type Option struct {
	Pos
	Key      string
	Value    string
	ValuePos Pos
}

// QueryStmt is a query on its own.
type QueryStmt struct {
	Pos
	Query *Query
}

// ColumnDef is one column of CREATE TABLE. At most one of Computed and
// Metadata is set.
type ColumnDef struct {
	Pos
	Name     Ident
	Type     *Type // nil for a computed column without one
	NotNull  bool
	Computed Expr
	Metadata *Metadata
	Default  Expr
	Comment  string
}

// Metadata is METADATA [FROM 'key'] [VIRTUAL].
type Metadata struct {
	Pos
	Key     string // empty: the column's own name
	Virtual bool
}

// WatermarkDef is WATERMARK FOR c AS expr.
type WatermarkDef struct {
	Pos
	Column Name
	Expr   Expr
}

// CreateTable declares a table; with Query it is CREATE TABLE AS SELECT, with
// Like it copies another one.
type CreateTable struct {
	Pos
	OrReplace    bool
	Temporary    bool
	IfNotExists  bool
	Name         Name
	Columns      []ColumnDef
	Watermark    *WatermarkDef
	PrimaryKey   []Ident
	NotEnforced  bool
	Comment      string
	PartitionBy  []Ident
	Using        string // Spark's USING format
	Options      []Option
	Like         *Name
	LikeOptions  []string // INCLUDING ALL, EXCLUDING OPTIONS, ..
	Query        *Query
	PrimaryKeyAt Pos
}

// CreateView is a view or a materialized view.
type CreateView struct {
	Pos
	OrReplace    bool
	Temporary    bool
	Materialized bool
	IfNotExists  bool
	Name         Name
	Columns      []ViewColumn
	Comment      string
	Options      []Option
	Query        *Query
}

// ViewColumn renames an output column of a view.
type ViewColumn struct {
	Name    Ident
	Comment string
}

// Trigger says when a streaming query runs. Kind is EVERY, IMMEDIATE,
// AVAILABLE NOW, ONCE, CRON or LATENCY; Value is the text in quotes.
type Trigger struct {
	Pos
	Kind     string
	Value    string
	ValuePos Pos
}

// Late says what becomes of late rows. Kind is DROP, INTO or RESTATE.
type Late struct {
	Pos
	Kind  string
	Into  *Name
	Until Expr
}

// Emit says when results leave. Kind is ON WINDOW CLOSE, ON UPDATE, CHANGES,
// EVERY or ROWS; Every is the length of time or the number of rows.
type Emit struct {
	Pos
	Kind  string
	Every Expr
}

// StreamingClauses are what CREATE and ALTER STREAMING QUERY share.
type StreamingClauses struct {
	Trigger       *Trigger
	OutputMode    string // upper case: APPEND, UPDATE, COMPLETE, CHANGELOG, or empty
	OutputModeAt  Pos
	Checkpoint    string
	CheckpointAt  Pos
	From          *FromCheckpoint
	Late          *Late
	Emit          *Emit
	Parallelism   int // zero if not given
	ParallelismAt Pos
	Options       []Option
}

// FromCheckpoint is FROM CHECKPOINT 'dir' [SAVEPOINT 'name']: the first start goes on
// from the state of another query.
type FromCheckpoint struct {
	Pos
	Dir  string
	Name string // of a savepoint; empty for the newest checkpoint
}

// SaveStreamingQuery is SAVE STREAMING QUERY q AS 'name', or with Drop, DROP
// SAVEPOINT 'name' FOR q.
type SaveStreamingQuery struct {
	Pos
	Drop      bool
	IfExists  bool
	Name      Name
	Savepoint string
	NamePos   Pos // of Savepoint
}

// CreateStreamingQuery starts a named query. More than one insert (BEGIN ..
// END) runs as one query with one batch log.
type CreateStreamingQuery struct {
	Pos
	OrReplace   bool
	IfNotExists bool
	Name        Name
	Clauses     StreamingClauses
	Bootstrap   bool // what a changed query lacks is rebuilt
	Inserts     []*Insert
}

// AlterStreamingQuery changes clauses or the inserts of a query.
type AlterStreamingQuery struct {
	Pos
	Name      Name
	Clauses   StreamingClauses
	Bootstrap bool
	Inserts   []*Insert
	Rename    *Name
}

// ControlStreamingQuery is STOP, START or DROP STREAMING QUERY.
type ControlStreamingQuery struct {
	Pos
	Action    string
	IfExists  bool
	Name      Name
	Bootstrap bool
}

// Insert is INSERT INTO or INSERT OVERWRITE.
type Insert struct {
	Pos
	Overwrite bool
	Table     Name
	Columns   []Ident
	Query     *Query
}

// StatementSet is BEGIN insert; insert; END outside a CREATE STREAMING QUERY:
// one query with the defaults.
type StatementSet struct {
	Pos
	Inserts []*Insert
}

// Drop is DROP TABLE, VIEW, MATERIALIZED VIEW, FUNCTION or SCHEMA.
type Drop struct {
	Pos
	Kind     string
	IfExists bool
	Cascade  bool
	Name     Name
}

// Show is SHOW what. What is TABLES, VIEWS, MATERIALIZED VIEWS, STREAMING
// QUERIES, FUNCTIONS, CREATE TABLE, CREATE VIEW, CREATE STREAMING QUERY,
// COLUMNS, VERSIONS, SAVEPOINTS, SETTINGS, SCHEMAS or CATALOGS.
type Show struct {
	Pos
	What string
	Name *Name
	Like string
}

// Describe is DESCRIBE [TABLE|FUNCTION|QUERY] ..
type Describe struct {
	Pos
	What     string // TABLE, FUNCTION, QUERY, STREAMING QUERY
	Extended bool
	Name     *Name
	Query    *Query
}

// Set is SET key = value, SET key (shows it) or SET (shows all).
type Set struct {
	Pos
	Key      string
	Value    string
	HasValue bool
	ValuePos Pos
}

// SetTimeZone is SET TIME ZONE 'zone' or LOCAL.
type SetTimeZone struct {
	Pos
	Zone    string
	ZonePos Pos
}

// Reset is RESET [key].
type Reset struct {
	Pos
	Key string
}

// Explain is EXPLAIN [mode] statement, EXPLAIN (mode, FORMAT JSON) statement, EXPLAIN
// WATERMARK q, or EXPLAIN BATCH q n. Mode is "", ANALYZE, LOGICAL, PHYSICAL,
// EXTENDED, FORMATTED, VERBOSE, STATE, COST, WATERMARK or BATCH; Format is "" for
// text, or JSON.
type Explain struct {
	Pos
	Mode   string
	Format string
	Stmt   Stmt
	Name   *Name
	Batch  int64
}

// AlterRelation is ALTER TABLE|VIEW name RENAME TO new, or ALTER VIEW name AS query.
type AlterRelation struct {
	Pos
	Kind   string // TABLE or VIEW
	Name   Name
	Rename *Name
	Query  *Query
}

// Use is USE [CATALOG|SCHEMA|DATABASE] name.
type Use struct {
	Pos
	Kind string
	Name Name
}

// CreateSchema is CREATE SCHEMA or DATABASE.
type CreateSchema struct {
	Pos
	IfNotExists bool
	Name        Name
	Comment     string
}

// Refresh is REFRESH [MATERIALIZED VIEW|TABLE] name.
type Refresh struct {
	Pos
	Kind string
	Name Name
}

// ReplayQuarantine puts quarantined rows of a query or table through it again.
type ReplayQuarantine struct {
	Pos
	Name  Name
	Where Expr
}

func (*QueryStmt) node()             {}
func (*CreateTable) node()           {}
func (*CreateView) node()            {}
func (*CreateStreamingQuery) node()  {}
func (*AlterStreamingQuery) node()   {}
func (*ControlStreamingQuery) node() {}
func (*SaveStreamingQuery) node()    {}
func (*Insert) node()                {}
func (*StatementSet) node()          {}
func (*Drop) node()                  {}
func (*Show) node()                  {}
func (*Describe) node()              {}
func (*Set) node()                   {}
func (*SetTimeZone) node()           {}
func (*Reset) node()                 {}
func (*Explain) node()               {}
func (*AlterRelation) node()         {}
func (*Use) node()                   {}
func (*CreateSchema) node()          {}
func (*Refresh) node()               {}
func (*ReplayQuarantine) node()      {}

func (*QueryStmt) stmt()             {}
func (*CreateTable) stmt()           {}
func (*CreateView) stmt()            {}
func (*CreateStreamingQuery) stmt()  {}
func (*AlterStreamingQuery) stmt()   {}
func (*ControlStreamingQuery) stmt() {}
func (*SaveStreamingQuery) stmt()    {}
func (*Insert) stmt()                {}
func (*StatementSet) stmt()          {}
func (*Drop) stmt()                  {}
func (*Show) stmt()                  {}
func (*Describe) stmt()              {}
func (*Set) stmt()                   {}
func (*SetTimeZone) stmt()           {}
func (*Reset) stmt()                 {}
func (*Explain) stmt()               {}
func (*AlterRelation) stmt()         {}
func (*Use) stmt()                   {}
func (*CreateSchema) stmt()          {}
func (*Refresh) stmt()               {}
func (*ReplayQuarantine) stmt()      {}
