package functions

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func misc() []*Entry {
	return []*Entry{
		special("typeof", "typeof(any) -> string", "The type of a value.", "typeof(1.5)", "decimal(2,1)", func(e *Entry, args []expr.Expr) (expr.Expr, error) {
			if len(args) != 1 {
				return nil, e.mismatch(args)
			}
			return expr.Text(typeText(args[0].Type())), nil
		}),
		fn("raise_error", "Fails with the given message.", "CASE WHEN true THEN 'ok' ELSE raise_error('never') END", "ok",
			sig("string -> string", k1(func(s string) (string, error) { return "", batch.UserErrorf("[USER_RAISED_EXCEPTION] %s", s) }))),
		fn("assert_true", "NULL where the condition is true, else an error.", "assert_true(1 < 2)", "NULL",
			sigR("boolean, string = 'the condition is not true'", func(*Types) (arrow.DataType, error) { return expr.TypeString, nil },
				k2(func(c bool, msg string) (string, error) {
					if !c {
						return "", batch.UserErrorf("[USER_RAISED_EXCEPTION] %s", msg)
					}
					return "", vec.ErrNull
				}))),
		fn("version", "The engine's name and version of the dialect.", "version()", "Sluice 0.1", sig(" -> string", constant(func(*expr.KernelContext) any { return "Sluice 0.1" }))).safe().tight(),
	}
}

// typeText is the type's name as typeof gives it: in lower case, but for the
// names of fields, and without blanks.
func typeText(dt arrow.DataType) string {
	switch t := dt.(type) {
	case *arrow.ListType:
		return "array<" + typeText(t.Elem()) + ">"
	case *arrow.MapType:
		return "map<" + typeText(t.KeyType()) + "," + typeText(t.ItemType()) + ">"
	case *arrow.StructType:
		parts := make([]string, t.NumFields())
		for i, f := range t.Fields() {
			parts[i] = f.Name + ":" + typeText(f.Type)
		}
		return "struct<" + strings.Join(parts, ",") + ">"
	}
	return strings.ToLower(expr.TypeName(dt))
}

// conversions lists casts that are written as functions.
func conversions() []*Entry {
	var es []*Entry
	for _, c := range []struct {
		name, ex, res string
		dt            arrow.DataType
	}{
		{"boolean", "boolean('true')", "true", expr.TypeBool}, {"tinyint", "tinyint('12')", "12", expr.TypeInt8},
		{"smallint", "smallint('12')", "12", expr.TypeInt16}, {"int", "int('12')", "12", expr.TypeInt32},
		{"bigint", "bigint('12')", "12", expr.TypeInt64}, {"float", "float('1.5')", "1.5", expr.TypeFloat},
		{"double", "double('1.5')", "1.5", expr.TypeDouble}, {"string", "string(12)", "12", expr.TypeString},
		{"binary", "hex(binary('a'))", "61", expr.TypeBinary}, {"timestamp", "timestamp('2024-01-01')", "2024-01-01 00:00:00", expr.TypeTimestamp},
		{"decimal", "decimal('12')", "12", expr.Decimal(10, 0)},
	} {
		es = append(es, special(c.name, c.name+"(any) -> "+c.name, "CAST to "+expr.TypeName(c.dt)+".", c.ex, c.res,
			func(e *Entry, args []expr.Expr) (expr.Expr, error) {
				if len(args) != 1 {
					return nil, e.mismatch(args)
				}
				return NewCast(args[0], c.dt, false)
			}))
	}
	return es
}

// tryKernel makes a strict kernel that gives NULL where another fails: rows are
// tried one at a time after the batch as a whole has failed.
func tryKernel(k expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		if arr, err := k(kc, args, n); err == nil {
			return arr, nil
		}
		if _, err := civil.Load(kc.Zone); err != nil {
			return nil, err // not a fault of a row
		}
		n = vec.Rows(args, n)
		from, pos := make([]int32, n), make([]int32, n)
		parts := []vec.Part{{Arr: vec.NullArray(kc.Alloc, kc.Result, 1), Const: true}}
		defer func() {
			for _, p := range parts {
				p.Arr.Release()
			}
		}()
		for i := range n {
			one := make([]expr.Vec, len(args))
			for a, v := range args {
				s, err := vec.Take(kc.Alloc, v.Arr, []int32{int32(row(v, i))})
				if err != nil {
					return nil, err
				}
				defer s.Release()
				one[a] = expr.Vec{Arr: s, Const: true}
			}
			if arr, err := k(kc, one, 1); err == nil {
				from[i] = int32(len(parts))
				parts = append(parts, vec.Part{Arr: arr, Const: true})
			}
		}
		return vec.Interleave(kc.Alloc, kc.Result, parts, from, pos)
	}
}
