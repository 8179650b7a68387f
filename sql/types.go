package sql

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

var simpleTypes = map[string]arrow.DataType{
	"BOOLEAN": expr.TypeBool, "TINYINT": expr.TypeInt8, "SMALLINT": expr.TypeInt16, "INT": expr.TypeInt32,
	"BIGINT": expr.TypeInt64, "FLOAT": expr.TypeFloat, "DOUBLE": expr.TypeDouble, "STRING": expr.TypeString,
	"VARCHAR": expr.TypeString, "CHAR": expr.TypeString, "BINARY": expr.TypeBinary, "DATE": expr.TypeDate,
	"TIMESTAMP": expr.TypeTimestamp, "TIMESTAMP_NTZ": expr.TypeLocalTime, "TIME": expr.TypeTime, "VOID": expr.TypeNull,
}

// TypeOf gives the Arrow type of a type as written. Times are held in
// microseconds whatever their precision; VARCHAR(n) and CHAR(n) are strings
// whose length is not checked.
func TypeOf(t *ast.Type) (arrow.DataType, error) {
	switch t.Name {
	case "DECIMAL":
		return decimalType(t)
	case "INTERVAL":
		return intervalType(t)
	case "ARRAY":
		e, err := TypeOf(t.Elem)
		if err != nil {
			return nil, err
		}
		return arrow.ListOf(e), nil
	case "MAP":
		k, err := TypeOf(t.Key)
		if err != nil {
			return nil, err
		}
		v, err := TypeOf(t.Elem)
		if err != nil {
			return nil, err
		}
		if k.ID() == arrow.MAP {
			return nil, ast.Errorf(t.Key.Pos, "a MAP cannot be the key of a MAP")
		}
		return arrow.MapOf(k, v), nil
	case "STRUCT":
		fields := make([]arrow.Field, len(t.Fields))
		for i, f := range t.Fields {
			ft, err := TypeOf(f.Type)
			if err != nil {
				return nil, err
			}
			fields[i] = arrow.Field{Name: f.Name.Name, Type: ft, Nullable: !f.NotNull}
		}
		return arrow.StructOf(fields...), nil
	}
	dt, ok := simpleTypes[t.Name]
	if !ok {
		return nil, unsupported(t.Pos, "the type "+t.Name)
	}
	if (dt == expr.TypeTimestamp || dt == expr.TypeLocalTime) && len(t.Args) == 1 && t.Args[0] > 9 {
		return nil, ast.Errorf(t.Pos, "the precision of a TIMESTAMP is 0 to 9, found %d", t.Args[0])
	}
	return dt, nil
}

// decimalType checks precision and scale; DECIMAL alone is DECIMAL(10,0), as
// in Spark.
func decimalType(t *ast.Type) (arrow.DataType, error) {
	p, s := 10, 0
	if len(t.Args) > 0 {
		p = t.Args[0]
	}
	if len(t.Args) > 1 {
		s = t.Args[1]
	}
	if p < 1 || p > 38 || s < 0 || s > p {
		return nil, ast.Errorf(t.Pos, "DECIMAL(%d, %d) is not a type: precision is 1 to 38 digits, scale at most the precision", p, s)
	}
	return expr.Decimal(int32(p), int32(s)), nil
}

func intervalType(t *ast.Type) (arrow.DataType, error) {
	switch t.From {
	case "YEAR", "MONTH":
		return expr.TypeMonths, nil
	case "":
		return nil, ast.Errorf(t.Pos, "INTERVAL alone is not a type").WithHint("write INTERVAL DAY TO SECOND or INTERVAL YEAR TO MONTH")
	}
	return expr.TypeDuration, nil
}

// cast binds a conversion with its errors placed.
func cast(pos ast.Pos, e expr.Expr, to arrow.DataType, try bool) (expr.Expr, error) {
	out, err := functions.NewCast(e, to, try)
	return out, at(pos, err)
}
