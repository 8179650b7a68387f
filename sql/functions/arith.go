package functions

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
)

// operators lists what SQL writes between or before its arguments.
func operators() []*Entry {
	es := []*Entry{
		arith("+", "Sum; also a date or timestamp moved by an interval or days.", "1 + 2", "3"),
		arith("-", "Difference, negation, or the interval between two dates or timestamps.", "5 - 2", "3"),
		arith("*", "Product; also an interval times a number.", "2 * 3", "6"),
		arith("/", "Quotient: of integers a DOUBLE, of decimals a decimal; division by zero is an error.", "7 / 2", "3.5"),
		arith("%", "Remainder with the sign of the dividend.", "-7 % 3", "-1"),
		arith("div", "Whole part of the quotient as BIGINT.", "7 div 2", "3"),
	}
	for _, name := range []string{"add", "subtract", "multiply", "divide", "mod"} {
		sym := map[string]string{"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "mod": "%"}[name]
		if name == "mod" {
			continue
		}
		es = append(es, tryArith("try_"+name, sym))
	}
	es = append(es, tryArith("try_mod", "%"))
	return append(es, comparisons()...)
}

func arith(sym, doc, example, result string) *Entry {
	e := special(sym, "(numeric, numeric) -> numeric", doc, example, result, func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		return bindArith(e, args, false)
	})
	switch sym {
	case "-":
		e.Names = append(e.Names, "negative", "negate")
	case "%":
		e.Names = append(e.Names, "mod")
	}
	return e.op(sym).tight()
}

func tryArith(name, sym string) *Entry {
	ex := map[string][2]string{
		"+": {"try_add(2147483647, 1)", "NULL"}, "-": {"try_subtract(2, 1)", "1"}, "*": {"try_multiply(2, 3)", "6"},
		"/": {"try_divide(1, 0)", "NULL"}, "%": {"try_mod(7, 0)", "NULL"},
	}[sym]
	return special(name, name+"(numeric, numeric) -> numeric", "Like "+sym+", but NULL where that is an error.", ex[0], ex[1],
		func(e *Entry, args []expr.Expr) (expr.Expr, error) {
			if len(args) != 2 {
				return nil, e.mismatch(args)
			}
			op := *e
			op.Names = []string{sym}
			c, err := bindArith(&op, args, true)
			if call, ok := c.(*expr.Call); ok {
				call.Func.Name, call.Func.Infix, call.Null = name, "", true
			}
			return c, err
		})
}

// bindArith resolves an arithmetic operator by the kinds of its arguments.
func bindArith(e *Entry, args []expr.Expr, try bool) (expr.Expr, error) {
	sym := e.Names[0]
	if len(args) == 1 && sym == "-" {
		return bindNegate(e, args[0])
	}
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	l, r := args[0], args[1]
	if isTemporal(l.Type()) || isTemporal(r.Type()) {
		return bindTemporal(e, l, r, try)
	}
	l, r = promoteStrings(l, r)
	lt, rt := l.Type(), r.Type()
	switch {
	case lt.ID() == arrow.NULL && rt.ID() == arrow.NULL:
		lt, rt = expr.TypeDouble, expr.TypeDouble
	case lt.ID() == arrow.NULL:
		lt = rt
	case rt.ID() == arrow.NULL:
		rt = lt
	}
	if !isNumeric(lt) || !isNumeric(rt) {
		return nil, e.mismatch(args)
	}
	l, r = coerce(l, lt), coerce(r, rt)
	if (isDecimal(lt) || isDecimal(rt)) && !isFloat(lt) && !isFloat(rt) {
		return decimalArith(e, l, r, try)
	}
	ct := commonNumeric(lt, rt)
	switch {
	case sym == "/":
		ct = expr.TypeDouble
	case sym == "div" && isInt(ct):
		ct = expr.TypeInt64
	case sym == "div":
		return nil, e.mismatch(args)
	}
	k := arithKernel(sym, ct, try)
	call := e.newCall(k, []expr.Expr{coerce(l, ct), coerce(r, ct)}, ct)
	call.Func.Total = isFloat(ct) && (sym == "+" || sym == "-" || sym == "*")
	return call, nil
}

// promoteStrings turns a string beside a number into a number.
func promoteStrings(l, r expr.Expr) (expr.Expr, expr.Expr) {
	ls, rs := l.Type().ID() == arrow.STRING, r.Type().ID() == arrow.STRING
	switch {
	case ls && rs:
		return coerce(l, expr.TypeDouble), coerce(r, expr.TypeDouble)
	case ls && isNumeric(r.Type()):
		return coerce(l, commonString(r.Type())), r
	case rs && isNumeric(l.Type()):
		return l, coerce(r, commonString(l.Type()))
	case ls:
		return coerce(l, expr.TypeDouble), r
	case rs:
		return l, coerce(r, expr.TypeDouble)
	}
	return l, r
}

// decimalArith computes on decimals of the arguments' own scales; an integer
// counts as a decimal of its digits.
func decimalArith(e *Entry, l, r expr.Expr, try bool) (expr.Expr, error) {
	lt, _ := decimalOf(l)
	rt, _ := decimalOf(r)
	sym := e.Names[0]
	args := []expr.Expr{coerce(l, lt.Arrow()), coerce(r, rt.Arrow())}
	if sym == "div" {
		return e.newCall(decimalQuo(lt, rt), args, expr.TypeInt64), nil
	}
	var res dec.Type
	switch sym {
	case "+", "-":
		res = dec.Add(lt, rt)
	case "*":
		res = dec.Mul(lt, rt)
	case "/":
		res = dec.Div(lt, rt)
	default:
		res = dec.Mod(lt, rt)
	}
	if sym == "+" || sym == "-" {
		args[0], lt = alignLiteral(args[0], lt, rt.S)
		args[1], rt = alignLiteral(args[1], rt, lt.S)
	}
	return e.newCall(decimalKernel(sym, lt, rt, res, try), args, res.Arrow()), nil
}

// alignLiteral gives a constant the scale of what it is added to, once instead
// of in every row.
func alignLiteral(e expr.Expr, t dec.Type, scale int32) (expr.Expr, dec.Type) {
	l, ok := e.(*expr.Literal)
	wide := dec.Type{P: t.P + scale - t.S, S: scale}
	if !ok || scale <= t.S || wide.P > dec.MaxPrecision {
		return e, t
	}
	c, ok := coerce(l, wide.Arrow()).(*expr.Literal)
	if !ok {
		return e, t
	}
	return c, wide
}

func bindNegate(e *Entry, a expr.Expr) (expr.Expr, error) {
	switch dt := a.Type(); {
	case dt.ID() == arrow.STRING, dt.ID() == arrow.NULL:
		return bindNegate(e, coerce(a, expr.TypeDouble))
	case isNumeric(dt), dt.ID() == arrow.DURATION, dt.ID() == arrow.INTERVAL_MONTHS:
		if l, ok := a.(*expr.Literal); ok {
			if v, ok := l.Value.(int64); ok && v > 0 {
				return &expr.Literal{Value: -v, DT: dt}, nil
			}
		}
		c := e.newCall(negateKernel(dt), []expr.Expr{a}, dt)
		c.Func.Name, c.Func.Infix = "negative", ""
		return c, nil
	}
	return nil, e.mismatch([]expr.Expr{a})
}
