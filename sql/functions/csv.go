package functions

import (
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// csvs lists functions between a line of CSV and a struct.
func csvs() []*Entry {
	return []*Entry{
		special("from_csv", "from_csv(string, string[, map<string,string>]) -> struct", "The fields of a CSV line as a STRUCT of the given columns; what does not fit is NULL. Options: sep, quote, escape, nullValue, mode, dateFormat, timestampFormat.",
			"from_csv('1,0.5', 'a INT, b DOUBLE')", "{1, 0.5}", bindFromText("from_csv")),
		special("to_csv", "to_csv(struct[, map<string,string>]) -> string", "The fields of a STRUCT as a CSV line. Options: sep, quote, escape, nullValue, quoteAll, dateFormat, timestampFormat.",
			"to_csv(named_struct('a', 1, 'b', 'x,y'))", `1,"x,y"`, bindToCSV),
		special("schema_of_csv", "schema_of_csv(string) -> string", "The columns that from_csv needs to read a line like a constant one.",
			"schema_of_csv('1,abc')", "STRUCT<_c0: INT, _c1: STRING>", bindSchemaOf(csvSchema)),
	}
}

// csvForm is how a line is written.
type csvForm struct {
	sep, null     string
	quote, escape byte
	all           bool
}

func csvFormOf(o textOptions) (csvForm, error) {
	f := csvForm{sep: ",", quote: '"', escape: '\\', null: o["nullvalue"], all: o.is("quoteall", "true")}
	for _, name := range []string{"sep", "delimiter"} {
		if s, ok := o[name]; ok {
			f.sep = s
		}
	}
	for name, at := range map[string]*byte{"quote": &f.quote, "escape": &f.escape} {
		if s, ok := o[name]; ok {
			if len(s) > 1 {
				return f, batch.UserErrorf("the option %s must be one character, not '%s'", name, s)
			}
			if *at = 0; s != "" {
				*at = s[0]
			}
		}
	}
	if f.sep == "" {
		return f, batch.UserErrorf("the option sep must not be empty")
	}
	return f, nil
}

// field reads one field off a line; quoted says that it stood in quotes.
func (f *csvForm) field(s string) (field, rest string, quoted, last bool) {
	if f.quote == 0 || s == "" || s[0] != f.quote {
		field, rest, found := strings.Cut(s, f.sep)
		return field, rest, false, !found
	}
	var out []byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == f.escape && c != f.quote && i+1 < len(s) && (s[i+1] == f.quote || s[i+1] == f.escape):
			i++
			out = append(out, s[i])
		case c == f.quote && i+1 < len(s) && s[i+1] == f.quote:
			i++
			out = append(out, c)
		case c == f.quote:
			rest, found := strings.CutPrefix(s[i+1:], f.sep)
			return string(out), rest, true, !found
		default:
			out = append(out, c)
		}
	}
	return string(out), "", true, true
}

func fromCSV(o textOptions) expr.Kernel {
	form, formErr := csvFormOf(o)
	return fromText(o, func(r *valueReader, b array.Builder, s string) bool {
		st := b.(*array.StructBuilder)
		if formErr != nil {
			return false
		}
		st.Append(true)
		last := false
		for i := range st.NumField() {
			fb := st.FieldBuilder(i)
			if last {
				fb.AppendNull()
				continue
			}
			var field string
			var quoted bool
			field, s, quoted, last = form.field(s)
			_, isText := fb.(*array.StringBuilder)
			if !isText {
				field = strings.TrimSpace(field)
			}
			if !quoted && field == form.null || !r.text(fb, field) {
				fb.AppendNull()
			}
		}
		return true
	})
}

func bindToCSV(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 1 || len(args) > 2 || args[0].Type().ID() != arrow.STRUCT {
		return nil, e.mismatch(args)
	}
	for _, f := range args[0].Type().(*arrow.StructType).Fields() {
		if isNested(f.Type) {
			return nil, batch.UserErrorf("to_csv: the field %s of type %s has no form in CSV", f.Name, expr.TypeName(f.Type))
		}
	}
	o, err := optionsOf(args, 1)
	if err != nil {
		return nil, batch.UserErrorf("to_csv: %w", err)
	}
	form, err := csvFormOf(o)
	if err != nil {
		return nil, batch.UserErrorf("to_csv: %w", err)
	}
	return e.newCall(func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		w, err := newTextWriter(kc, args[0].Arr, o, "csv")
		if err != nil {
			return nil, err
		}
		defer w.release()
		m := vec.StrictMask(kc.Alloc, args[:1], n)
		out := vec.NewStrOut(kc.Alloc, n)
		for i := range n {
			if m.IsNull(i) {
				out.Skip()
				continue
			}
			out.End(form.append(out.Begin(), w, row(args[0], i)))
		}
		return out.Array(kc.Result, m)
	}, args, expr.TypeString), nil
}

func (f *csvForm) append(dst []byte, w *textWriter, i int) []byte {
	for k, kid := range w.kids {
		if k > 0 {
			dst = append(dst, f.sep...)
		}
		if vec.IsNull(kid.arr, i) {
			dst = append(dst, f.null...)
			continue
		}
		s := kid.text(i)
		if f.quote == 0 || !f.all && s != "" && !strings.Contains(s, f.sep) && !strings.ContainsAny(s, "\r\n"+string(f.quote)) {
			dst = append(dst, s...)
			continue
		}
		dst = append(dst, f.quote)
		for j := range len(s) {
			if s[j] == f.quote && f.escape != 0 {
				dst = append(dst, f.escape)
			}
			dst = append(dst, s[j])
		}
		dst = append(dst, f.quote)
	}
	return dst
}

func csvSchema(text string, o textOptions) (arrow.DataType, bool) {
	form, err := csvFormOf(o)
	if err != nil {
		return nil, false
	}
	var fields []arrow.Field
	for last := false; !last; {
		var s string
		var quoted bool
		s, text, quoted, last = form.field(text)
		dt := arrow.DataType(expr.TypeString)
		if !quoted {
			dt = inferCSV(strings.TrimSpace(s))
		}
		fields = append(fields, arrow.Field{Name: "_c" + itoa(len(fields)), Type: dt, Nullable: true})
	}
	return arrow.StructOf(fields...), true
}

// inferCSV finds the narrowest type that a field can be read as.
func inferCSV(s string) arrow.DataType {
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		if v == int64(int32(v)) {
			return expr.TypeInt32
		}
		return expr.TypeInt64
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return expr.TypeDouble
	}
	if st, ok := civil.ParseStamp(s); ok && len(s) >= 10 {
		if len(s) == 10 && st.Zone == nil {
			return expr.TypeDate
		}
		return expr.TypeTimestamp
	}
	if l := strings.ToLower(s); l == "true" || l == "false" {
		return expr.TypeBool
	}
	return expr.TypeString
}
