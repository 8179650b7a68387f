package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// pure lists the packages that decide and never act.
var pure = []string{"microbatch/...", "planner/...", "sql/..."}

// clockCalls are the functions of package time that read or wait for the clock.
var clockCalls = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"NewTimer": true, "NewTicker": true, "Tick": true,
}

// programs lists the packages that may print and exit.
var programs = []string{"cmd/...", "tools/...", "examples/...", "bench/...", "test/..."}

// checkCalls looks for calls that are banned where the file lies.
func (t *Tree) checkCalls(f *GoFile) []Finding {
	c := &callChecker{tree: t, file: f, names: importNames(f.AST)}
	c.pure = !f.Test && anyMatches(pure, f.Dir)
	c.program = anyMatches(programs, f.Dir) || f.AST.Name.Name == "main"
	ast.Walk(c, f.AST)
	return c.found
}

// callChecker visits a file. synctest.Test gives its function a virtual clock,
// in which sleeping is free and the only way to pass time.
type callChecker struct {
	tree    *Tree
	file    *GoFile
	names   map[string]string // local name of an import -> its path
	pure    bool
	program bool
	virtual bool // inside a function given to synctest.Test
	found   []Finding
}

// Visit implements ast.Visitor.
func (c *callChecker) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.GoStmt:
		if c.pure {
			c.add(n.Pos(), "a goroutine in a package that only decides")
		}
	case *ast.SelectorExpr:
		c.selector(n)
	case *ast.CallExpr:
		c.call(n)
		if pkg, name := c.resolve(n.Fun); pkg == "testing/synctest" && name == "Test" {
			inner := *c
			inner.virtual, inner.found = true, nil
			for _, arg := range n.Args {
				ast.Walk(&inner, arg)
			}
			c.found = append(c.found, inner.found...)
			return nil
		}
	}
	return c
}

// selector judges every mention of a name of another package, called or not.
func (c *callChecker) selector(n *ast.SelectorExpr) {
	pkg, name := c.resolve(n)
	switch {
	case pkg == "time" && clockCalls[name] && c.pure:
		c.add(n.Pos(), "time.%s in a package that gets time inside events and plans", name)
	case pkg == "time" && name == "Sleep" && c.file.Test && !c.virtual:
		c.add(n.Pos(), "time.Sleep in a test: wait for a condition, use a clock.Manual, or run inside synctest.Test")
	case pkg == arrowTypes && name == "Record":
		c.add(n.Pos(), "arrow.Record is deprecated: rows are arrow.RecordBatch")
	case pkg == "fmt" && strings.HasPrefix(name, "Print") && !c.program && !c.file.Test:
		c.add(n.Pos(), "fmt.%s in a library: write to an io.Writer of the caller, or send an event", name)
	case pkg == "os" && c.processOnly(name) && !c.program && !c.file.Test:
		c.add(n.Pos(), "os.%s in a library: that belongs to the program", name)
	case (pkg == "math/rand" || pkg == "math/rand/v2") && globalRand[name]:
		c.add(n.Pos(), "rand.%s draws from the process's generator: make one from a seed", name)
	}
}

// processOnly lists what of package os belongs to the program. The root package
// may name the standard streams: they are the defaults of its options.
func (c *callChecker) processOnly(name string) bool {
	return name == "Exit" || (name == "Stdout" || name == "Stderr") && c.file.Dir != "."
}

// globalRand are the functions of math/rand and math/rand/v2 that use shared state.
var globalRand = func() map[string]bool {
	m := map[string]bool{}
	for _, name := range strings.Fields("Int IntN Intn Int31 Int31n Int32 Int32N Int63 Int63n Int64 Int64N Uint Uint32 Uint32N Uint64 " +
		"Uint64N UintN N Float32 Float64 ExpFloat64 NormFloat64 Perm Shuffle Read Seed") {
		m[name] = true
	}
	return m
}()

// call judges calls of builtin functions.
func (c *callChecker) call(n *ast.CallExpr) {
	id, ok := n.Fun.(*ast.Ident)
	if !ok {
		return
	}
	switch {
	case id.Name == "panic" && !c.file.Test && c.file.Dir != "internal/invariants" && len(n.Args) == 1 && c.isText(n.Args[0]):
		c.add(n.Pos(), "panic with a text: return an error, or state an invariant with internal/invariants")
	case (id.Name == "println" || id.Name == "print") && !c.file.Test:
		c.add(n.Pos(), "%s is for debugging", id.Name)
	}
}

// isText reports whether an expression makes a message: a literal, a
// concatenation, or a call of fmt or errors.
func (c *callChecker) isText(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.BinaryExpr:
		return c.isText(e.X) || c.isText(e.Y)
	case *ast.CallExpr:
		pkg, _ := c.resolve(e.Fun)
		return pkg == "fmt" || pkg == "errors"
	}
	return false
}

// resolve returns the import path and the name of a qualified identifier. A
// local variable with an import's name would deceive it; none does here.
func (c *callChecker) resolve(e ast.Expr) (pkg, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return c.names[id.Name], sel.Sel.Name
}

func (c *callChecker) add(p token.Pos, format string, args ...any) {
	c.found = append(c.found, Finding{"calls", c.file.Path, c.tree.line(p), fmt.Sprintf(format, args...)})
}

// importNames maps the local names of a file's imports to their paths.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if len(name) > 1 && name[0] == 'v' && name[1] >= '0' && name[1] <= '9' {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func anyMatches(patterns []string, dir string) bool {
	for _, p := range patterns {
		if matches(p, dir) {
			return true
		}
	}
	return false
}
