package functions

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/internal/invariants"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
)

// Types are the argument types that an overload was resolved to, and the result's.
type Types struct {
	Args   []arrow.DataType
	Result arrow.DataType
	args   []expr.Expr
}

// Sig is one signature: a pattern for each parameter, a rule for the result's
// type and a maker of kernels.
type Sig struct {
	params   []param
	variadic bool // the last parameter may repeat, also zero times
	result   func(*Types) (arrow.DataType, error)
	kernel   func(*Types) (expr.Kernel, error)
	usage    string
}

type param struct {
	pat string
	def *expr.Literal // what stands for the argument if it is left out
}

type resultRule = func(*Types) (arrow.DataType, error)

// sig reads a signature such as "string, int, string = ' ' -> string" or
// "T, T... -> T". A pattern is a type; T, U, K, V, which stand for the common type of
// the parameters that carry them; any; numeric, integral or decimal, which keep
// the argument's own type of that kind; array<T>, map<K,V>, struct.
func sig(text string, kernel any) Sig {
	head, res, ok := strings.Cut(text, "->")
	invariants.Assert(ok, "signature %q has no result", text)
	pat := strings.TrimSpace(res)
	s := sigR(strings.TrimSpace(head), nil, kernel)
	s.result = func(t *Types) (arrow.DataType, error) { return s.resultType(pat, t) }
	s.usage = "(" + strings.TrimSpace(head) + ") -> " + pat
	return s
}

// sigR is sig with a rule for the result's type.
func sigR(head string, result resultRule, kernel any) Sig {
	s := Sig{result: result, usage: "(" + head + ")"}
	switch k := kernel.(type) {
	case expr.Kernel:
		s.kernel = func(*Types) (expr.Kernel, error) { return k, nil }
	case func(*expr.KernelContext, []expr.Vec, int) (arrow.Array, error):
		s.kernel = func(*Types) (expr.Kernel, error) { return k, nil }
	case func(*Types) (expr.Kernel, error):
		s.kernel = k
	case func(*Types) expr.Kernel:
		s.kernel = func(t *Types) (expr.Kernel, error) { return k(t), nil }
	default:
		invariants.Unreachable("signature (%s): kernel is a %T", head, kernel)
	}
	if head == "" {
		return s
	}
	parts := splitTop(head)
	for i, p := range parts {
		p, def, has := strings.Cut(strings.TrimSpace(p), "=")
		pat := strings.TrimSpace(p)
		if i == len(parts)-1 && strings.HasSuffix(pat, "...") {
			s.variadic = true
			pat = strings.TrimSuffix(pat, "...")
		}
		pr := param{pat: pat}
		if has {
			pr.def = defaultLiteral(strings.TrimSpace(def), pat)
		}
		s.params = append(s.params, pr)
	}
	return s
}

// splitTop splits at commas outside of angle brackets and quotes.
func splitTop(s string) []string {
	var out []string
	depth, start, quoted := 0, 0, false
	for i, c := range s {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '<':
			depth++
		case c == '>':
			depth--
		case c == ',' && depth == 0:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

func defaultLiteral(text, pat string) *expr.Literal {
	switch {
	case text == "NULL":
		return expr.NullOf(namedTypes[pat])
	case text == "true" || text == "false":
		return expr.Bool(text == "true")
	case pat == "binary":
		return &expr.Literal{Value: []byte(strings.Trim(text, "'")), DT: expr.TypeBinary}
	case strings.HasPrefix(text, "'"):
		return expr.Text(strings.Trim(text, "'"))
	case strings.Contains(text, "."):
		f, _ := strconv.ParseFloat(text, 64)
		return &expr.Literal{Value: f, DT: expr.TypeDouble}
	}
	v, err := strconv.ParseInt(text, 10, 64)
	invariants.Assert(err == nil, "default %q is no value", text)
	return &expr.Literal{Value: v, DT: namedTypes[pat]}
}

var namedTypes = map[string]arrow.DataType{
	"boolean": expr.TypeBool, "tinyint": expr.TypeInt8, "smallint": expr.TypeInt16, "int": expr.TypeInt32,
	"bigint": expr.TypeInt64, "float": expr.TypeFloat, "double": expr.TypeDouble, "string": expr.TypeString,
	"binary": expr.TypeBinary, "date": expr.TypeDate, "timestamp": expr.TypeTimestamp,
	"timestamp_ntz": expr.TypeLocalTime, "time": expr.TypeTime, "months": expr.TypeMonths, "duration": expr.TypeDuration,
}

// withDefaults appends the literals of parameters left out.
func (s *Sig) withDefaults(args []expr.Expr) []expr.Expr {
	out := append([]expr.Expr(nil), args...)
	for i := len(args); i < len(s.params); i++ {
		if s.params[i].def != nil {
			out = append(out, s.params[i].def)
		}
	}
	return out
}

// pattern returns the pattern of argument i.
func (s *Sig) pattern(i int) string { return s.params[min(i, len(s.params)-1)].pat }

// arity reports whether n arguments can be given.
func (s *Sig) arity(n int) bool {
	required := 0
	for i, p := range s.params {
		if p.def == nil && !(s.variadic && i == len(s.params)-1) {
			required++
		}
	}
	return n >= required && (n <= len(s.params) || s.variadic)
}

// match returns the types that the arguments must be cast to and what that costs.
func (s *Sig) match(given []expr.Expr) ([]arrow.DataType, int) {
	if !s.arity(len(given)) {
		return nil, never
	}
	args := s.withDefaults(given)
	vars := map[string]arrow.DataType{}
	for i, a := range args {
		if !bindVars(s.pattern(i), a.Type(), vars) {
			return nil, never
		}
	}
	types, total := make([]arrow.DataType, len(args)), 0
	for i, a := range args {
		to, ok := target(s.pattern(i), a, vars)
		if !ok {
			return nil, never
		}
		c := castCost(a, to)
		if c >= never {
			return nil, never
		}
		types[i] = to
		total += c
	}
	return types, total
}

func isVar(p string) bool { return p == "T" || p == "U" || p == "K" || p == "V" }

// bindVars widens the type variables of a pattern by an argument's type.
func bindVars(pat string, dt arrow.DataType, vars map[string]arrow.DataType) bool {
	if isVar(pat) {
		have, ok := vars[pat]
		if !ok {
			vars[pat] = dt
			return true
		}
		wide, ok := CommonType(have, dt)
		if ok {
			vars[pat] = wide
		}
		return ok
	}
	if elem, ok := inner(pat, "array<"); ok {
		if dt.ID() == arrow.NULL {
			return true
		}
		l, is := dt.(*arrow.ListType)
		return is && bindVars(elem, l.Elem(), vars)
	}
	if kv, ok := inner(pat, "map<"); ok {
		if dt.ID() == arrow.NULL {
			return true
		}
		m, is := dt.(*arrow.MapType)
		k, v, _ := strings.Cut(kv, ",")
		return is && bindVars(strings.TrimSpace(k), m.KeyType(), vars) && bindVars(strings.TrimSpace(v), m.ItemType(), vars)
	}
	return true
}

func inner(pat, prefix string) (string, bool) {
	if strings.HasPrefix(pat, prefix) && strings.HasSuffix(pat, ">") {
		return pat[len(prefix) : len(pat)-1], true
	}
	return "", false
}

// target returns the type that argument a takes under a pattern.
func target(pat string, a expr.Expr, vars map[string]arrow.DataType) (arrow.DataType, bool) {
	dt := a.Type()
	switch pat {
	case "any":
		return dt, true
	case "numeric", "integral", "decimal":
		return numericTarget(pat, a)
	case "struct":
		return dt, dt.ID() == arrow.STRUCT
	case "array":
		return dt, dt.ID() == arrow.LIST
	case "map":
		return dt, dt.ID() == arrow.MAP
	}
	return patternType(pat, vars)
}

func numericTarget(pat string, a expr.Expr) (arrow.DataType, bool) {
	dt := a.Type()
	id := dt.ID()
	switch {
	case pat == "decimal":
		t, ok := decimalOf(a)
		return t.Arrow(), ok
	case pat == "integral":
		if id == arrow.STRING || id == arrow.NULL {
			return expr.TypeInt64, true
		}
		return dt, isInt(dt)
	case id == arrow.STRING || id == arrow.NULL:
		return expr.TypeDouble, true
	}
	return dt, isNumeric(dt)
}

// patternType builds the type that a pattern means once its variables are known.
func patternType(pat string, vars map[string]arrow.DataType) (arrow.DataType, bool) {
	if isVar(pat) {
		t, ok := vars[pat]
		if !ok {
			return expr.TypeNull, true
		}
		return t, true
	}
	if t, ok := namedTypes[pat]; ok {
		return t, true
	}
	if elem, ok := inner(pat, "array<"); ok {
		e, ok := patternType(elem, vars)
		if !ok {
			return nil, false
		}
		return arrow.ListOf(e), true
	}
	if kv, ok := inner(pat, "map<"); ok {
		k, v, _ := strings.Cut(kv, ",")
		kt, ok1 := patternType(strings.TrimSpace(k), vars)
		vt, ok2 := patternType(strings.TrimSpace(v), vars)
		if !ok1 || !ok2 {
			return nil, false
		}
		return arrow.MapOf(kt, vt), true
	}
	return nil, false
}

// resultType evaluates a result pattern against the final argument types.
func (s *Sig) resultType(pat string, t *Types) (arrow.DataType, error) {
	vars := map[string]arrow.DataType{}
	for i, a := range t.Args {
		bindVars(s.pattern(i), a, vars)
	}
	dt, ok := patternType(pat, vars)
	if !ok {
		return nil, fmt.Errorf("no type for the result %s", pat)
	}
	return dt, nil
}

// sameAs is the result rule "the type of argument i".
func sameAs(i int) resultRule {
	return func(t *Types) (arrow.DataType, error) { return t.Args[i], nil }
}

func isInt(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		return true
	}
	return false
}

func isFloat(dt arrow.DataType) bool { return dt.ID() == arrow.FLOAT32 || dt.ID() == arrow.FLOAT64 }

func isDecimal(dt arrow.DataType) bool { return dt.ID() == arrow.DECIMAL128 }

func isNumeric(dt arrow.DataType) bool { return isInt(dt) || isFloat(dt) || isDecimal(dt) }

// decimalOf returns the decimal type that holds an argument's values; of an
// integer constant, just its digits.
func decimalOf(e expr.Expr) (dec.Type, bool) {
	if l, ok := e.(*expr.Literal); ok && (l.DT.ID() == arrow.INT32 || l.DT.ID() == arrow.INT64) {
		if v, is := l.Value.(int64); is {
			return dec.Type{P: int32(len(strings.TrimPrefix(strconv.FormatInt(v, 10), "-")))}, true
		}
	}
	return dec.Of(e.Type())
}
