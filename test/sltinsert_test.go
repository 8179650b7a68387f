package test

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// insertions are the files that the statements of a pass have made, one after the
// other. A stream is given copies: a statement that is repeated later may find its
// names changed, or another meaning behind them.
type insertions struct {
	known map[string]bool // files that are there
	made  [][]insertedFile
}

type insertedFile struct {
	path string
	at   time.Time
}

// know says that a file is of another origin.
func (n *insertions) know(path string) {
	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[path] = true
}

// note looks what a statement has added, if it is one that adds rows.
func (n *insertions) note(dir, sql string) error {
	stmts, err := parser.Parse(sql, parser.Options{})
	if err != nil {
		return nil // a setting has changed what can be read
	}
	if _, ok := stmts[0].(*ast.Insert); !ok {
		return nil
	}
	var made []insertedFile
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || n.known[path] || strings.HasPrefix(path, filepath.Join(dir, "run")) {
			return err
		}
		n.know(path)
		info, err := d.Info()
		if err == nil {
			made = append(made, insertedFile{path, info.ModTime()})
		}
		return err
	})
	// What names the files of a commit is written behind them.
	slices.SortFunc(made, func(a, b insertedFile) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.path, b.path)) })
	n.made = append(n.made, made)
	return err
}

// into reports whether a statement has added to the folder of a table.
func (n *insertions) into(folder string) bool {
	return slices.ContainsFunc(n.made, func(files []insertedFile) bool {
		return slices.ContainsFunc(files, func(f insertedFile) bool { return strings.HasPrefix(f.path, folder+string(filepath.Separator)) })
	})
}

// copy gives a run what statement i has added.
func (n *insertions) copy(i int, from, to string) error {
	for _, f := range n.made[i] {
		path := strings.Replace(f.path, from, to, 1)
		b, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		part := filepath.Join(filepath.Dir(path), ".part")
		if err := os.WriteFile(part, b, 0o644); err != nil {
			return err
		}
		if err := os.Rename(part, path); err != nil {
			return err
		}
	}
	return nil
}
