package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// nameOf is the name of a call as functions are looked up.
func nameOf(c *ast.Call) string { return strings.ToLower(c.Name.Parts[len(c.Name.Parts)-1].Name) }

var exclusions = map[string]expr.Exclusion{
	"CURRENT ROW": expr.ExcludeCurrent, "GROUP": expr.ExcludeGroup, "TIES": expr.ExcludeTies,
}

// frame binds the frame of a window. Without one it is the partition or, with
// ORDER BY, what comes up to the row and its peers.
func (x *exprBinder) frame(s *ast.WindowSpec) (expr.Frame, error) {
	whole := expr.Frame{Unit: expr.FrameRows, Start: expr.FrameBound{Kind: expr.UnboundedPreceding}, End: expr.FrameBound{Kind: expr.UnboundedFollowing}}
	f := s.Frame
	switch {
	case f == nil && s.OrderBy == nil:
		return whole, nil
	case f == nil:
		whole.Unit, whole.End.Kind = expr.FrameRange, expr.CurrentRow
		return whole, nil
	case f.Unit == "GROUPS" && s.OrderBy == nil:
		return whole, ast.Errorf(f.Pos, "a GROUPS frame needs an order: OVER (ORDER BY ..)")
	}
	out := expr.Frame{Unit: expr.FrameRows, Exclude: exclusions[f.Exclude]}
	out.Start.Kind, out.End.Kind = expr.BoundKind(f.Start.Kind), expr.BoundKind(f.End.Kind)
	switch f.Unit {
	case "RANGE":
		out.Unit = expr.FrameRange
		if f.Start.Offset != nil || f.End.Offset != nil {
			return out, x.rangeFrame(&out, s)
		}
		return out, nil
	case "GROUPS":
		out.Unit = expr.FrameGroups
	}
	for _, b := range []struct {
		e  ast.Expr
		to *expr.FrameBound
	}{{f.Start.Offset, &out.Start}, {f.End.Offset, &out.End}} {
		if b.e == nil {
			continue
		}
		v, err := x.bind(b.e)
		if err == nil && readsColumns(v) && v.Type().ID() >= arrow.INT8 && v.Type().ID() <= arrow.INT64 {
			b.to.Value, err = cast(b.e.Position(), v, expr.TypeInt64, false)
		} else if err == nil {
			b.to.Offset, err = x.whole(b.e, "a "+f.Unit+" frame", 0)
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// readsColumns says whether a value is another for each row.
func readsColumns(e expr.Expr) bool {
	found := false
	expr.Walk(e, func(e expr.Expr) bool {
		_, is := e.(*expr.Column)
		found = found || is
		return !found
	})
	return found
}

// rangeFrame binds the bounds of a frame that reaches as far as the order key
// differs by an offset: as the key less or plus the offset, where an overflow
// gives NULL, which lies beyond all keys.
func (x *exprBinder) rangeFrame(out *expr.Frame, s *ast.WindowSpec) error {
	if len(s.OrderBy) != 1 {
		return ast.Errorf(s.Frame.Pos, "a RANGE frame with an offset needs an ORDER BY of one expression")
	}
	it := s.OrderBy[0]
	key, err := x.bind(it.Expr)
	if err != nil {
		return err
	}
	k, err := sortKey(it, key)
	if err != nil {
		return err
	}
	if !hasDistance(key.Type()) {
		return ast.Errorf(s.Frame.Pos, "a RANGE frame with an offset orders by a number, date, time or interval, not by %s", expr.TypeName(key.Type()))
	}
	out.Desc, out.NullsFirst = k.Desc, k.NullsFirst
	es := []expr.Expr{key}
	for _, b := range []struct {
		at ast.Bound
		to *expr.FrameBound
	}{{s.Frame.Start, &out.Start}, {s.Frame.End, &out.End}} {
		if b.at.Offset == nil {
			continue
		}
		off, err := x.rangeOffset(b.at.Offset)
		if err == nil && key.Type().ID() == arrow.FLOAT32 { // as exact as the key itself
			off, err = cast(b.at.Offset.Position(), off, key.Type(), false)
		}
		if err != nil {
			return err
		}
		op := "try_add"
		if (b.at.Kind == ast.Preceding) != k.Desc {
			op = "try_subtract"
		}
		if b.to.Value, err = functions.Scalar(op, []expr.Expr{key, off}); err != nil {
			return ast.Errorf(b.at.Offset.Position(), "a RANGE frame over an order of %s cannot reach as far as %s, which is %s",
				expr.TypeName(key.Type()), short(ast.SQL(b.at.Offset)), expr.TypeName(off.Type()))
		}
		es = append(es, b.to.Value)
	}
	if es, _, err = functions.Coerce("a RANGE frame", es); err != nil {
		return at(s.Frame.Pos, err)
	}
	out.Key, es = es[0], es[1:]
	for _, b := range []*expr.FrameBound{&out.Start, &out.End} {
		if b.Value != nil {
			b.Value, es = es[0], es[1:]
		}
	}
	return nil
}

func hasDistance(dt arrow.DataType) bool {
	switch id := dt.ID(); id {
	case arrow.DECIMAL128, arrow.DATE32, arrow.TIMESTAMP, arrow.DURATION, arrow.INTERVAL_MONTHS:
		return true
	default:
		return id >= arrow.UINT8 && id <= arrow.FLOAT64
	}
}

// rangeOffset evaluates a distance: a constant, zero or more, or a value of each row.
func (x *exprBinder) rangeOffset(e ast.Expr) (expr.Expr, error) {
	v, err := x.bind(e)
	if err != nil {
		return nil, err
	}
	if readsColumns(v) && hasDistance(v.Type()) && v.Type().ID() != arrow.DATE32 && v.Type().ID() != arrow.TIMESTAMP {
		return v, nil
	}
	l, ok := x.b.computed(v).(*expr.Literal)
	below := false
	if ok {
		switch n := l.Value.(type) {
		case int64:
			below = n < 0
		case float64:
			below = !(n >= 0)
		case decimal128.Num:
			below = n.Sign() < 0
		default:
			ok = false
		}
	}
	if !ok || below || !hasDistance(l.DT) || l.DT.ID() == arrow.DATE32 || l.DT.ID() == arrow.TIMESTAMP {
		return nil, ast.Errorf(e.Position(), "a RANGE frame needs a constant number or interval, zero or more, found %s", short(ast.SQL(e)))
	}
	return l, nil
}
