package parser

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// typeNames folds the spellings of a type to one.
var typeNames = map[string]string{
	"BOOLEAN": "BOOLEAN", "BOOL": "BOOLEAN",
	"TINYINT": "TINYINT", "BYTE": "TINYINT", "INT8": "TINYINT",
	"SMALLINT": "SMALLINT", "SHORT": "SMALLINT", "INT16": "SMALLINT",
	"INT": "INT", "INTEGER": "INT", "INT32": "INT",
	"BIGINT": "BIGINT", "LONG": "BIGINT", "INT64": "BIGINT",
	"FLOAT": "FLOAT", "REAL": "FLOAT", "FLOAT32": "FLOAT",
	"DOUBLE": "DOUBLE", "FLOAT64": "DOUBLE",
	"DECIMAL": "DECIMAL", "DEC": "DECIMAL", "NUMERIC": "DECIMAL",
	"STRING": "STRING", "TEXT": "STRING", "VARCHAR": "VARCHAR", "CHAR": "CHAR", "CHARACTER": "CHAR",
	"BINARY": "BINARY", "VARBINARY": "BINARY", "BYTES": "BINARY", "BLOB": "BINARY",
	"DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "TIMESTAMP", "TIMESTAMP_LTZ": "TIMESTAMP",
	"TIMESTAMP_NTZ": "TIMESTAMP_NTZ", "DATETIME": "TIMESTAMP", "TIMESTAMPTZ": "TIMESTAMP",
	"INTERVAL": "INTERVAL", "VOID": "VOID",
	"ARRAY": "ARRAY", "MAP": "MAP", "STRUCT": "STRUCT", "ROW": "STRUCT",
}

// typ reads a type.
func (p *parser) typ() *ast.Type {
	p.enter()
	defer p.leave()
	t := p.tok()
	name, ok := typeNames[t.word]
	if t.kind != tokWord || !ok {
		p.failType(t)
	}
	p.advance()
	out := &ast.Type{Pos: t.pos, Name: name}
	switch name {
	case "ARRAY":
		p.expect("<")
		out.Elem = p.typ()
		p.closeAngle()
	case "MAP":
		p.expect("<")
		out.Key = p.typ()
		p.expect(",")
		out.Elem = p.typ()
		p.closeAngle()
	case "STRUCT":
		p.structFields(out)
	case "INTERVAL":
		p.intervalType(out)
	default:
		p.typeArgs(out)
	}
	for n := 1; p.accept("ARRAY"); n++ { // Flink's INT ARRAY
		if p.depth+n > MaxDepth {
			p.failf(p.pos(), "nested too deeply: more than %d levels", MaxDepth)
		}
		out = &ast.Type{Pos: t.pos, Name: "ARRAY", Elem: out}
	}
	return out
}

func (p *parser) failType(t *token) {
	err := ast.Errorf(t.pos, "expected a type, found %s", describe(t))
	names := []string{"BIGINT", "BOOLEAN", "INT", "DOUBLE", "FLOAT", "DECIMAL", "STRING", "VARCHAR", "BINARY", "DATE",
		"TIMESTAMP", "TIMESTAMP_NTZ", "INTERVAL", "ARRAY", "MAP", "STRUCT", "SMALLINT", "TINYINT", "INTEGER"}
	if near := ast.Nearest(t.text, names); t.kind == tokWord && near != "" {
		err.WithHint("did you mean %s?", near)
	}
	panic(bail{err})
}

// typeArgs reads (p), (p, s) and the words behind a timestamp.
func (p *parser) typeArgs(out *ast.Type) {
	if out.Name == "DOUBLE" {
		p.accept("PRECISION")
	}
	if p.tok().is("(") && (out.Name == "DECIMAL" || out.Name == "VARCHAR" || out.Name == "CHAR" || out.Name == "TIME" ||
		out.Name == "TIMESTAMP" || out.Name == "TIMESTAMP_NTZ" || out.Name == "BINARY" || out.Name == "STRING") {
		p.advance()
		out.Args = append(out.Args, p.number("a whole number"))
		if out.Name == "DECIMAL" && p.accept(",") {
			out.Args = append(out.Args, p.number("a whole number"))
		}
		p.expect(")")
	}
	if out.Name != "TIMESTAMP" {
		return
	}
	switch {
	case p.accept("WITHOUT", "TIME", "ZONE"):
		out.Name = "TIMESTAMP_NTZ"
	case p.accept("WITH", "LOCAL", "TIME", "ZONE"), p.accept("WITH", "TIME", "ZONE"):
	}
}

// structFields reads <a: INT NOT NULL, b INT COMMENT 'x'>, or Flink's (..).
func (p *parser) structFields(out *ast.Type) {
	if p.accept("<>") {
		return
	}
	paren := p.accept("(")
	if !paren {
		p.expect("<")
	}
	if paren && p.accept(")") || !paren && p.at(">") && p.accept(">") {
		return
	}
	for {
		f := ast.TypeField{Pos: p.pos(), Name: p.anyIdent("a field name")}
		if t := p.tok(); t.kind == tokParam { // a :INT reads as a parameter
			t.kind, t.word = tokWord, upper(t.text)
		} else {
			p.accept(":")
		}
		f.Type = p.typ()
		f.NotNull = p.nullability()
		if p.accept("COMMENT") {
			f.Comment = p.str()
		}
		out.Fields = append(out.Fields, f)
		if !p.accept(",") {
			break
		}
	}
	if paren {
		p.expect(")")
	} else {
		p.closeAngle()
	}
}

// nullability reads NOT NULL (true) or NULL.
func (p *parser) nullability() bool {
	if p.accept("NOT", "NULL") {
		return true
	}
	p.accept("NULL")
	return false
}

// closeAngle steps over one >, cutting it off >> and >>> where types nest.
func (p *parser) closeAngle() {
	t := p.tok()
	if t.kind == tokOp && len(t.text) > 1 && strings.Trim(t.text, ">") == "" {
		t.text = t.text[1:]
		t.pos.Offset++
		t.pos.Col++
		return
	}
	p.expect(">")
}

// intervalType reads INTERVAL [unit [(p)] [TO unit [(p)]]].
func (p *parser) intervalType(out *ast.Type) {
	unit := func() string {
		u, ok := ast.Unit(p.tok().word, false)
		if !ok {
			return ""
		}
		switch u {
		case "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND":
		default:
			p.failf(p.pos(), "INTERVAL %s is not a type; use YEAR, MONTH, DAY, HOUR, MINUTE or SECOND", u)
		}
		p.advance()
		if p.accept("(") {
			p.number("a precision")
			p.expect(")")
		}
		return u
	}
	if out.From = unit(); out.From == "" {
		return
	}
	out.To = out.From
	if p.accept("TO") {
		if out.To = unit(); out.To == "" {
			p.fail("MONTH, HOUR, MINUTE or SECOND")
		}
	}
	rank := map[string]int{"YEAR": 0, "MONTH": 1, "DAY": 4, "HOUR": 5, "MINUTE": 6, "SECOND": 7}
	if rank[out.From] > rank[out.To] || (rank[out.From] < 4) != (rank[out.To] < 4) {
		p.failf(out.Pos, "an interval cannot go from %s to %s", out.From, out.To)
	}
}
