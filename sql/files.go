package sql

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// FileCatalog is a catalog that reads files without a declared table: read_csv(..),
// csv.`path` and 'path' in FROM.
type FileCatalog interface {
	Catalog
	// Files returns a table of files. format is "" where the names tell it.
	Files(format string, paths []string, options map[string]string) (*Relation, error)
}

// fileFunctions are the functions that read files, and their formats.
var fileFunctions = map[string]string{
	"READ_CSV": "csv", "READ_CSV_AUTO": "csv", "READ_JSON": "json", "READ_JSON_AUTO": "json", "READ_PARQUET": "parquet", "PARQUET_SCAN": "parquet",
	"READ_ARROW": "arrow", "READ_TEXT": "text", "READ_FILES": "",
}

func isFileFunction(name string) bool {
	_, ok := fileFunctions[name]
	return ok
}

// fileTable binds a function that reads files: paths, and options by name.
func (b *binder) fileTable(t *ast.TableFunc, name string) (*scope, error) {
	cat, ok := b.cat.(FileCatalog)
	if !ok {
		return nil, unsupported(t.Pos, "the table function "+name)
	}
	var paths []string
	opts := map[string]string{}
	for _, a := range t.Call.Args {
		if n, ok := a.(*ast.NamedArg); ok {
			v, ok := constantText(n.X)
			if !ok {
				return nil, ast.Errorf(n.Pos, "%s: the option %s needs a constant", name, n.Name.Name)
			}
			opts[n.Name.Name] = v
			continue
		}
		list := []ast.Expr{a}
		if c, ok := a.(*ast.Call); ok && strings.EqualFold(c.Name.Parts[0].Name, "array") {
			list = c.Args
		}
		for _, p := range list {
			lit, ok := p.(*ast.Literal)
			if !ok || lit.Kind != ast.LitString {
				return nil, ast.Errorf(p.Position(), "%s takes paths as text, then options such as header => false", name)
			}
			paths = append(paths, lit.Text)
		}
	}
	if len(paths) == 0 {
		return nil, ast.Errorf(t.Pos, "%s needs a path: %s('in/*.csv')", name, strings.ToLower(name))
	}
	rel, err := cat.Files(fileFunctions[name], paths, opts)
	if err != nil {
		return nil, ast.Errorf(t.Pos, "%w", err)
	}
	return b.scan(rel.Table)
}

// constantText is a literal as an option's value.
func constantText(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.Literal:
		if e.Kind == ast.LitBool {
			return strings.ToLower(e.Text), true
		}
		return e.Text, e.Kind != ast.LitNull
	case *ast.Unary:
		v, ok := constantText(e.X)
		return e.Op + v, ok && e.Op == "-"
	}
	return "", false
}
