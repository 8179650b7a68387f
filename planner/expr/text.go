package expr

import (
	"strconv"
	"strings"
)

func (e *Column) String() string  { return e.Name + "#" + strconv.Itoa(e.Index) }
func (e *Param) String() string   { return e.Name }
func (e *Call) String() string    { return text(e) }
func (e *Cast) String() string    { return text(e) }
func (e *Case) String() string    { return text(e) }
func (e *Logical) String() string { return text(e) }
func (e *In) String() string      { return text(e) }
func (e *Field) String() string   { return text(e) }
func (e *Lambda) String() string  { return text(e) }

// text prints e into one buffer: a text made of its parts' texts would be copied once
// for every level, which is the square of the length of a chain of 10,000 links.
func text(e Expr) string {
	var b strings.Builder
	write(&b, e)
	return b.String()
}

func write(b *strings.Builder, e Expr) {
	switch e := e.(type) {
	case *Call:
		writeCall(b, e)
	case *Cast:
		if e.Try {
			b.WriteString("TRY_")
		}
		b.WriteString("CAST(")
		write(b, e.Arg)
		b.WriteString(" AS " + TypeName(e.DT) + ")")
	case *Case:
		b.WriteString("CASE")
		for _, w := range e.Whens {
			b.WriteString(" WHEN ")
			write(b, w.Cond)
			b.WriteString(" THEN ")
			write(b, w.Then)
		}
		b.WriteString(" ELSE ")
		write(b, e.Else)
		b.WriteString(" END")
	case *Logical:
		op := " AND "
		if e.Op == Or {
			op = " OR "
		}
		b.WriteByte('(')
		writeList(b, e.Args, op)
		b.WriteByte(')')
	case *In:
		write(b, e.Arg)
		if e.Negated {
			b.WriteString(" NOT")
		}
		b.WriteString(" IN (")
		writeList(b, e.List, ", ")
		b.WriteByte(')')
	case *Field:
		write(b, e.Arg)
		b.WriteString("." + e.Name)
	case *Lambda:
		b.WriteByte('(')
		writeList(b, e.Params, ", ")
		b.WriteString(") -> ")
		write(b, e.Body)
	default: // a leaf
		b.WriteString(e.String())
	}
}

func writeCall(b *strings.Builder, e *Call) {
	if e.Func.Infix != "" && len(e.Args) == 2 {
		b.WriteByte('(')
		write(b, e.Args[0])
		b.WriteString(" " + e.Func.Infix + " ")
		write(b, e.Args[1])
		b.WriteByte(')')
		return
	}
	b.WriteString(e.Func.Name + "(")
	writeList(b, e.Args, ", ")
	b.WriteByte(')')
}

func writeList[E Expr](b *strings.Builder, es []E, sep string) {
	for i, e := range es {
		if i > 0 {
			b.WriteString(sep)
		}
		write(b, e)
	}
}
