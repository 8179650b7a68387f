package sql

import (
	"errors"

	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// at gives an error a place in the text, if it has none yet.
func at(pos ast.Pos, err error) error {
	if err == nil {
		return nil
	}
	var pe *ast.PosError
	if errors.As(err, &pe) {
		return err
	}
	return ast.Errorf(pos, "%w", err)
}

// unknownColumn says which column does not exist, and which one may be meant.
func unknownColumn(sc *scope, parts []ast.Ident) error {
	pos := parts[0].Pos
	if len(parts) > 1 && sc.has(parts[:1]) {
		err := ast.Errorf(parts[1].Pos, "table %q has no column %q", parts[0].Name, parts[1].Name)
		if near := ast.Nearest(parts[1].Name, sc.names(parts[:1])); near != "" {
			return err.WithHint("did you mean %q?", near)
		}
		return err
	}
	err := ast.Errorf(pos, "unknown column %q", dotted(parts))
	if len(parts) > 1 {
		if near := ast.Nearest(parts[0].Name, sc.tables()); near != "" {
			return err.WithHint("did you mean %q?", near+"."+dotted(parts[1:]))
		}
	}
	names := sc.names(nil)
	if near := ast.Nearest(parts[0].Name, names); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	switch {
	case len(names) == 0:
		return err.WithHint("there is no FROM that it could come from")
	case len(names) <= 12:
		return err.WithHint("there are %s", quotedList(names))
	}
	return err
}

func quotedList(names []string) string {
	s := ""
	for i, n := range names {
		switch {
		case i > 0 && i == len(names)-1:
			s += " and "
		case i > 0:
			s += ", "
		}
		s += `"` + n + `"`
	}
	return s
}

// specialFunctions are calls that the binder knows itself.
var specialFunctions = []string{"window", "session_window", "window_time", "try_cast", "cast", "extract", "struct", "grouping", "explode"}

// unknownFunction says which function does not exist, and which one may be meant.
func (x *exprBinder) unknownFunction(name ast.Name) error {
	last := name.Parts[len(name.Parts)-1].Name
	err := ast.Errorf(name.Pos, "unknown function %q", last)
	all := append(functions.Names(), specialFunctions...)
	if x.b.cat != nil {
		all = append(all, x.b.cat.Functions()...)
	}
	if near := ast.Nearest(last, all); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err.WithHint("SHOW FUNCTIONS lists what there is")
}
