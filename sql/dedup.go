package sql

import (
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// dropDuplicates binds DROP_DUPLICATES(TABLE t, DESCRIPTOR(k1, k2) [, 'within watermark']).
func (b *binder) dropDuplicates(t *ast.TableFunc) (*scope, error) {
	const name = "DROP_DUPLICATES"
	if t.Ordinality || t.Call.Distinct || t.Call.OrderBy != nil || t.Call.Nulls != "" || t.Call.WithinGroup != nil {
		return nil, ast.Errorf(t.Pos, "%s takes arguments alone: neither DISTINCT, ORDER BY nor WITH ORDINALITY", name)
	}
	args, err := namedArgs(t.Call, name, []string{"DATA", "COLUMNS", "WITHIN"}, 1)
	if err != nil {
		return nil, err
	}
	sc, err := b.windowData(args["DATA"], name)
	if err != nil {
		return nil, err
	}
	n := &logical.Dedup{Input: sc.node}
	d, ok := args["COLUMNS"].(*ast.Descriptor)
	if !ok {
		return nil, ast.Errorf(t.Pos, "%s needs the columns that tell rows apart: %s(TABLE t, DESCRIPTOR(k1, k2))", name, name)
	}
	x := &exprBinder{b: b, sc: sc, clause: name}
	for _, id := range d.Columns {
		v, err := x.column(&ast.Column{Pos: id.Pos, Parts: []ast.Ident{id}})
		if err != nil {
			return nil, err
		}
		c, ok := v.(*expr.Column)
		if !ok {
			return nil, ast.Errorf(id.Pos, "%s needs a column, %q is none", name, id.Name)
		}
		if !slices.Contains(n.Keys, c.Index) {
			n.Keys = append(n.Keys, c.Index)
		}
	}
	if w := args["WITHIN"]; w != nil {
		lit, ok := w.(*ast.Literal)
		if !ok || lit.Kind != ast.LitString || !strings.EqualFold(strings.Join(strings.Fields(lit.Text), " "), "within watermark") {
			return nil, ast.Errorf(w.Position(), "the third argument of %s is 'within watermark', or left out", name)
		}
		n.Within = true
	}
	sc.node = n
	return sc, nil
}
