package functions_test

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/sql/functions"
)

// parser reads the small SQL of the registry's examples. The real front end
// imports this package, so the examples cannot use it.
type parser struct {
	toks []string
	pos  int
	cols map[string]expr.Expr
	next int // lambda parameter ids
}

func parseExpr(sql string, cols map[string]expr.Expr) (e expr.Expr, err error) {
	defer func() {
		if r := recover(); r != nil {
			pe, ok := r.(parseError)
			if !ok {
				panic(r)
			}
			e, err = nil, pe.err
		}
	}()
	p := &parser{toks: lex(sql), cols: cols}
	e = p.expr(0)
	if p.pos < len(p.toks) {
		p.fail("unexpected %q", p.toks[p.pos])
	}
	return e, nil
}

type parseError struct{ err error }

func (p *parser) fail(format string, args ...any) { panic(parseError{fmt.Errorf(format, args...)}) }

func lex(s string) []string {
	var out []string
	for i := 0; i < len(s); {
		c := s[i]
		j := i + 1
		switch {
		case c == ' ' || c == '\n':
			i++
			continue
		case c == '\'':
			for j < len(s) && (s[j] != '\'' || j+1 < len(s) && s[j+1] == '\'') {
				if s[j] == '\'' {
					j++
				}
				j++
			}
			j++
		case unicode.IsLetter(rune(c)) || c == '_':
			for j < len(s) && (unicode.IsLetter(rune(s[j])) || unicode.IsDigit(rune(s[j])) || s[j] == '_') {
				j++
			}
		case c >= '0' && c <= '9':
			for j < len(s) && (s[j] >= '0' && s[j] <= '9' || s[j] == '.' || s[j] == 'e' || s[j] == 'E' || s[j] == 'L' ||
				(s[j] == '-' || s[j] == '+') && (s[j-1] == 'e' || s[j-1] == 'E')) {
				j++
			}
		default:
			for _, op := range []string{"<=>", ">>>", "<>", "<=", ">=", "!=", "==", "||", "::", "->", "<<", ">>"} {
				if strings.HasPrefix(s[i:], op) {
					j = i + len(op)
					break
				}
			}
		}
		out = append(out, s[i:j])
		i = j
	}
	return out
}

func (p *parser) peek() string {
	if p.pos < len(p.toks) {
		return p.toks[p.pos]
	}
	return ""
}

func (p *parser) is(word string) bool {
	if strings.EqualFold(p.peek(), word) {
		p.pos++
		return true
	}
	return false
}

func (p *parser) want(word string) {
	if !p.is(word) {
		p.fail("wanted %q, found %q", word, p.peek())
	}
}

var levels = map[string]int{
	"or": 1, "and": 2, "=": 4, "==": 4, "<>": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "<=>": 4,
	"like": 4, "ilike": 4, "rlike": 4, "in": 4, "is": 4, "|": 5, "^": 6, "&": 7, "<<": 8, ">>": 8, ">>>": 8,
	"||": 9, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10, "div": 10, "[": 12,
}

func (p *parser) call(name string, args ...expr.Expr) expr.Expr {
	e, err := functions.Scalar(name, args)
	if err != nil {
		panic(parseError{err})
	}
	return e
}

func (p *parser) expr(min int) expr.Expr {
	var l expr.Expr
	switch {
	case p.is("not"):
		l = p.call("not", p.expr(3))
	case p.is("-"):
		l = p.call("-", p.expr(11))
	case p.is("~"):
		l = p.call("~", p.expr(11))
	default:
		l = p.primary()
	}
	for {
		op := strings.ToLower(p.peek())
		lv, ok := levels[op]
		if !ok || lv < min {
			return l
		}
		p.pos++
		switch op {
		case "is":
			not := p.is("not")
			name := "is_" + strings.ToLower(p.toks[p.pos])
			if not {
				name = "is_not_" + strings.ToLower(p.toks[p.pos])
			}
			p.pos++
			l = p.call(name, l)
		case "in":
			p.want("(")
			l = p.must(functions.NewIn(l, p.list(")"), false))
		case "[":
			i := p.expr(0)
			p.want("]")
			l = p.call("[]", l, i)
		default:
			l = p.call(op, l, p.expr(lv+1))
		}
	}
}

func (p *parser) must(e expr.Expr, err error) expr.Expr {
	if err != nil {
		panic(parseError{err})
	}
	return e
}

func (p *parser) list(end string) []expr.Expr {
	var out []expr.Expr
	for !p.is(end) {
		if len(out) > 0 {
			p.want(",")
		}
		out = append(out, p.expr(0))
	}
	return out
}

func unquote(s string) string {
	return strings.ReplaceAll(s[1:len(s)-1], "''", "'")
}

func (p *parser) primary() expr.Expr {
	t := p.peek()
	if t == "" {
		p.fail("unexpected end")
	}
	p.pos++
	switch c := t[0]; {
	case t == "(":
		e := p.expr(0)
		p.want(")")
		return e
	case c == '\'':
		return expr.Text(unquote(t))
	case c >= '0' && c <= '9':
		return number(t)
	}
	next := p.peek()
	quoted := next != "" && next[0] == '\''
	switch word := strings.ToLower(t); {
	case word == "null":
		return expr.NullOf(expr.TypeNull)
	case word == "true" || word == "false":
		return expr.Bool(word == "true")
	case (word == "date" || word == "timestamp" || word == "timestamp_ntz") && quoted:
		p.pos++
		return p.must(functions.NewCast(expr.Text(unquote(next)), typeOf(word), false))
	case word == "x" && quoted:
		p.pos++
		b, err := hex.DecodeString(unquote(next))
		return p.must(&expr.Literal{Value: b, DT: expr.TypeBinary}, err)
	case word == "interval":
		return p.interval()
	case word == "cast" || word == "try_cast":
		return p.cast(word == "try_cast")
	case word == "case":
		return p.caseWhen()
	case word == "extract":
		p.want("(")
		f := p.toks[p.pos]
		p.pos++
		p.want("from")
		e := p.expr(0)
		p.want(")")
		return p.call("date_part", expr.Text(f), e)
	case p.is("("):
		return p.function(word)
	case p.cols[word] != nil:
		return p.cols[word]
	}
	p.fail("unknown word %q", t)
	return nil
}

func number(t string) expr.Expr {
	if strings.HasSuffix(t, "L") {
		v, _ := strconv.ParseInt(t[:len(t)-1], 10, 64)
		return expr.Int64(v)
	}
	if strings.ContainsAny(t, "eE") {
		f, _ := strconv.ParseFloat(t, 64)
		return &expr.Literal{Value: f, DT: expr.TypeDouble}
	}
	if whole, frac, ok := strings.Cut(t, "."); ok {
		whole = strings.TrimLeft(whole, "0")
		dt := dec.Type{P: int32(max(len(whole)+len(frac), 1)), S: int32(len(frac))}
		v, _, _ := dec.Parse(t, dt)
		return &expr.Literal{Value: v, DT: dt.Arrow()}
	}
	v, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		dt := dec.Type{P: int32(len(t))}
		d, _, _ := dec.Parse(t, dt)
		return &expr.Literal{Value: d, DT: dt.Arrow()}
	}
	if v == int64(int32(v)) {
		return &expr.Literal{Value: v, DT: expr.TypeInt32}
	}
	return expr.Int64(v)
}

func (p *parser) interval() expr.Expr {
	v, err := strconv.ParseInt(unquote(p.toks[p.pos]), 10, 64)
	if err != nil {
		p.fail("interval: %v", err)
	}
	unit := strings.ToLower(p.toks[p.pos+1])
	p.pos += 2
	us := map[string]int64{"second": civil.Second, "minute": civil.Minute, "hour": civil.Hour, "day": civil.Day}[strings.TrimSuffix(unit, "s")]
	if us > 0 {
		return &expr.Literal{Value: v * us, DT: expr.TypeDuration}
	}
	if strings.HasPrefix(unit, "year") {
		v *= 12
	}
	return &expr.Literal{Value: v, DT: expr.TypeMonths}
}

func typeOf(s string) arrow.DataType {
	switch s {
	case "int":
		return expr.TypeInt32
	case "bigint":
		return expr.TypeInt64
	case "smallint":
		return expr.TypeInt16
	case "tinyint":
		return expr.TypeInt8
	case "double":
		return expr.TypeDouble
	case "float":
		return expr.TypeFloat
	case "string":
		return expr.TypeString
	case "boolean":
		return expr.TypeBool
	case "binary":
		return expr.TypeBinary
	case "date":
		return expr.TypeDate
	case "timestamp":
		return expr.TypeTimestamp
	case "timestamp_ntz":
		return expr.TypeLocalTime
	case "time":
		return expr.TypeTime
	}
	return nil
}

func (p *parser) cast(try bool) expr.Expr {
	p.want("(")
	e := p.expr(0)
	p.want("as")
	name := strings.ToLower(p.toks[p.pos])
	p.pos++
	dt := typeOf(name)
	if name == "decimal" {
		p.want("(")
		pr, _ := strconv.Atoi(p.toks[p.pos])
		sc, _ := strconv.Atoi(p.toks[p.pos+2])
		p.pos += 3
		p.want(")")
		dt = expr.Decimal(int32(pr), int32(sc))
	}
	p.want(")")
	if dt == nil {
		p.fail("unknown type %q", name)
	}
	return p.must(functions.NewCast(e, dt, try))
}

func (p *parser) caseWhen() expr.Expr {
	var whens []expr.When
	for p.is("when") {
		c := p.expr(0)
		p.want("then")
		whens = append(whens, expr.When{Cond: c, Then: p.expr(0)})
	}
	var els expr.Expr
	if p.is("else") {
		els = p.expr(0)
	}
	p.want("end")
	return p.must(functions.NewCase(whens, els))
}

// function reads a call's arguments; lambdas learn their parameters' types from
// the arguments before them.
func (p *parser) function(name string) expr.Expr {
	var args []expr.Expr
	for !p.is(")") {
		if len(args) > 0 {
			p.want(",")
		}
		if names, ok := p.lambdaHead(); ok {
			args = append(args, p.lambda(name, args, names))
			continue
		}
		args = append(args, p.expr(0))
	}
	return p.call(name, args...)
}

// lambdaHead reads x -> or (x, y) -> if that is what comes.
func (p *parser) lambdaHead() ([]string, bool) {
	at := p.pos
	var names []string
	if p.is("(") {
		for p.peek() != "" && !p.is(")") {
			if len(names) > 0 && !p.is(",") {
				break
			}
			names = append(names, p.peek())
			p.pos++
		}
	} else {
		names = append(names, p.peek())
		p.pos++
	}
	if p.is("->") {
		return names, true
	}
	p.pos = at
	return nil, false
}

func (p *parser) lambda(name string, args []expr.Expr, names []string) expr.Expr {
	types, err := functions.LambdaParams(name, args, len(names))
	if err != nil {
		panic(parseError{err})
	}
	l := &expr.Lambda{}
	saved := map[string]expr.Expr{}
	for i, n := range names {
		p.next++
		prm := &expr.Param{ID: p.next, Name: n, DT: types[i], Null: true}
		l.Params = append(l.Params, prm)
		saved[n] = p.cols[n]
		if p.cols == nil {
			p.cols = map[string]expr.Expr{}
		}
		p.cols[n] = prm
	}
	l.Body = p.expr(0)
	for n, e := range saved {
		if e == nil {
			delete(p.cols, n)
		} else {
			p.cols[n] = e
		}
	}
	return l
}
