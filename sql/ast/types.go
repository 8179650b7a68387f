package ast

// Type is a type as the user wrote it, with the name folded to one spelling
// for each meaning (INTEGER is INT, NUMERIC is DECIMAL, ROW is STRUCT). Name is
// upper case. The binder gives it an Arrow type.
type Type struct {
	Pos
	Name   string
	Args   []int // precision, scale or length
	Elem   *Type // of ARRAY, and the value of MAP
	Key    *Type // of MAP
	Fields []TypeField
	// From and To are the units of an INTERVAL type; both are empty for a bare
	// INTERVAL.
	From, To string
}

// TypeField is one field of a STRUCT.
type TypeField struct {
	Pos
	Name    Ident
	Type    *Type
	NotNull bool
	Comment string
}

func (*Type) node() {}
