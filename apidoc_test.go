package sluice

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

const dataFramePage = "docs/dataframe.md"

const dataFrameHead = `# DataFrames

<!-- Written from the package's comments by go test . -run TestDataFramePage -rewrite; do not edit. -->

A DataFrame is a query that has not run yet. Its methods build the tree that the SQL parser makes, so a plan is the same
whichever way it was written; a test compares the two for each of them. Methods never fail: what runs the query reports the
first fault. Package ` + "`fn`" + ` has a Go function for each function of SQL, and lambdas are Go closures:

    s, err := sluice.NewSession(sluice.Options{})
    orders := s.ReadFiles().Parquet(ctx, "orders/*.parquet")
    best := orders.
        Where(sluice.Col("status").Eq("paid")).
        WithColumn("rank", fn.Rank().Over(sluice.PartitionBy("customer").OrderBy(sluice.Col("total").Desc()))).
        Where("rank = 1")
    rows, err := sluice.Scan[Order](ctx, best)

`

// TestDataFramePage pins that the page lists what there is.
func TestDataFramePage(t *testing.T) {
	want := dataFrameDoc(t)
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.WriteFile(dataFramePage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(dataFramePage)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not current: go test . -run TestDataFramePage -rewrite (%v)", dataFramePage, err)
	}
}

func dataFrameDoc(t *testing.T) []byte {
	fset := token.NewFileSet()
	names, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, n := range names {
		if strings.HasSuffix(n.Name(), ".go") && !strings.HasSuffix(n.Name(), "_test.go") {
			f, err := parser.ParseFile(fset, n.Name(), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	p, err := doc.NewFromFiles(fset, files, "github.com/sluice-stream/sluice")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString(dataFrameHead)
	for _, name := range []string{"DataFrame", "Grouped", "Keyed", "ProcessOption", "Processor", "ProcessorContext", "Observation", "Rows", "ValueState", "ListState", "MapState", "StateOption", "Column", "WindowSpec", "Bound", "Quantified", "NA", "Stat", "FileReader", "FileWriter", "Writer"} {
		for _, typ := range p.Types {
			if typ.Name != name {
				continue
			}
			fmt.Fprintf(&b, "## %s\n\n%s\n\n", name, p.Synopsis(typ.Doc))
			for _, f := range append(typ.Funcs, typ.Methods...) {
				if f.Doc == "" {
					t.Errorf("%s.%s says nothing", name, f.Name)
				}
				fmt.Fprintf(&b, "- `%s`: %s\n", signature(fset, f.Decl), p.Synopsis(f.Doc))
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("## Functions\n\n")
	for _, f := range p.Funcs {
		if f.Name == "Scan" || f.Name == "Each" || f.Name == "FromSlice" {
			fmt.Fprintf(&b, "- `%s`: %s\n", signature(fset, f.Decl), p.Synopsis(f.Doc))
		}
	}
	for _, typ := range p.Types {
		for _, f := range typ.Funcs {
			if typ.Name != "DataFrame" && (f.Name == "Scan" || f.Name == "Each" || f.Name == "FromSlice") {
				fmt.Fprintf(&b, "- `%s`: %s\n", signature(fset, f.Decl), p.Synopsis(f.Doc))
			}
		}
	}
	b.WriteString(processDoc)
	return b.Bytes()
}

// signature is a function as it is written, without its receiver and body.
func signature(fset *token.FileSet, d *ast.FuncDecl) string {
	text, err := os.ReadFile(fset.Position(d.Pos()).Filename)
	if err != nil {
		return d.Name.Name
	}
	return string(text[fset.Position(d.Name.Pos()).Offset:fset.Position(d.Type.End()).Offset])
}
