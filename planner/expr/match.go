package expr

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// MatchPattern is a node of a row pattern: a regular expression over variables.
type MatchPattern struct {
	Op    MatchOp
	Var   int // of PatternVar: position in MatchSpec.Vars
	Items []*MatchPattern
	// Min and Max are how often Items[0] of PatternRepeat stands; Max is -1 for no bound.
	Min, Max  int
	Reluctant bool
}

// MatchOp says what a node of a row pattern is.
type MatchOp int

// The parts of a row pattern. PatternEmpty is (), PatternExclude is {- -}, PatternStart
// and PatternEnd are ^ and $.
const (
	PatternVar MatchOp = iota
	PatternSeq
	PatternAlt
	PatternPermute
	PatternRepeat
	PatternExclude
	PatternEmpty
	PatternStart
	PatternEnd
)

// MatchSlotKind says what a slot tells of a match.
type MatchSlotKind int

// The kinds of slots.
const (
	SlotValue      MatchSlotKind = iota // a value of one of the rows
	SlotAggregate                       // an aggregate over rows
	SlotClassifier                      // the variable of one of the rows
	SlotNumber                          // the number of the match
)

// MatchSlot is something that conditions and measures read of the rows of a
// match: FIRST(A.x, 2), PREV(LAST(A.x), 1), avg(A.x), CLASSIFIER(), MATCH_NUMBER().
type MatchSlot struct {
	Kind MatchSlotKind
	// Vars are the variables whose rows count, in order; nil for all rows.
	Vars []int
	// First counts N rows from the first on, else from the last back. Offset then
	// goes over the rows of the partition: below zero to earlier ones.
	First  bool
	N      int
	Offset int
	Final  bool     // over all rows of the match, not those up to the current one
	Value  Expr     // over the input, of SlotValue
	Agg    *AggCall // over the input, of SlotAggregate
	DT     arrow.DataType
}

// MatchSkip says where the search goes on after a match.
type MatchSkip int

// The ways to go on. SkipToFirst and SkipToLast go to a row of SkipVars.
const (
	SkipPastLast MatchSkip = iota
	SkipToNext
	SkipToFirst
	SkipToLast
)

// MatchEmpty says what ALL ROWS PER MATCH puts out besides the rows of matches.
type MatchEmpty int

// The choices: empty matches, nothing more, or also rows that are in no match.
const (
	ShowEmpty MatchEmpty = iota
	OmitEmpty
	ShowUnmatched
)

// MatchSpec is what MATCH_RECOGNIZE looks for and what it tells of what it finds.
type MatchSpec struct {
	Vars    []string // the variables of the pattern
	Pattern *MatchPattern
	Slots   []MatchSlot
	Define  []Expr // of each variable, over the slots; nil is true for every row
	// Measures are over the slots. Cols are the output: column i of the input, or
	// measure ^i.
	Measures []Expr
	Names    []string // of Cols
	Cols     []int
	AllRows  bool
	Empty    MatchEmpty
	Skip     MatchSkip
	SkipVars []int
	SkipName string // as written, for messages
	// Within is how long a match may last, in microseconds of the first order key: the
	// last row comes less than it after the first; 0 is no bound.
	Within int64
}

// Columns returns the output's schema over an input.
func (s *MatchSpec) Columns(input *arrow.Schema) *arrow.Schema {
	fields := make([]arrow.Field, len(s.Cols))
	for i, c := range s.Cols {
		if c >= 0 {
			fields[i] = input.Field(c)
		} else {
			fields[i] = arrow.Field{Type: s.Measures[^c].Type(), Nullable: true}
		}
		fields[i].Name = s.Names[i]
	}
	return arrow.NewSchema(fields, nil)
}

// SlotSchema is what conditions and measures are computed over.
func (s *MatchSpec) SlotSchema() *arrow.Schema {
	fields := make([]arrow.Field, len(s.Slots))
	for i, x := range s.Slots {
		fields[i] = arrow.Field{Name: fmt.Sprint("slot", i), Type: x.DT, Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}

// Reach returns how many rows before and behind a row a condition may look at.
func (s *MatchSpec) Reach() (before, behind int) {
	for _, d := range s.Define {
		before, behind = s.reach(d, before, behind)
	}
	return before, behind
}

// MeasureReach is Reach for the measures.
func (s *MatchSpec) MeasureReach() (before, behind int) {
	for _, d := range s.Measures {
		before, behind = s.reach(d, before, behind)
	}
	return before, behind
}

func (s *MatchSpec) reach(e Expr, before, behind int) (int, int) {
	Walk(e, func(x Expr) bool {
		if c, ok := x.(*Column); ok {
			before, behind = max(before, -s.Slots[c.Index].Offset), max(behind, s.Slots[c.Index].Offset)
		}
		return true
	})
	return before, behind
}

// Ends reports whether the pattern asks where a partition ends.
func (p *MatchPattern) Ends() bool { return p.has(PatternEnd) }

func (p *MatchPattern) has(op MatchOp) bool {
	for _, it := range p.Items {
		if it.has(op) {
			return true
		}
	}
	return p.Op == op
}

// Remembers reports whether later matches of a partition depend on rows and
// matches that are long over: on their number, on the partition's start, or on
// rows before a match.
func (s *MatchSpec) Remembers() bool {
	for _, x := range s.Slots {
		if x.Kind == SlotNumber || x.Offset < 0 {
			return true
		}
	}
	return s.Pattern.has(PatternStart)
}

// Bounded says how many rows a match can have at most, -1 for no bound.
func (p *MatchPattern) Bounded() int {
	switch p.Op {
	case PatternVar:
		return 1
	case PatternEmpty, PatternStart, PatternEnd:
		return 0
	case PatternRepeat:
		n := p.Items[0].Bounded()
		if n <= 0 {
			return n
		}
		if p.Max < 0 || n > maxRows/max(p.Max, 1) {
			return -1
		}
		return n * p.Max
	case PatternAlt:
		most := 0
		for _, it := range p.Items {
			n := it.Bounded()
			if n < 0 {
				return -1
			}
			most = max(most, n)
		}
		return most
	default:
		sum := 0
		for _, it := range p.Items {
			n := it.Bounded()
			if n < 0 {
				return -1
			}
			sum += n
		}
		return sum
	}
}

// Fixed reports whether every match has the same number of rows, taken as the same
// variables one after the other, and which one the last row is.
func (p *MatchPattern) Fixed() (last int, ok bool) {
	switch p.Op {
	case PatternVar:
		return p.Var, true
	case PatternSeq:
		for _, it := range p.Items {
			if last, ok = it.Fixed(); !ok {
				return 0, false
			}
		}
		return last, len(p.Items) > 0
	case PatternRepeat:
		if p.Min != p.Max || p.Min < 1 {
			return 0, false
		}
		return p.Items[0].Fixed()
	default:
		return 0, false
	}
}

// maxRows is from when on a bound on the rows of a match is none.
const maxRows = 1 << 30

// Size is how many steps the pattern has once repetitions and permutations are
// written out, at most limit.
func (p *MatchPattern) Size(limit int) int {
	sum := 0
	for _, it := range p.Items {
		sum = min(limit, sum+it.Size(limit))
	}
	times := 1
	switch p.Op {
	case PatternVar, PatternEmpty, PatternStart, PatternEnd:
		return 1
	case PatternRepeat:
		times = max(p.Min, p.Max, 1)
	case PatternPermute:
		for i := 2; i <= len(p.Items) && times < limit; i++ {
			times *= i
		}
	case PatternSeq, PatternAlt, PatternExclude:
	}
	if sum > limit/times {
		return limit
	}
	return sum*times + 1
}

// Text prints the pattern as in SQL.
func (p *MatchPattern) Text(vars []string) string {
	items := make([]string, len(p.Items))
	for i, it := range p.Items {
		if items[i] = it.Text(vars); len(it.Items) > 1 && it.Op != PatternPermute {
			items[i] = "(" + items[i] + ")"
		}
	}
	switch p.Op {
	case PatternVar:
		return vars[p.Var]
	case PatternAlt:
		return strings.Join(items, " | ")
	case PatternPermute:
		return "PERMUTE(" + strings.Join(items, ", ") + ")"
	case PatternExclude:
		return "{- " + items[0] + " -}"
	case PatternEmpty:
		return "()"
	case PatternStart:
		return "^"
	case PatternEnd:
		return "$"
	case PatternRepeat:
		s := items[0]
		switch {
		case p.Min == 0 && p.Max < 0:
			s += "*"
		case p.Min == 1 && p.Max < 0:
			s += "+"
		case p.Min == 0 && p.Max == 1:
			s += "?"
		case p.Max < 0:
			s += fmt.Sprintf("{%d,}", p.Min)
		default:
			s += fmt.Sprintf("{%d,%d}", p.Min, p.Max)
		}
		if p.Reluctant {
			s += "?"
		}
		return s
	default:
		return strings.Join(items, " ")
	}
}

// text prints a slot as in SQL.
func (s *MatchSlot) text(vars []string) string {
	of := ""
	if s.Vars != nil {
		names := make([]string, len(s.Vars))
		for i, v := range s.Vars {
			names[i] = vars[v]
		}
		of = strings.Join(names, "+") + "."
	}
	final := ""
	if s.Final {
		final = "FINAL "
	}
	value := "CLASSIFIER"
	switch s.Kind {
	case SlotNumber:
		return "MATCH_NUMBER()"
	case SlotAggregate:
		return final + of + s.Agg.String()
	case SlotValue:
		value = s.Value.String()
	case SlotClassifier:
	}
	dir := "LAST"
	if s.First {
		dir = "FIRST"
	}
	text := fmt.Sprintf("%s%s(%s%s, %d)", final, dir, of, value, s.N)
	if s.Offset != 0 {
		text = fmt.Sprintf("SHIFT(%s, %d)", text, s.Offset)
	}
	return text
}

// Slot returns the position of a slot, which is added if there is no equal one.
func (s *MatchSpec) Slot(x MatchSlot) int {
	text := x.text(s.Vars)
	for i := range s.Slots {
		if s.Slots[i].text(s.Vars) == text && TypeName(s.Slots[i].DT) == TypeName(x.DT) {
			return i
		}
	}
	s.Slots = append(s.Slots, x)
	return len(s.Slots) - 1
}

// expression prints an expression over the slots.
func (s *MatchSpec) expression(e Expr) string {
	return Transform(e, func(x Expr) Expr {
		if c, ok := x.(*Column); ok {
			return &slotText{Column: *c, text: s.Slots[c.Index].text(s.Vars)}
		}
		return x
	}).String()
}

// slotText is a column that prints as what it is.
type slotText struct {
	Column
	text string
}

func (s *slotText) String() string { return s.text }

// String prints all of the specification, the same for equal ones.
func (s *MatchSpec) String() string {
	var b strings.Builder
	rows := "one row per match"
	if s.AllRows {
		rows = "all rows per match" + [...]string{"", " omit empty", " with unmatched"}[s.Empty]
	}
	fmt.Fprintf(&b, "(%s) %s skip %s", s.Pattern.Text(s.Vars), rows,
		[...]string{"past last row", "to next row", "to first ", "to last "}[s.Skip])
	if s.Skip >= SkipToFirst {
		b.WriteString(s.SkipName)
	}
	if s.Within > 0 {
		fmt.Fprintf(&b, " within %dus", s.Within)
	}
	for i, d := range s.Define {
		if d != nil {
			fmt.Fprintf(&b, " define %s as %s", s.Vars[i], s.expression(d))
		}
	}
	for i, c := range s.Cols {
		if c >= 0 {
			fmt.Fprintf(&b, ", %s#%d", s.Names[i], c)
		} else {
			fmt.Fprintf(&b, ", %s as %s", s.expression(s.Measures[^c]), s.Names[i])
		}
	}
	return b.String()
}
