package formats

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Unite returns the narrowest type as which the values of both can be read, for
// formats whose files say what they hold: integers widen to larger ones, to decimals
// and, as in SQL, to DOUBLE; decimals to more digits on both sides of the point; dates
// to timestamps; what is nested by its parts. at is where two types have none, inside
// of a nested one; ok is false then.
func Unite(a, b arrow.DataType) (t arrow.DataType, at string, ok bool) {
	switch {
	case arrow.TypeEqual(a, b):
		return a, "", true
	case a.ID() == arrow.NULL:
		return b, "", true
	case b.ID() == arrow.NULL:
		return a, "", true
	}
	if t := uniteNumbers(a, b); t != nil {
		return t, "", true
	}
	if a.ID() == arrow.DATE32 && b.ID() == arrow.TIMESTAMP {
		return b, "", true
	}
	if b.ID() == arrow.DATE32 && a.ID() == arrow.TIMESTAMP {
		return a, "", true
	}
	switch x := a.(type) {
	case *arrow.ListType:
		if y, same := b.(*arrow.ListType); same {
			e, at, ok := uniteFields(x.ElemField(), y.ElemField())
			return arrow.ListOfField(e), at, ok
		}
	case *arrow.MapType:
		if y, same := b.(*arrow.MapType); same {
			return uniteMaps(x, y)
		}
	case *arrow.StructType:
		if y, same := b.(*arrow.StructType); same {
			fields, at, ok := UniteFields(x.Fields(), y.Fields())
			return arrow.StructOf(fields...), at, ok
		}
	}
	return nil, "", false
}

func uniteMaps(x, y *arrow.MapType) (arrow.DataType, string, bool) {
	key, at, ok := uniteFields(x.KeyField(), y.KeyField())
	if !ok {
		return nil, at, false
	}
	item, at, ok := uniteFields(x.ItemField(), y.ItemField())
	if !ok {
		return nil, at, false
	}
	m := arrow.MapOf(key.Type, item.Type)
	m.SetItemNullable(item.Nullable)
	return m, "", true
}

// uniteFields unites two fields under the first one's name.
func uniteFields(a, b arrow.Field) (_ arrow.Field, at string, ok bool) {
	t, inner, ok := Unite(a.Type, b.Type)
	if !ok {
		at = a.Name
		if inner != "" {
			at += "." + inner
		}
		t = a.Type
	}
	return arrow.Field{Name: a.Name, Type: t, Nullable: a.Nullable || b.Nullable}, at, ok
}

// UniteFields unites two lists of fields by name, in the order of first sight. A field
// that one of them lacks may be NULL.
func UniteFields(a, b []arrow.Field) (_ []arrow.Field, at string, ok bool) {
	u := NewUnion(func(x, y arrow.DataType) (arrow.DataType, string, bool) { return Unite(x, y) })
	for i, fields := range [][]arrow.Field{a, b} {
		if c := u.Add(fmt.Sprint(i), fields); c != nil {
			return a, c.Column, false
		}
	}
	return u.Fields(), "", true
}

// Union gathers the columns of many files by name.
type Union struct {
	unite  func(a, b arrow.DataType) (arrow.DataType, string, bool)
	fields []arrow.Field
	from   []string // the file that gave the column its type
	exact  map[string]int
	folded map[string]int
	files  int
}

// NewUnion makes an empty one over a rule for two types of a column.
func NewUnion(unite func(a, b arrow.DataType) (arrow.DataType, string, bool)) *Union {
	return &Union{unite: unite, exact: map[string]int{}, folded: map[string]int{}}
}

// Conflict says which column of which two files have no type in common.
type Conflict struct {
	Column        string // with the path inside of a nested one
	First, Second string // files
	A, B          arrow.DataType
}

// find looks a name up as readers do: exactly, then without regard to case.
func (u *Union) find(name string, taken map[int]bool) (int, bool) {
	if i, ok := u.exact[name]; ok {
		return i, true
	}
	i, ok := u.folded[strings.ToLower(name)]
	return i, ok && !taken[i]
}

// Add takes the columns of one more file, or says what does not fit.
func (u *Union) Add(file string, fields []arrow.Field) *Conflict {
	taken := make(map[int]bool, len(fields))
	for _, f := range fields { // names that stand in both go first
		if i, ok := u.exact[f.Name]; ok {
			taken[i] = true
		}
	}
	for _, f := range fields {
		i, ok := u.find(f.Name, taken)
		if !ok {
			i = len(u.fields)
			f.Nullable = f.Nullable || u.files > 0
			u.fields, u.from = append(u.fields, f), append(u.from, file)
			u.exact[f.Name] = i
			if _, twice := u.folded[strings.ToLower(f.Name)]; !twice {
				u.folded[strings.ToLower(f.Name)] = i
			}
			taken[i] = true
			continue
		}
		taken[i] = true
		old := &u.fields[i]
		t, at, ok := u.unite(old.Type, f.Type)
		if !ok {
			c := &Conflict{Column: old.Name, First: u.from[i], Second: file, A: old.Type, B: f.Type}
			if at != "" {
				c.Column += "." + at
			}
			return c
		}
		if !arrow.TypeEqual(t, old.Type) {
			old.Type, u.from[i] = t, file
		}
		old.Nullable = old.Nullable || f.Nullable
	}
	for i := range u.fields {
		u.fields[i].Nullable = u.fields[i].Nullable || !taken[i]
	}
	u.files++
	return nil
}

// Fields returns the columns gathered so far.
func (u *Union) Fields() []arrow.Field { return u.fields }

// digits are the decimal digits that an integer type needs.
var digits = map[arrow.Type]int32{arrow.INT8: 3, arrow.INT16: 5, arrow.INT32: 10, arrow.INT64: 19}

const maxDigits = 38

func uniteNumbers(a, b arrow.DataType) arrow.DataType {
	da, ia := digits[a.ID()]
	db, ib := digits[b.ID()]
	fa, fb := arrow.IsFloating(a.ID()), arrow.IsFloating(b.ID())
	switch {
	case ia && ib:
		if da > db {
			return a
		}
		return b
	case fa && fb, fa && ib, ia && fb:
		return arrow.PrimitiveTypes.Float64
	}
	xa, oka := a.(*arrow.Decimal128Type)
	xb, okb := b.(*arrow.Decimal128Type)
	if ia {
		xa, oka = &arrow.Decimal128Type{Precision: da}, true
	}
	if ib {
		xb, okb = &arrow.Decimal128Type{Precision: db}, true
	}
	if !oka || !okb {
		return nil
	}
	scale := max(xa.Scale, xb.Scale)
	whole := max(xa.Precision-xa.Scale, xb.Precision-xb.Scale)
	if whole+scale > maxDigits {
		return nil
	}
	return &arrow.Decimal128Type{Precision: whole + scale, Scale: scale}
}
