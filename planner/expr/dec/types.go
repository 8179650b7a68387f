package dec

import "github.com/apache/arrow-go/v18/arrow"

// MaxPrecision is the most digits that a decimal may have.
const MaxPrecision = 38

// minAdjustedScale is how many fraction digits stay when precision runs out.
const minAdjustedScale = 6

// Type is a decimal's precision and scale.
type Type struct{ P, S int32 }

// Of returns the decimal that holds every value of an integer type, or the decimal type's own.
func Of(dt arrow.DataType) (Type, bool) {
	switch t := dt.(type) {
	case *arrow.Decimal128Type:
		return Type{t.Precision, t.Scale}, true
	case *arrow.Int8Type:
		return Type{3, 0}, true
	case *arrow.Int16Type:
		return Type{5, 0}, true
	case *arrow.Int32Type:
		return Type{10, 0}, true
	case *arrow.Int64Type:
		return Type{20, 0}, true
	}
	return Type{}, false
}

// Arrow returns the Arrow type.
func (t Type) Arrow() arrow.DataType { return &arrow.Decimal128Type{Precision: t.P, Scale: t.S} }

// Adjust bounds the precision at 38 digits, giving up fraction digits down to
// six before digits of the whole part.
func Adjust(p, s int32) Type {
	if p <= MaxPrecision {
		return Type{p, s}
	}
	whole := p - s
	return Type{MaxPrecision, max(MaxPrecision-whole, min(s, minAdjustedScale))}
}

// Bounded cuts precision and scale at 38 digits without adjusting.
func Bounded(p, s int32) Type { return Type{min(p, MaxPrecision), min(s, MaxPrecision)} }

// Wider returns the type that holds all values of both.
func Wider(a, b Type) Type {
	s := max(a.S, b.S)
	return Bounded(max(a.P-a.S, b.P-b.S)+s, s)
}

// Add returns the type of a sum or difference.
func Add(a, b Type) Type {
	s := max(a.S, b.S)
	return Adjust(max(a.P-a.S, b.P-b.S)+s+1, s)
}

// Mul returns the type of a product.
func Mul(a, b Type) Type { return Adjust(a.P+b.P+1, a.S+b.S) }

// Div returns the type of a quotient.
func Div(a, b Type) Type {
	s := max(6, a.S+b.P+1)
	return Adjust(a.P-a.S+b.S+s, s)
}

// Mod returns the type of a remainder.
func Mod(a, b Type) Type {
	s := max(a.S, b.S)
	return Adjust(min(a.P-a.S, b.P-b.S)+s, s)
}
