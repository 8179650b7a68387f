package sql

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// stateTTLs are the times to live that a SELECT's hints give to the tables of its
// FROM: how long their rows stay in the state of the SELECT's own operators. What a
// table is made of has hints of its own.
type stateTTLs struct {
	tables map[logical.Node]time.Duration // 0 for those without a hint
}

// namesFor makes room for the tables of a SELECT with hints; nil without.
func namesFor(hints []ast.StateTTL) map[string]logical.Node {
	if len(hints) == 0 {
		return nil
	}
	return map[string]logical.Node{}
}

// nameTable notes a table of FROM by its alias or, without one, its name. A join is
// made of tables, and other clauses around a table have no name. It returns the
// table's plan, which stands for no other table.
func nameTable(named map[string]logical.Node, t ast.Table, n logical.Node) logical.Node {
	name := ""
	switch t := t.(type) {
	case *ast.TableName:
		name = t.Name.Parts[len(t.Name.Parts)-1].Name
	case *ast.Aliased:
		name = t.Alias.Name
	default:
		return n
	}
	for _, other := range named {
		if other == n { // a common table expression that is read twice
			n = n.WithInputs(n.Inputs())
		}
	}
	named[strings.ToLower(name)] = n
	return n
}

// unitBehind finds a unit right behind its number, as Flink writes times: 3d.
var unitBehind = regexp.MustCompile(`([0-9])([A-Za-z])`)

// stateTTLs reads the hints over the tables of FROM that were bound.
func (b *binder) stateTTLs(hints []ast.StateTTL) (*stateTTLs, error) {
	if len(hints) == 0 {
		return nil, nil
	}
	out := &stateTTLs{tables: map[logical.Node]time.Duration{}}
	var names []string
	for name, n := range b.named {
		out.tables[n], names = 0, append(names, name)
	}
	slices.Sort(names)
	for _, h := range hints {
		n, ok := b.named[strings.ToLower(h.Table)]
		if !ok {
			return nil, ast.Errorf(h.Pos, "the hint STATE_TTL names %q, which is no table or alias of this SELECT", h.Table).WithHint("there are %s", quotedList(names))
		}
		d, err := options.ParseDuration(unitBehind.ReplaceAllString(h.Time, "$1 $2"))
		if err != nil || d < 0 {
			return nil, ast.Errorf(h.Pos, "the hint STATE_TTL gives %q the time %q: want one such as '1 day'", h.Table, h.Time)
		}
		out.tables[n] = d
	}
	return out, nil
}

// limit gives the operators between the SELECT's result and its tables their times.
func (h *stateTTLs) limit(n logical.Node) logical.Node {
	if _, is := h.tables[n]; is {
		return n
	}
	ins := slices.Clone(n.Inputs())
	if len(ins) == 0 {
		return n
	}
	ttl := make(logical.TTL, len(ins))
	for i, in := range ins {
		ttl[i] = h.longest(in)
		ins[i] = h.limit(in)
	}
	n = n.WithInputs(ins)
	if slices.Max(ttl) > 0 {
		n, _ = logical.WithTTL(n, ttl)
	}
	return n
}

// longest is the time for rows that are made of several tables: the longest of theirs,
// if all have one.
func (h *stateTTLs) longest(n logical.Node) time.Duration {
	if d, is := h.tables[n]; is {
		return d
	}
	longest := time.Duration(0)
	for _, in := range n.Inputs() {
		if !logical.Streaming(in) {
			continue
		}
		d := h.longest(in)
		if d == 0 {
			return 0
		}
		longest = max(longest, d)
	}
	return longest
}
