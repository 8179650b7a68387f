package lint

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "bring ratchet.txt down to what is left")

// TestRepository holds this repository against the rules.
func TestRepository(t *testing.T) {
	tree, err := Load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Go) < 20 {
		t.Fatalf("only %d Go files found: the check looks in the wrong place", len(tree.Go))
	}
	if *rewrite {
		if err := tree.LowerRatchet(); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range tree.Check() {
		t.Error(f)
	}
	for _, advice := range tree.Unguarded() {
		t.Log("advice:", advice)
	}
}

// lines joins source lines; a go.mod is not needed, for nothing is built.
func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

// check writes files into an empty tree and returns the findings, one a line.
func check(t *testing.T, files map[string]string) []string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range tree.Check() {
		found = append(found, f.String())
	}
	return found
}

// wantFindings compares findings by a part of each.
func wantFindings(t *testing.T, got []string, want ...string) {
	t.Helper()
	for _, w := range want {
		i := slices.IndexFunc(got, func(g string) bool { return strings.Contains(g, w) })
		if i < 0 {
			t.Errorf("nothing found that says %q", w)
			continue
		}
		got = slices.Delete(slices.Clone(got), i, i+1)
	}
	for _, g := range got {
		t.Errorf("found besides: %s", g)
	}
}

// doc is a package comment for package name.
func doc(name string) string { return lines("// Package "+name+" is a test.", "package "+name) }

func TestImportsFollowTheTable(t *testing.T) {
	imports := func(pkg string, paths ...string) string {
		s := "package " + pkg + "\n"
		for _, p := range paths {
			s += "import _ \"" + p + "\"\n"
		}
		return s
	}
	got := check(t, map[string]string{
		"microbatch/doc.go":     doc("microbatch"),
		"microbatch/ok.go":      imports("microbatch", "fmt", "time", Module+"/batch", Module+"/internal/invariants"),
		"microbatch/bad.go":     imports("microbatch", "context", "log/slog", "github.com/apache/arrow-go/v18/arrow", Module+"/driver"),
		"microbatch/x_test.go":  imports("microbatch", "context", Module+"/driver"),
		"driver/doc.go":         doc("driver"),
		"driver/d.go":           imports("driver", "context", Module+"/sources", Module+"/driver/filelog", Module+"/sources/kafka", Module+"/executor"),
		"worker/doc.go":         doc("worker"),
		"worker/w.go":           imports("worker", Module+"/executor/exchange", Module+"/microbatch", Module),
		"sources/file/doc.go":   doc("file"),
		"sources/file/f.go":     imports("file", Module+"/sources", Module+"/formats/csv", "github.com/any/lib", Module+"/sinks"),
		"planner/rules/doc.go":  doc("rules"),
		"planner/rules/r.go":    imports("rules", Module+"/planner/logical", "os"),
		"elsewhere/doc.go":      doc("elsewhere"),
		"cmd/sluice/main.go":    "// Command sluice.\n" + imports("main", Module+"/driver", Module+"/sources/kafka"),
		"internal/clock/doc.go": doc("clock"),
		"internal/clock/c.go":   imports("clock", Module+"/driver"),
	})
	wantFindings(t, got,
		"microbatch/bad.go:2: imports: microbatch may not import context",
		"may not import log/slog", "microbatch may not import github.com/apache", "microbatch may not import "+Module+"/driver",
		"driver may not import "+Module+"/sources/kafka", "driver may not import "+Module+"/executor",
		"worker may not import "+Module+"/microbatch", "worker may not import "+Module+": ",
		"sources/file may not import "+Module+"/sinks", "planner/rules may not import os",
		"package elsewhere is not in the import table", "internal/clock may not import",
	)
}

func TestBannedCalls(t *testing.T) {
	got := check(t, map[string]string{
		"microbatch/doc.go": doc("microbatch"),
		"microbatch/m.go": lines("package microbatch", `import "time"`,
			"func f(t time.Time) { _ = time.Now(); go f(t); _ = time.Second }",
			"//sluice:allow calls a table of tests wants it so", "var now = time.Now",
			"//sluice:allow calls", "var since = time.Since"),
		"executor/doc.go": doc("executor"),
		"executor/e.go": lines("package executor", `import ("fmt"; "math/rand/v2"; "github.com/apache/arrow-go/v18/arrow")`,
			"func g(r arrow.Record) { panic(\"no\") }",
			"func h(r arrow.RecordBatch) { fmt.Println(1); panic(fmt.Sprintf(\"%d\", 1)) }",
			"func i(e error) { _ = rand.IntN(3); _ = rand.New(rand.NewPCG(1, 2)); panic(e) }"),
		"executor/e_test.go": lines("package executor", `import ("time"; "testing"; "testing/synctest")`,
			"func TestA(t *testing.T) { time.Sleep(1); panic(\"fine here\") }",
			"func TestB(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }"),
		"cmd/x/main.go": lines("// Command x.", "package main", `import "fmt"`, "func main() { fmt.Println(1) }"),
		"doc.go":        doc("sluice"),
		"session.go":    lines("package sluice", `import "os"`, "var out = os.Stdout", "func stop() { os.Exit(1) }"),
	})
	wantFindings(t, got,
		"m.go:3: calls: time.Now", "m.go:3: calls: a goroutine",
		"m.go:6: excuse: ", "m.go:7: calls: time.Since",
		"e.go:3: calls: arrow.Record is", "e.go:3: calls: panic", "e.go:4: calls: fmt.Println", "e.go:4: calls: panic", "e.go:5: calls: rand.IntN",
		"e_test.go:3: calls: time.Sleep", "session.go:4: calls: os.Exit",
	)
}

func TestSizesAndTheRatchet(t *testing.T) {
	long := func(n int) string {
		return "package worker\n\nfunc (w *W[T]) Run() {" + strings.Repeat("\n", n-1) + "}\n"
	}
	files := map[string]string{
		"worker/doc.go":  doc("worker"),
		"worker/run.go":  long(71),
		"worker/ok.go":   strings.ReplaceAll(long(70), "Run", "Walk"),
		"worker/big.go":  "package worker\n" + strings.Repeat("// line\n", 800),
		"worker/gen.go":  "// Code generated by hand. DO NOT EDIT.\n\npackage worker\n" + strings.Repeat("// line\n", 900),
		"worker/edge.go": "package worker\n" + strings.Repeat("// line\n", 799),
	}
	wantFindings(t, check(t, files), "worker/run.go:3: size: worker/run.go:W.Run has 71 lines", "worker/big.go has 801 lines")

	files[ratchetFile] = "# old\nworker/run.go:W.Run 71\nworker/big.go 801\n"
	wantFindings(t, check(t, files))
	files[ratchetFile] = "worker/run.go:W.Run 70\nworker/big.go 900\nworker/gone.go 999\n"
	wantFindings(t, check(t, files), "has grown from 70 to 71", "has shrunk from 900 to 801", "worker/gone.go is within the limits or gone")
}

func TestRewriteOnlyLowersTheRatchet(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("worker/a.go", "package worker\n"+strings.Repeat("// line\n", 850))
	write("worker/b.go", "package worker\n"+strings.Repeat("// line\n", 850))
	write("worker/c.go", "package worker\n"+strings.Repeat("// line\n", 850))
	write(ratchetFile, "worker/a.go 900\nworker/b.go 810\nworker/gone.go 999\n")
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.LowerRatchet(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(ratchetFile)))
	if err != nil {
		t.Fatal(err)
	}
	if want := ratchetHeader + "worker/a.go 851\nworker/b.go 810\n"; string(got) != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	got := check(t, map[string]string{
		"sinks/a.go":       doc("sinks"),
		"sources/doc.go":   "package sources\n",
		"cmd/x/main.go":    "package main\n",
		"test/run_test.go": "package test\n",
	})
	wantFindings(t, got, "sinks: doc: ", "sources: doc: ", "cmd/x: doc: ")
}

func TestPathsNamedInDocumentation(t *testing.T) {
	got := check(t, map[string]string{
		"README.md": lines("See `sinks/doc.go:12`, `sinks/gone.go`, `./sinks/...`, `sinks/*.go`, `sinks/*.rs`, `Makefile`,",
			"`application/json`, `a/b`, `bin/sluice`, `go test ./sinks`, [guide](docs/guide.md#top), [lost](docs/lost.md),",
			"`doc.go`, `missing.md`, `.slt`, `*.md`, `_test.go`, `.ci/run`, [web](https://example.org/x.md).", "```", "`sinks/fenced.go`", "```"),
		"docs/guide.md":   "[up](../README.md) [down](deeper.md)\n",
		"docs/deeper.md":  "`sinks/doc.go`\n",
		"sinks/doc.go":    doc("sinks"),
		"NOTES/readme.md": "`LICENSE`\n",
		".ci/run":         "make test\n",
	})
	wantFindings(t, got, "README.md:1: paths: sinks/gone.go", "sinks/*.rs", "README.md:1: paths: Makefile",
		"docs/lost.md", "README.md:3: paths: missing.md", "NOTES/readme.md:1: paths: LICENSE")
}

func TestPagesOnFormatsAreListed(t *testing.T) {
	got := check(t, map[string]string{
		formatsIndex:            "[the log](log.md)\n",
		"docs/formats/log.md":   "text\n",
		"docs/formats/other.md": "text\n",
	})
	wantFindings(t, got, "docs/formats/other.md: paths: is not listed")
}

func TestNothingNamesAMachineOrARegistry(t *testing.T) {
	host := "py" + "pi.org"
	got := check(t, map[string]string{
		"a.md":      "cd /ro" + "ot/go and /wo" + "rk/main\n",
		"b.txt":     "see https://" + host + "/simple\n",
		"c.txt":     "data/wo" + "rk/x, ./wo" + "rk/x, .wo" + "rk/venv, /wo" + "rkers/x, GET /\n",
		"blob.data": "\x00/wo" + "rk/main\n",
	})
	wantFindings(t, got, "a.md:1: machine", "b.txt:1: machine: names the package registry "+host)
}
