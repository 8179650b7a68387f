package lint

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the path that the repository's packages start with.
const Module = "github.com/sluice-stream/sluice"

// textSizeMax is the size above which a file is taken for data and not read.
const textSizeMax = 1 << 20

// Finding is one breach of a rule.
type Finding struct {
	Check   string
	File    string // relative to the root, with slashes
	Line    int    // 0: the file as a whole
	Message string
}

// String prints the finding so that editors jump to it.
func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", f.File, f.Check, f.Message)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Check, f.Message)
}

// Tree is a repository, read.
type Tree struct {
	Root  string
	Files []string // all files that are or could be committed, sorted
	Go    []*GoFile
	fset  *token.FileSet
}

// GoFile is one parsed Go file.
type GoFile struct {
	Path  string // relative to the root
	Dir   string // its package's directory, "." for the root
	Test  bool
	Lines int
	AST   *ast.File
	src   []byte
	// allowed holds, by check, the lines that an excuse covers.
	allowed map[string]map[int]bool
	excuses []Finding // excuses without a reason
}

// Load reads the repository at root.
func Load(root string) (*Tree, error) {
	files, err := listFiles(root)
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", root, err)
	}
	t := &Tree{Root: root, Files: files, fset: token.NewFileSet()}
	for _, name := range files {
		if !strings.HasSuffix(name, ".go") || inTestdata(name) {
			continue
		}
		f, err := t.parse(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // listed by git, and deleted since
		}
		if err != nil {
			return nil, err
		}
		t.Go = append(t.Go, f)
	}
	return t, nil
}

// listFiles asks git for what is committed or could be, and walks the
// directory where there is no git.
func listFiles(root string) ([]string, error) {
	cmd := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if out, err := cmd.Output(); err == nil {
		names := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
		slices.Sort(names)
		return slices.Compact(names), nil
	}
	var names []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == ".work" || rel == "bin" || rel == "out") {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			names = append(names, filepath.ToSlash(rel))
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}

func (t *Tree) parse(name string) (*GoFile, error) {
	src, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	tree, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	f := &GoFile{
		Path: name, Dir: path.Dir(name), Test: strings.HasSuffix(name, "_test.go"),
		Lines: strings.Count(string(src), "\n"), AST: tree, src: src,
		allowed: map[string]map[int]bool{},
	}
	t.readExcuses(f)
	return f, nil
}

// readExcuses notes the lines that comments of the form //sluice:allow cover.
func (t *Tree) readExcuses(f *GoFile) {
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			text, ok := strings.CutPrefix(c.Text, "//sluice:allow ")
			if !ok {
				continue
			}
			line := t.fset.Position(c.Pos()).Line
			words := strings.Fields(text)
			if len(words) < 3 {
				f.excuses = append(f.excuses, Finding{"excuse", f.Path, line, "an excuse names the check and gives a reason of more than one word"})
				continue
			}
			lines := f.allowed[words[0]]
			if lines == nil {
				lines = map[int]bool{}
				f.allowed[words[0]] = lines
			}
			lines[line], lines[line+1] = true, true
		}
	}
}

// line returns the line of a position.
func (t *Tree) line(p token.Pos) int { return t.fset.Position(p).Line }

// generated reports whether f says that a program wrote it.
func (f *GoFile) generated() bool { return ast.IsGenerated(f.AST) }

// Check runs every check and returns the findings that are not excused, sorted
// by place.
func (t *Tree) Check() []Finding {
	var all []Finding
	for _, f := range t.Go {
		found := slices.Concat(t.checkImports(f), t.checkCalls(f))
		for _, one := range found {
			if !f.allowed[one.Check][one.Line] {
				all = append(all, one)
			}
		}
		all = append(all, f.excuses...)
	}
	all = slices.Concat(all, t.checkSizes(), t.checkPackages(), t.checkPaths(), t.checkIndex(), t.checkMachine())
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	return all
}

func inTestdata(name string) bool {
	return strings.HasPrefix(name, "testdata/") || strings.Contains(name, "/testdata/")
}
