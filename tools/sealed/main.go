package main

import (
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/analysis/singlechecker"
	"golang.org/x/tools/go/ast/inspector"
)

// module is the path that the interfaces to check start with.
const module = "github.com/sluice-stream/sluice"

var analyzer = &analysis.Analyzer{
	Name:     "sealed",
	Doc:      "type switches over sealed interfaces name every member or have a default",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      run,
}

func main() { singlechecker.Main(analyzer) }

func run(pass *analysis.Pass) (any, error) {
	in, ok := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector)
	if !ok {
		return nil, nil
	}
	in.Preorder([]ast.Node{(*ast.TypeSwitchStmt)(nil)}, func(n ast.Node) {
		if sw, ok := n.(*ast.TypeSwitchStmt); ok {
			check(pass, sw)
		}
	})
	return nil, nil
}

// check reports the members that a switch without a default leaves out, if it
// names at least half of them.
func check(pass *analysis.Pass, sw *ast.TypeSwitchStmt) {
	named, iface := sealed(pass.TypesInfo.TypeOf(operand(sw)))
	if named == nil {
		return
	}
	var cases []types.Type
	for _, stmt := range sw.Body.List {
		clause, ok := stmt.(*ast.CaseClause)
		if !ok {
			continue
		}
		if clause.List == nil {
			return // a default
		}
		for _, e := range clause.List {
			cases = append(cases, pass.TypesInfo.TypeOf(e))
		}
	}
	var missing []string
	all := members(named, iface)
	for _, m := range all {
		if !slices.ContainsFunc(cases, func(c types.Type) bool { return covers(c, m) }) {
			missing = append(missing, m.Obj().Name())
		}
	}
	// With less than half of the members named it picks out a few, and a new
	// member is none of its business.
	if len(missing) > 0 && 2*len(missing) <= len(all) {
		pass.Reportf(sw.Pos(), "the switch over %s has no default and leaves out %s", named.Obj().Name(), strings.Join(missing, ", "))
	}
}

// operand returns x of switch x.(type) and of switch v := x.(type).
func operand(sw *ast.TypeSwitchStmt) ast.Expr {
	var e ast.Expr
	switch s := sw.Assign.(type) {
	case *ast.ExprStmt:
		e = s.X
	case *ast.AssignStmt:
		e = s.Rhs[0]
	}
	if a, ok := e.(*ast.TypeAssertExpr); ok {
		return a.X
	}
	return e
}

// sealed returns t as a named interface of the module with an unexported
// method, or nil.
func sealed(t types.Type) (*types.Named, *types.Interface) {
	if t == nil {
		return nil, nil
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return nil, nil
	}
	path := named.Obj().Pkg().Path()
	iface, ok := named.Underlying().(*types.Interface)
	if !ok || path != module && !strings.HasPrefix(path, module+"/") {
		return nil, nil
	}
	for i := range iface.NumMethods() {
		if !iface.Method(i).Exported() {
			return named, iface
		}
	}
	return nil, nil
}

// members returns the types of the interface's package that implement it, by
// value or by pointer, in order of their names.
func members(named *types.Named, iface *types.Interface) []*types.Named {
	var all []*types.Named
	scope := named.Obj().Pkg().Scope()
	for _, name := range scope.Names() {
		obj, ok := scope.Lookup(name).(*types.TypeName)
		if !ok || obj.IsAlias() {
			continue
		}
		m, ok := obj.Type().(*types.Named)
		if !ok || types.IsInterface(m) || m.TypeParams().Len() > 0 {
			continue
		}
		if types.Implements(m, iface) || types.Implements(types.NewPointer(m), iface) {
			all = append(all, m)
		}
	}
	return all
}

// covers reports whether a case catches a member: as itself, as a pointer, or
// by an interface that it implements.
func covers(c types.Type, m *types.Named) bool {
	if c == nil {
		return false
	}
	pointer := types.NewPointer(m)
	if i, ok := c.Underlying().(*types.Interface); ok {
		return types.Implements(m, i) || types.Implements(pointer, i)
	}
	return types.Identical(c, m) || types.Identical(c, pointer)
}
