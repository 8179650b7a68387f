package functions

import (
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// schemaDepthMax bounds how deep a type written as text may nest.
const schemaDepthMax = 100

// parseSchema reads a type as text: a type alone, or columns 'a INT, b STRING',
// which are a STRUCT.
func parseSchema(text string) (arrow.DataType, error) {
	p := &schemaText{s: text}
	if dt, err := p.typ(0); err == nil && p.end() {
		return dt, nil
	}
	p = &schemaText{s: text}
	st, err := p.fields("", 0)
	if err == nil && !p.end() {
		err = p.fail()
	}
	return st, err
}

// schemaText reads a type from its text.
type schemaText struct {
	s  string
	at int
}

func (p *schemaText) ws() {
	for p.at < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.at]) >= 0 {
		p.at++
	}
}

func (p *schemaText) end() bool { p.ws(); return p.at == len(p.s) }

func (p *schemaText) fail() error {
	return batch.UserErrorf("[PARSE_SYNTAX_ERROR] the schema '%s' cannot be read at character %d; write it as 'a INT, b ARRAY<STRING>'", p.s, p.at+1)
}

func (p *schemaText) eat(c byte) bool {
	p.ws()
	if p.at < len(p.s) && p.s[p.at] == c {
		p.at++
		return true
	}
	return false
}

// word reads a name, in backquotes if it is no plain one.
func (p *schemaText) word() (string, bool) {
	if p.eat('`') {
		name, rest, ok := strings.Cut(p.s[p.at:], "`")
		p.at = len(p.s) - len(rest)
		return name, ok
	}
	start := p.at
	for p.at < len(p.s) {
		c := p.s[p.at]
		if c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c < 0x80 {
			break
		}
		p.at++
	}
	return p.s[start:p.at], p.at > start
}

// is reads a keyword if it comes next.
func (p *schemaText) is(word string) bool {
	at := p.at
	p.ws()
	if w, ok := p.word(); ok && strings.EqualFold(w, word) {
		return true
	}
	p.at = at
	return false
}

func (p *schemaText) fields(end string, depth int) (arrow.DataType, error) {
	var fields []arrow.Field
	for {
		p.ws()
		if end != "" && len(fields) == 0 && p.eat(end[0]) {
			return arrow.StructOf(), nil
		}
		name, ok := p.word()
		if !ok {
			return nil, p.fail()
		}
		p.eat(':')
		dt, err := p.typ(depth + 1)
		if err != nil {
			return nil, err
		}
		if p.is("NOT") && !p.is("NULL") {
			return nil, p.fail()
		}
		if p.is("COMMENT") && !p.comment() {
			return nil, p.fail()
		}
		fields = append(fields, arrow.Field{Name: name, Type: dt, Nullable: true})
		switch {
		case p.eat(','):
		case end == "" || p.eat(end[0]):
			return arrow.StructOf(fields...), nil
		default:
			return nil, p.fail()
		}
	}
}

func (p *schemaText) comment() bool {
	if !p.eat('\'') {
		return false
	}
	_, rest, ok := strings.Cut(p.s[p.at:], "'")
	p.at = len(p.s) - len(rest)
	return ok
}

var schemaTypes = map[string]arrow.DataType{
	"boolean": expr.TypeBool, "tinyint": expr.TypeInt8, "byte": expr.TypeInt8, "smallint": expr.TypeInt16, "short": expr.TypeInt16,
	"int": expr.TypeInt32, "integer": expr.TypeInt32, "bigint": expr.TypeInt64, "long": expr.TypeInt64, "float": expr.TypeFloat,
	"real": expr.TypeFloat, "double": expr.TypeDouble, "string": expr.TypeString, "varchar": expr.TypeString, "char": expr.TypeString,
	"binary": expr.TypeBinary, "date": expr.TypeDate, "timestamp": expr.TypeTimestamp, "timestamp_ltz": expr.TypeTimestamp,
	"timestamp_ntz": expr.TypeLocalTime, "time": arrow.FixedWidthTypes.Time64us, "void": expr.TypeNull,
}

func (p *schemaText) typ(depth int) (arrow.DataType, error) {
	if depth > schemaDepthMax {
		return nil, batch.UserErrorf("the schema nests deeper than %d levels", schemaDepthMax)
	}
	p.ws()
	w, ok := p.word()
	if !ok {
		return nil, p.fail()
	}
	switch name := strings.ToLower(w); name {
	case "array":
		if !p.eat('<') {
			return nil, p.fail()
		}
		e, err := p.typ(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.eat('>') {
			return nil, p.fail()
		}
		return arrow.ListOf(e), nil
	case "map":
		return p.mapType(depth)
	case "struct":
		if !p.eat('<') {
			return nil, p.fail()
		}
		return p.fields(">", depth)
	case "decimal", "dec", "numeric":
		args, err := p.numbers()
		if err != nil {
			return nil, err
		}
		args = append(args, []int{10, 0}[len(args):]...)
		if args[0] < 1 || args[0] > 38 || args[1] < 0 || args[1] > args[0] {
			return nil, batch.UserErrorf("DECIMAL(%d, %d) is not a type", args[0], args[1])
		}
		return expr.Decimal(int32(args[0]), int32(args[1])), nil
	case "interval":
		return p.interval()
	default:
		dt, ok := schemaTypes[name]
		if !ok {
			return nil, p.fail()
		}
		_, err := p.numbers()
		return dt, err
	}
}

func (p *schemaText) mapType(depth int) (arrow.DataType, error) {
	if !p.eat('<') {
		return nil, p.fail()
	}
	k, err := p.typ(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.eat(',') {
		return nil, p.fail()
	}
	v, err := p.typ(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.eat('>') {
		return nil, p.fail()
	}
	return arrow.MapOf(k, v), nil
}

// numbers reads up to two whole numbers in parentheses.
func (p *schemaText) numbers() ([]int, error) {
	var out []int
	if !p.eat('(') {
		return nil, nil
	}
	for {
		p.ws()
		w, _ := p.word()
		n, err := strconv.Atoi(w)
		if err != nil || len(out) == 2 {
			return nil, p.fail()
		}
		out = append(out, n)
		switch {
		case p.eat(','):
		case p.eat(')'):
			return out, nil
		default:
			return nil, p.fail()
		}
	}
}

func (p *schemaText) interval() (arrow.DataType, error) {
	p.ws()
	from, ok := p.word()
	if !ok {
		return nil, p.fail()
	}
	if p.is("TO") {
		p.ws()
		if _, ok := p.word(); !ok {
			return nil, p.fail()
		}
	}
	switch strings.ToUpper(from) {
	case "YEAR", "MONTH":
		return expr.TypeMonths, nil
	case "DAY", "HOUR", "MINUTE", "SECOND":
		return expr.TypeDuration, nil
	}
	return nil, p.fail()
}

// constantValue computes an argument that must not depend on a row. The caller
// releases the array of one row.
func constantValue(e expr.Expr) (arrow.Array, bool) {
	kc := &expr.KernelContext{Alloc: memory.DefaultAllocator, Result: e.Type(), Zone: "/"}
	switch x := e.(type) {
	case *expr.Literal:
		arr, err := x.Array(kc.Alloc)
		return arr, err == nil
	case *expr.Call:
		if x.Func.Volatility != expr.Immutable {
			return nil, false
		}
		args := make([]expr.Vec, len(x.Args))
		defer func() {
			for _, a := range args {
				if a.Arr != nil {
					a.Arr.Release()
				}
			}
		}()
		for i, a := range x.Args {
			arr, ok := constantValue(a)
			if !ok {
				return nil, false
			}
			args[i] = expr.Vec{Arr: arr, Const: true}
		}
		out, err := x.Func.Kernel(kc, args, 1)
		return out, err == nil
	}
	return nil, false
}

// constantText reads an argument that must be a constant text.
func constantText(e expr.Expr) (string, bool) {
	arr, ok := constantValue(e)
	if !ok {
		return "", false
	}
	defer arr.Release()
	s, ok := arr.(*array.String)
	if !ok || s.Len() == 0 || s.IsNull(0) {
		return "", false
	}
	return strings.Clone(s.Value(0)), true
}

// textOptions are the options of the readers and writers of text, by their name in lower case.
type textOptions map[string]string

// optionsOf reads the constant map of options at an argument, if it is there.
func optionsOf(args []expr.Expr, at int) (textOptions, error) {
	o := textOptions{}
	if at >= len(args) {
		return o, nil
	}
	arr, ok := constantValue(args[at])
	if !ok {
		return nil, batch.UserErrorf("the options must be a constant map of strings")
	}
	defer arr.Release()
	m, ok := arr.(*array.Map)
	if !ok || m.Len() != 1 || m.Keys().DataType().ID() != arrow.STRING || m.Items().DataType().ID() != arrow.STRING {
		return nil, batch.UserErrorf("the options must be a constant map of strings")
	}
	k, v := vec.StringsOf(m.Keys()), vec.StringsOf(m.Items())
	for i := range m.Keys().Len() {
		o[strings.ToLower(k.Str(i))] = strings.Clone(v.Str(i))
	}
	return o, nil
}

// is reports whether an option has a value, whatever its case.
func (o textOptions) is(name, value string) bool { return strings.EqualFold(o[name], value) }
