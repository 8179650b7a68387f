package ast

// CreateFunction is a function whose body is SQL: an expression, or a query for a
// table function.
type CreateFunction struct {
	Pos
	OrReplace   bool
	Temporary   bool
	IfNotExists bool
	Name        Name
	Params      []FunctionParam
	Returns     *Type // nil: the body's
	Table       bool
	Columns     []FunctionParam // of a table function, if they are named
	Comment     string
	Body        Expr   // of a scalar function
	Query       *Query // of a table function
}

// FunctionParam is a parameter, or a column of a table function.
type FunctionParam struct {
	Name    Ident
	Type    *Type // nil: the argument's
	Default Expr
	Comment string
}

// DeclareVariable is DECLARE VARIABLE a, b INT DEFAULT 1.
type DeclareVariable struct {
	Pos
	OrReplace bool
	Names     []Name
	Type      *Type
	Default   Expr
}

// SetVariable is SET VAR a = 1, b = 2 or SET VAR (a, b) = (query).
type SetVariable struct {
	Pos
	Names  []Name
	Values []Expr // one for each name; nil for DEFAULT
	Query  *Query
}

// ExecuteImmediate executes a text that is computed.
type ExecuteImmediate struct {
	Pos
	Text  Expr
	Into  []Name
	Using []Expr
}

func (*CreateFunction) node()   {}
func (*DeclareVariable) node()  {}
func (*SetVariable) node()      {}
func (*ExecuteImmediate) node() {}

func (*CreateFunction) stmt()   {}
func (*DeclareVariable) stmt()  {}
func (*SetVariable) stmt()      {}
func (*ExecuteImmediate) stmt() {}

// definition prints functions and variables; false for other statements.
func (p *printer) definition(s Stmt) bool {
	switch s := s.(type) {
	case *CreateFunction:
		p.createFunction(s)
	case *DeclareVariable:
		p.w("DECLARE ")
		p.flag(s.OrReplace, "OR REPLACE ")
		p.w("VARIABLE ")
		p.names(s.Names)
		if s.Type != nil {
			p.w(" ")
			p.typ(s.Type)
		}
		if s.Default != nil {
			p.w(" DEFAULT ")
			p.expr(s.Default)
		}
	case *SetVariable:
		p.w("SET VARIABLE ")
		if s.Query != nil {
			p.w("(")
			p.names(s.Names)
			p.w(") = (")
			p.query(s.Query)
			p.w(")")
			return true
		}
		for i, n := range s.Names {
			p.flag(i > 0, ", ")
			p.name(n)
			p.w(" = ")
			if s.Values[i] == nil {
				p.w("DEFAULT")
				continue
			}
			p.expr(s.Values[i])
		}
	case *ExecuteImmediate:
		p.w("EXECUTE IMMEDIATE ")
		p.expr(s.Text)
		if s.Into != nil {
			p.w(" INTO ")
			p.names(s.Into)
		}
		for i, u := range s.Using {
			p.w([]string{" USING ", ", "}[min(i, 1)])
			p.expr(u)
		}
	default:
		return false
	}
	return true
}

func (p *printer) names(ns []Name) {
	for i, n := range ns {
		p.flag(i > 0, ", ")
		p.name(n)
	}
}

func (p *printer) createFunction(s *CreateFunction) {
	p.w("CREATE ")
	p.flag(s.OrReplace, "OR REPLACE ")
	p.flag(s.Temporary, "TEMPORARY ")
	p.w("FUNCTION ")
	p.flag(s.IfNotExists, "IF NOT EXISTS ")
	p.name(s.Name)
	p.params(s.Params)
	switch {
	case s.Table:
		p.w(" RETURNS TABLE")
		if s.Columns != nil {
			p.w(" ")
			p.params(s.Columns)
		}
	case s.Returns != nil:
		p.w(" RETURNS ")
		p.typ(s.Returns)
	}
	p.comment(s.Comment)
	p.w(" RETURN ")
	if s.Query != nil {
		p.query(s.Query)
		return
	}
	p.expr(s.Body)
}

func (p *printer) params(list []FunctionParam) {
	p.w("(")
	for i, f := range list {
		p.flag(i > 0, ", ")
		p.ident(f.Name)
		if f.Type != nil {
			p.w(" ")
			p.typ(f.Type)
		}
		if f.Default != nil {
			p.w(" DEFAULT ")
			p.expr(f.Default)
		}
		p.comment(f.Comment)
	}
	p.w(")")
}
