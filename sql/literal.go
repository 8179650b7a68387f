package sql

import (
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	plancast "github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/sql/ast"
)

// literal gives a constant its type by Spark's rules: a whole number is the
// smallest of INT, BIGINT and DECIMAL that holds it, a fraction is a DECIMAL of
// just its digits, an exponent makes a DOUBLE.
func (b *binder) literal(l *ast.Literal) (expr.Expr, error) {
	switch l.Kind {
	case ast.LitNull:
		return expr.NullOf(expr.TypeNull), nil
	case ast.LitBool:
		return expr.Bool(l.Text == "TRUE"), nil
	case ast.LitString:
		return expr.Text(l.Text), nil
	case ast.LitBinary:
		return &expr.Literal{Value: []byte(l.Text), DT: expr.TypeBinary}, nil
	case ast.LitInt:
		v, err := strconv.ParseInt(l.Text, 10, 64)
		switch {
		case err != nil:
			return decimalLiteral(l)
		case v >= math.MinInt32 && v <= math.MaxInt32:
			return &expr.Literal{Value: v, DT: expr.TypeInt32}, nil
		}
		return expr.Int64(v), nil
	case ast.LitByte:
		return intLiteral(l, 8, expr.TypeInt8)
	case ast.LitShort:
		return intLiteral(l, 16, expr.TypeInt16)
	case ast.LitLong:
		return intLiteral(l, 64, expr.TypeInt64)
	case ast.LitDecimal, ast.LitBigDecimal:
		return decimalLiteral(l)
	case ast.LitFloat, ast.LitDouble:
		return floatLiteral(l)
	default:
		return b.timeLiteral(l)
	}
}

func intLiteral(l *ast.Literal, bits int, dt arrow.DataType) (expr.Expr, error) {
	v, err := strconv.ParseInt(l.Text, 10, bits)
	if err != nil {
		return nil, ast.Errorf(l.Pos, "%s is out of the range of %s", l.Text, expr.TypeName(dt))
	}
	return &expr.Literal{Value: v, DT: dt}, nil
}

func floatLiteral(l *ast.Literal) (expr.Expr, error) {
	bits, dt := 64, arrow.DataType(expr.TypeDouble)
	if l.Kind == ast.LitFloat {
		bits, dt = 32, expr.TypeFloat
	}
	v, err := strconv.ParseFloat(l.Text, bits)
	if err != nil {
		return nil, ast.Errorf(l.Pos, "%s is out of the range of %s", l.Text, expr.TypeName(dt))
	}
	return &expr.Literal{Value: v, DT: dt}, nil
}

// decimalLiteral reads digits, a point and perhaps an exponent exactly.
func decimalLiteral(l *ast.Literal) (expr.Expr, error) {
	text, exp, _ := strings.Cut(l.Text, "E")
	shift := 0
	if exp != "" {
		var err error
		if shift, err = strconv.Atoi(exp); err != nil || shift > 100 || shift < -100 {
			return nil, decimalRange(l)
		}
	}
	neg := strings.HasPrefix(text, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	digits, scale := strings.TrimLeft(whole+frac, "0"), len(frac)-shift
	if scale < 0 {
		digits, scale = digits+strings.Repeat("0", -scale), 0
	}
	if digits == "" {
		digits = "0"
	}
	precision := max(len(digits), scale, 1)
	if precision > 38 {
		return nil, decimalRange(l)
	}
	v, err := decimal128.FromString(digits, int32(precision), 0)
	if err != nil {
		return nil, decimalRange(l)
	}
	if neg {
		v = v.Negate()
	}
	return &expr.Literal{Value: v, DT: expr.Decimal(int32(precision), int32(scale))}, nil
}

func decimalRange(l *ast.Literal) error {
	return ast.Errorf(l.Pos, "%s has more than the 38 digits that a DECIMAL can have", l.Text)
}

// timeLiteral reads DATE '..' and TIMESTAMP '..'. A timestamp without a zone of
// its own is in the session's.
func (b *binder) timeLiteral(l *ast.Literal) (expr.Expr, error) {
	to := map[ast.LitKind]arrow.DataType{
		ast.LitDate: expr.TypeDate, ast.LitTimestamp: expr.TypeTimestamp, ast.LitTimestampLTZ: expr.TypeTimestamp,
		ast.LitTimestampNTZ: expr.TypeLocalTime, ast.LitTime: expr.TypeTime,
	}[l.Kind]
	kc := b.kernelContext()
	v, ok := plancast.Literal(kc, expr.Text(l.Text), to)
	if !ok {
		return nil, ast.Errorf(l.Pos, "'%s' is not a %s", l.Text, expr.TypeName(to))
	}
	return v, nil
}

func (b *binder) kernelContext() *expr.KernelContext {
	zone := b.opts.Zone
	if zone == "" {
		zone = "UTC"
	}
	return &expr.KernelContext{Alloc: memory.DefaultAllocator, Zone: zone}
}

// intervalLiteral makes months or microseconds.
func intervalLiteral(n *ast.Interval) (expr.Expr, error) {
	a, err := n.Amount()
	if err != nil {
		return nil, ast.Errorf(n.Pos, "%w", err)
	}
	if a.YearMonth {
		return &expr.Literal{Value: a.Months, DT: expr.TypeMonths}, nil
	}
	return &expr.Literal{Value: a.Micros, DT: expr.TypeDuration}, nil
}

// fold converts a cast of a constant into a constant, with the session's zone.
func (b *binder) fold(e expr.Expr) expr.Expr {
	c, ok := e.(*expr.Cast)
	if !ok {
		return e
	}
	l, ok := b.fold(c.Arg).(*expr.Literal)
	if !ok {
		return e
	}
	if l.Value == nil {
		return expr.NullOf(c.DT)
	}
	if v, ok := plancast.Literal(b.kernelContext(), l, c.DT); ok {
		return v
	}
	return e
}
