package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The limits. A test may be longer than a function of production code, because
// a table of cases is read differently, but not without end.
const (
	fileLinesMax     = 800
	funcLinesMax     = 70
	testFuncLinesMax = 150
)

// ratchetFile lists the offenders of old, one a line: name and lines.
const ratchetFile = "internal/lint/ratchet.txt"

// ratchetHeader explains the file to whoever opens it.
const ratchetHeader = `# Files and functions above the limits of internal/lint, with their size in lines.
# They may only shrink. Bring the list down with: go test ./internal/lint -rewrite
`

// offender is a file or a function above its limit.
type offender struct {
	file  string
	line  int
	lines int
	limit int
}

// offenders measures the tree. Names are the file's path, or path:function.
func (t *Tree) offenders() map[string]offender {
	all := map[string]offender{}
	for _, f := range t.Go {
		if f.generated() {
			continue
		}
		if f.Lines > fileLinesMax {
			all[f.Path] = offender{f.Path, 0, f.Lines, fileLinesMax}
		}
		limit := funcLinesMax
		if f.Test {
			limit = testFuncLinesMax
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			first := t.line(fn.Pos())
			if n := t.line(fn.End()) - first + 1; n > limit {
				all[f.Path+":"+funcName(fn)] = offender{f.Path, first, n, limit}
			}
		}
	}
	return all
}

// checkSizes holds the offenders against the ratchet.
func (t *Tree) checkSizes() []Finding {
	old, err := t.readRatchet()
	if err != nil {
		return []Finding{{"size", ratchetFile, 0, err.Error()}}
	}
	now := t.offenders()
	var found []Finding
	for name, o := range now {
		switch was, ok := old[name]; {
		case !ok:
			found = append(found, Finding{"size", o.file, o.line, fmt.Sprintf("%s has %d lines, more than %d: split it", name, o.lines, o.limit)})
		case o.lines > was:
			found = append(found, Finding{"size", o.file, o.line, fmt.Sprintf("%s has grown from %d to %d lines: it may only shrink", name, was, o.lines)})
		case o.lines < was:
			found = append(found, Finding{"size", ratchetFile, 0, fmt.Sprintf("%s has shrunk from %d to %d lines: run go test ./internal/lint -rewrite", name, was, o.lines)})
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			found = append(found, Finding{"size", ratchetFile, 0, fmt.Sprintf("%s is within the limits or gone: run go test ./internal/lint -rewrite", name)})
		}
	}
	return found
}

func (t *Tree) readRatchet() (map[string]int, error) {
	data, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(ratchetFile)))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sizes := map[string]int{}
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, lines, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(lines)
		if err != nil {
			return nil, fmt.Errorf("line %d: want a name and a number of lines, found %q", i+1, line)
		}
		sizes[name] = n
	}
	return sizes, nil
}

// LowerRatchet brings the list down to what is left. It never adds or raises
// an entry.
func (t *Tree) LowerRatchet() error {
	old, err := t.readRatchet()
	if err != nil {
		return fmt.Errorf("read %s: %w", ratchetFile, err)
	}
	now := t.offenders()
	text := ratchetHeader
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if o, ok := now[name]; ok {
			text += fmt.Sprintf("%s %d\n", name, min(o.lines, old[name]))
		}
	}
	return os.WriteFile(filepath.Join(t.Root, filepath.FromSlash(ratchetFile)), []byte(text), 0o644)
}

// funcName prints Type.Method or the function's name.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	recv := fn.Recv.List[0].Type
	for {
		switch r := recv.(type) {
		case *ast.StarExpr:
			recv = r.X
			continue
		case *ast.IndexExpr:
			recv = r.X
			continue
		case *ast.IndexListExpr:
			recv = r.X
			continue
		case *ast.Ident:
			return r.Name + "." + fn.Name.Name
		}
		return fn.Name.Name
	}
}
