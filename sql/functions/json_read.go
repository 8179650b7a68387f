package functions

import (
	"sort"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// jsonConversions lists functions between JSON text and nested values.
func jsonConversions() []*Entry {
	return []*Entry{
		special("from_json", "from_json(string, string[, map<string,string>]) -> struct, array or map",
			"The value of a JSON text, of a type given as text. What does not fit is NULL; a text that is no JSON gives a STRUCT of NULLs, or an error with the option mode FAILFAST.",
			"from_json('{\"a\": 1, \"b\": 0.5}', 'a INT, b DOUBLE')", "{1, 0.5}", bindFromText("from_json")),
		special("to_json", "to_json(struct, array or map[, map<string,string>]) -> string", "The JSON text of a nested value; NULL fields are left out.",
			"to_json(named_struct('a', 1, 'b', 'x'))", `{"a":1,"b":"x"}`, bindToJSON),
		special("schema_of_json", "schema_of_json(string) -> string", "The type that from_json needs to read a JSON text like a constant one.",
			"schema_of_json('[{\"a\": 1}]')", "ARRAY<STRUCT<a: BIGINT>>", bindSchemaOf(jsonSchema)),
		special("json_tuple", "json_tuple(string, string...)", "The values of several top-level names of a JSON object, as the columns c0, c1 and so on.",
			"json_tuple('{\"a\": 1, \"b\": \"x\"}', 'a', 'b')", "{1, x}", bindJSONTuple),
	}
}

// bindFromText binds from_json or from_csv.
func bindFromText(name string) func(e *Entry, args []expr.Expr) (expr.Expr, error) {
	return func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) < 2 || len(args) > 3 || castCost(args[0], expr.TypeString) >= never {
			return nil, e.mismatch(args)
		}
		text, ok := constantText(args[1])
		if !ok {
			return nil, batch.UserErrorf("%s: the schema must be a constant text", name)
		}
		dt, err := parseSchema(text)
		if err != nil {
			return nil, err
		}
		o, err := optionsOf(args, 2)
		if err != nil {
			return nil, batch.UserErrorf("%s: %w", name, err)
		}
		out := append([]expr.Expr{coerce(args[0], expr.TypeString)}, args[1:]...)
		k := fromJSON
		if name == "from_csv" {
			if dt.ID() != arrow.STRUCT {
				return nil, batch.UserErrorf("from_csv: the schema must be columns such as 'a INT, b STRING'")
			}
			k = fromCSV
		} else if id := dt.ID(); id != arrow.STRUCT && id != arrow.LIST && id != arrow.MAP {
			dt = arrow.StructOf(arrow.Field{Name: "value", Type: dt, Nullable: true})
		}
		return e.newCall(k(o), out, dt), nil
	}
}

// fromText makes the kernel of a reader of one text per row.
func fromText(o textOptions, read func(r *valueReader, b array.Builder, s string) (ok bool)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		r, err := newValueReader(kc.Zone, o)
		if err != nil {
			return nil, err
		}
		texts := vec.StringsOf(args[0].Arr)
		b := array.NewBuilder(kc.Alloc, kc.Result)
		defer b.Release()
		b.Reserve(n)
		for i := range n {
			at := row(args[0], i)
			if vec.IsNull(args[0].Arr, at) {
				b.AppendNull()
				continue
			}
			if s := texts.Str(at); !read(r, b, s) {
				if o.is("mode", "FAILFAST") {
					return nil, batch.UserErrorf("[MALFORMED_RECORD_IN_PARSING] '%s' cannot be read; without the option mode FAILFAST its fields are NULL", short(s))
				}
				appendMalformed(b, s)
			}
		}
		return b.NewArray(), nil
	}
}

func short(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:77], "") + "..."
	}
	return s
}

// appendMalformed appends what a text that cannot be read is: a struct of NULLs
// with the text in _corrupt_record if there is such a field, or NULL.
func appendMalformed(b array.Builder, s string) {
	st, ok := b.(*array.StructBuilder)
	if !ok {
		b.AppendNull()
		return
	}
	st.Append(true)
	for i, f := range st.Type().(*arrow.StructType).Fields() {
		if sb, ok := st.FieldBuilder(i).(*array.StringBuilder); ok && f.Name == "_corrupt_record" {
			sb.Append(s)
			continue
		}
		st.FieldBuilder(i).AppendNull()
	}
}

func fromJSON(o textOptions) expr.Kernel {
	zeros := o.is("allownumericleadingzeros", "true")
	return fromText(o, func(r *valueReader, b array.Builder, s string) bool {
		j := jsonText{s: s, zeros: zeros}
		c := j.kind()
		if c == 0 {
			b.AppendNull()
			return true
		}
		if whole := j; !whole.skip() || whole.kind() != 0 {
			return false
		}
		switch b := b.(type) {
		case *array.ListBuilder:
			if _, ok := b.ValueBuilder().(*array.StructBuilder); ok && c == '{' {
				b.Append(true) // one object is an array of one
				return r.json(b.ValueBuilder(), &j)
			}
			return c == '[' && r.json(b, &j)
		case *array.MapBuilder, *array.StructBuilder:
			return c == '{' && r.json(b, &j)
		}
		return r.json(b, &j)
	})
}

func bindSchemaOf(f func(text string, o textOptions) (arrow.DataType, bool)) func(e *Entry, args []expr.Expr) (expr.Expr, error) {
	return func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) < 1 || len(args) > 2 {
			return nil, e.mismatch(args)
		}
		text, ok := constantText(args[0])
		if !ok {
			return nil, batch.UserErrorf("%s needs a constant text", e.Name())
		}
		o, err := optionsOf(args, 1)
		if err != nil {
			return nil, batch.UserErrorf("%s: %w", e.Name(), err)
		}
		dt, ok := f(text, o)
		if !ok {
			return nil, batch.UserErrorf("%s: '%s' cannot be read", e.Name(), short(text))
		}
		return expr.Text(expr.TypeName(dt)), nil
	}
}

func jsonSchema(text string, o textOptions) (arrow.DataType, bool) {
	j := jsonText{s: text, zeros: o.is("allownumericleadingzeros", "true")}
	dt, ok := j.schema()
	return dt, ok && j.kind() == 0
}

// schema infers the type of the value that comes next. Fields are in the order of their names, as in Spark.
func (j *jsonText) schema() (arrow.DataType, bool) {
	switch j.kind() {
	case '{':
		var fields []arrow.Field
		ok := j.object(func(name string) bool {
			dt, ok := j.schema()
			if dt != nil && dt.ID() == arrow.NULL {
				dt = expr.TypeString
			}
			fields = append(fields, arrow.Field{Name: name, Type: dt, Nullable: true})
			return ok
		})
		sort.SliceStable(fields, func(a, b int) bool { return fields[a].Name < fields[b].Name })
		return arrow.StructOf(fields...), ok
	case '[':
		elem := arrow.DataType(expr.TypeNull)
		ok := j.array(func() bool {
			dt, ok := j.schema()
			if ok {
				elem = mergeSchema(elem, dt)
			}
			return ok
		})
		if elem.ID() == arrow.NULL {
			elem = expr.TypeString
		}
		return arrow.ListOf(elem), ok
	case '"', '\'':
		_, ok := j.quoted()
		return expr.TypeString, ok
	}
	w, ok := j.plain()
	switch {
	case w == "true" || w == "false":
		return expr.TypeBool, ok
	case w == "null":
		return expr.TypeNull, ok
	case strings.ContainsAny(w, ".eENI"):
		return expr.TypeDouble, ok
	case len(w) > 18:
		if _, bad, over := dec.Parse(w, dec.Type{P: 19}); bad || over {
			return expr.Decimal(int32(min(len(w), 38)), 0), ok
		}
	}
	return expr.TypeInt64, ok
}

// mergeSchema is the type that two elements of an array have in common.
func mergeSchema(a, b arrow.DataType) arrow.DataType {
	if x, ok := a.(*arrow.StructType); ok {
		if y, ok := b.(*arrow.StructType); ok {
			return mergeStructs(x, y)
		}
	}
	if dt, ok := CommonType(a, b); ok && (a.ID() == b.ID() || isNumeric(a) && isNumeric(b) || a.ID() == arrow.NULL || b.ID() == arrow.NULL) {
		return dt
	}
	return expr.TypeString
}

func mergeStructs(x, y *arrow.StructType) arrow.DataType {
	fields := append([]arrow.Field(nil), x.Fields()...)
	for _, f := range y.Fields() {
		if i, ok := x.FieldIdx(f.Name); ok {
			fields[i].Type = mergeSchema(fields[i].Type, f.Type)
		} else {
			fields = append(fields, f)
		}
	}
	sort.SliceStable(fields, func(a, b int) bool { return fields[a].Name < fields[b].Name })
	return arrow.StructOf(fields...)
}

// bindJSONTuple makes a struct; the binder takes it apart into columns.
func bindJSONTuple(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 2 {
		return nil, e.mismatch(args)
	}
	out := make([]expr.Expr, len(args))
	fields := make([]arrow.Field, len(args)-1)
	for i, a := range args {
		if castCost(a, expr.TypeString) >= never {
			return nil, e.mismatch(args)
		}
		out[i] = coerce(a, expr.TypeString)
		if i > 0 {
			fields[i-1] = arrow.Field{Name: "c" + itoa(i-1), Type: expr.TypeString, Nullable: true}
		}
	}
	n := *e
	n.nonStrict, n.exact, n.total = true, true, true
	return n.newCall(jsonTuple, out, arrow.StructOf(fields...)), nil
}

func jsonTuple(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	b := array.NewStructBuilder(kc.Alloc, kc.Result.(*arrow.StructType))
	defer b.Release()
	texts := vec.StringsOf(args[0].Arr)
	found := make([]jsonText, len(args)-1)
	for i := range n {
		clear(found)
		b.Append(true)
		j := jsonText{}
		if at := row(args[0], i); !vec.IsNull(args[0].Arr, at) {
			j.s = texts.Str(at)
		}
		good := j.kind() == '{' && j.object(func(name string) bool {
			for k, a := range args[1:] {
				if at := row(a, i); !vec.IsNull(a.Arr, at) && found[k].s == "" && vec.StringsOf(a.Arr).Str(at) == name {
					j.kind()
					found[k] = j
				}
			}
			return j.skip()
		})
		r := &valueReader{}
		for k := range found {
			if !good || found[k].s == "" {
				b.FieldBuilder(k).AppendNull()
				continue
			}
			r.json(b.FieldBuilder(k), &found[k])
		}
	}
	return b.NewArray(), nil
}
