package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
)

// checkPackages wants a doc.go with a package comment in every package, and a
// package comment in every program.
func (t *Tree) checkPackages() []Finding {
	type pkg struct{ docFile, comment, program bool }
	pkgs := map[string]*pkg{}
	for _, f := range t.Go {
		if f.Test {
			continue
		}
		p := pkgs[f.Dir]
		if p == nil {
			p = &pkg{}
			pkgs[f.Dir] = p
		}
		isDoc := path.Base(f.Path) == "doc.go"
		hasComment := f.AST.Doc != nil && strings.TrimSpace(f.AST.Doc.Text()) != ""
		p.docFile = p.docFile || isDoc && hasComment
		p.comment = p.comment || hasComment
		p.program = p.program || f.AST.Name.Name == "main"
	}
	var found []Finding
	for _, dir := range slices.Sorted(maps.Keys(pkgs)) {
		switch p := pkgs[dir]; {
		case p.program && !p.comment:
			found = append(found, Finding{"doc", dir, 0, "the program has no package comment"})
		case !p.program && !p.docFile:
			found = append(found, Finding{"doc", dir, 0, "the package has no doc.go with a package comment"})
		}
	}
	return found
}

// Unguarded lists the packages that start goroutines or have tests of them but
// no goleak in TestMain. It is advice, not a finding: a package without a
// goroutine has nothing to leak.
func (t *Tree) Unguarded() []string {
	tests, guarded := map[string]bool{}, map[string]bool{}
	for _, f := range t.Go {
		if !f.Test {
			continue
		}
		tests[f.Dir] = true
		if strings.Contains(string(f.src), "goleak.VerifyTestMain") {
			guarded[f.Dir] = true
		}
	}
	var names []string
	for _, dir := range slices.Sorted(maps.Keys(tests)) {
		if !guarded[dir] && t.startsGoroutines(dir) {
			names = append(names, fmt.Sprintf("%s starts goroutines and its tests have no goleak.VerifyTestMain", dir))
		}
	}
	return names
}

func (t *Tree) startsGoroutines(dir string) bool {
	for _, f := range t.Go {
		if f.Dir != dir {
			continue
		}
		found := false
		ast.Inspect(f.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = true
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				found = found || ok && sel.Sel.Name == "Go" // of a WaitGroup or an errgroup
			}
			return !found
		})
		if found {
			return true
		}
	}
	return false
}
