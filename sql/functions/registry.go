package functions

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Entry is one function of the registry.
type Entry struct {
	Names   []string // the first is the function's own, the others are aliases
	Infix   string   // how it is written as an operator, or empty
	Group   string
	Usage   []string // the signatures as text
	Doc     string   // one sentence
	Example string   // SQL
	Result  string   // what the example gives, cast to STRING
	Since   string
	Agg     bool
	Window  bool // has a meaning with OVER alone; the binder knows it

	volatility expr.Volatility
	nonStrict  bool // sees NULL arguments
	total      bool // cannot fail
	exact      bool // NULL only where an argument is NULL
	sigs       []Sig
	bind       func(e *Entry, args []expr.Expr) (expr.Expr, error)
	aggSigs    []AggSig
	lambda     func(args []expr.Expr, n int) ([]arrow.DataType, error) // parameter types
}

// Name returns the function's own name.
func (e *Entry) Name() string { return e.Names[0] }

// group is a file's list of entries.
type group struct {
	name    string
	entries []*Entry
}

// The registry is filled by init and not by initialisers, because entries bind
// themselves with Scalar, which reads the registry.
var (
	groups []group
	byName map[string]*Entry
)

func init() {
	groups = []group{
		{"operators", operators()},
		{"conditional", conditionals()},
		{"math", maths()},
		{"bitwise", bitwise()},
		{"string", strs()},
		{"regular expression", regexps()},
		{"date and time", dates()},
		{"collection", slices.Concat(collections(), vectors())},
		{"json", slices.Concat(jsons(), jsonConversions())},
		{"avro and protobuf", binaryFormats()},
		{"csv", csvs()},
		{"hash", hashes()},
		{"conversion", conversions()},
		{"miscellaneous", slices.Concat(misc(), sessions(), ciphers())},
		{"aggregate", aggregates()},
		{"window", windows()},
	}
	byName = map[string]*Entry{}
	for _, g := range groups {
		for _, e := range g.entries {
			e.Group = g.name
			for _, n := range e.Names {
				byName[n] = e
			}
		}
	}
}

// Lookup finds an entry by name, whatever its case.
func Lookup(name string) (*Entry, bool) {
	e, ok := byName[strings.ToLower(name)]
	return e, ok
}

// IsAggregate reports whether a name is an aggregate function's.
func IsAggregate(name string) bool {
	e, ok := Lookup(name)
	return ok && e.Agg
}

// Default is what stands for argument i of a function if it is left out.
func Default(name string, i int) (expr.Expr, bool) {
	e, ok := Lookup(name)
	if !ok {
		return nil, false
	}
	sigs := e.sigs
	for _, a := range e.aggSigs {
		sigs = append(sigs[:len(sigs):len(sigs)], a.Sig)
	}
	for _, s := range sigs {
		if i < len(s.params) && s.params[i].def != nil {
			return s.params[i].def, true
		}
	}
	return nil, false
}

// Names lists all names and aliases in order, for suggestions and SHOW FUNCTIONS.
func Names() []string {
	out := make([]string, 0, len(byName))
	for n := range byName {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Entries lists the entries by group and name, for the reference page.
func Entries() []*Entry {
	var out []*Entry
	for _, g := range groups {
		es := slices.Clone(g.entries)
		slices.SortStableFunc(es, func(a, b *Entry) int { return strings.Compare(a.Name(), b.Name()) })
		out = append(out, es...)
	}
	return out
}

// ErrUnknown is the error for a name that no entry has.
type ErrUnknown struct{ Name string }

// Error names the function.
func (e *ErrUnknown) Error() string { return "unknown function " + e.Name }

// Scalar binds a call of a scalar function or operator: it resolves the
// overload, inserts implicit casts and computes the type. Some functions become
// a Case or Logical instead of a Call.
func Scalar(name string, args []expr.Expr) (expr.Expr, error) {
	e, ok := Lookup(name)
	if !ok {
		return nil, &ErrUnknown{Name: name}
	}
	if e.Agg {
		return nil, batch.UserErrorf("%s is an aggregate function and cannot be used here", e.Name())
	}
	if e.Window {
		return nil, batch.UserErrorf("%s is a window function and needs OVER", e.Name())
	}
	canon := make([]expr.Expr, len(args))
	for i, a := range args {
		canon[i] = canonical(a)
	}
	if e.bind != nil {
		return e.bind(e, canon)
	}
	return e.resolve(canon)
}

// Rebind makes a call anew from what its wire form carries: the name, the
// arguments and the type of a call that Scalar returned before.
func Rebind(name string, args []expr.Expr, dt arrow.DataType) (expr.Expr, error) {
	if st, ok := dt.(*arrow.StructType); ok && name == "named_struct" && st.NumFields() == len(args) {
		named := make([]expr.Expr, 0, 2*len(args))
		for i, a := range args {
			named = append(named, expr.Text(st.Field(i).Name), a)
		}
		args = named
	}
	return Scalar(name, args)
}

// resolve picks the overload whose arguments cost the least conversion.
func (e *Entry) resolve(args []expr.Expr) (expr.Expr, error) {
	best, bestCost := -1, never
	var bound []arrow.DataType
	for i := range e.sigs {
		types, cost := e.sigs[i].match(args)
		if cost < bestCost {
			best, bestCost, bound = i, cost, types
		}
	}
	if best < 0 {
		return nil, e.mismatch(args)
	}
	s := &e.sigs[best]
	full := s.withDefaults(args)
	for i := range full {
		full[i] = coerce(full[i], bound[i])
	}
	return e.call(s, full)
}

// call makes the Call for arguments that have their final types.
func (e *Entry) call(s *Sig, args []expr.Expr) (expr.Expr, error) {
	b := &Types{Args: typesOf(args), args: args}
	res, err := s.result(b)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", e.Name(), err)
	}
	b.Result = res
	k, err := s.kernel(b)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", e.Name(), err)
	}
	return e.newCall(k, args, b.Result), nil
}

func (e *Entry) newCall(k expr.Kernel, args []expr.Expr, result arrow.DataType) *expr.Call {
	null := !e.exact
	for _, a := range args {
		null = null || a.Nullable() && !(e.nonStrict && e.exact)
	}
	return &expr.Call{
		Func: &expr.Function{
			Name: e.Name(), Infix: e.Infix, Volatility: e.volatility,
			Strict: !e.nonStrict, Total: e.total, Kernel: k,
		},
		Args: args, DT: result, Null: null,
	}
}

// mismatch says which types were given and what there is.
func (e *Entry) mismatch(args []expr.Expr) error {
	given := make([]string, len(args))
	for i, a := range args {
		given[i] = expr.TypeName(a.Type())
	}
	return batch.UserErrorf("%s does not take (%s); it takes %s", e.Name(), strings.Join(given, ", "), strings.Join(e.Usage, " or "))
}

func typesOf(args []expr.Expr) []arrow.DataType {
	out := make([]arrow.DataType, len(args))
	for i, a := range args {
		out[i] = a.Type()
	}
	return out
}
