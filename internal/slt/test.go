package slt

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	// datadriven owns the flag -rewrite; importing it here makes sure that it is
	// there, and that it is defined once when a test binary has both.
	_ "github.com/cockroachdb/datadriven"
)

// pieces are the numbers of micro-batches that stream and restart cut the feeds into.
var pieces = []int{1, 2, 3, 7}

// oneRecord is registered on import, as package testing wants it: only tests
// import this package.
var oneRecord = flag.String("slt", "", "run one file, or one record of it as path:line")

// sluiceName is what skipif and onlyif call the engines of Run.
const sluiceName = "sluice"

// Run runs every file below dir with the ending .slt as a subtest, and each of
// its modes as a subtest of that. With -rewrite the expected results are replaced by those of the
// file's first mode.
func Run(t *testing.T, dir string, make Factory) {
	t.Helper()
	eachFile(t, dir, func(t *testing.T, f *File, text string, line int) {
		if rewriting() {
			rewriteFile(t, f, text, make)
			return
		}
		for _, p := range f.passes() {
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel() // passes wait for disks most of the time
				judge(t, f, p, sluiceName, line, make)
			})
		}
	})
}

// Part is every so many queries of all files: those at At of each Of. The zero value is
// all of them.
type Part struct{ At, Of int }

// holds reports whether a record belongs to the part.
func (p Part) holds(path string, record int) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(filepath.Base(path))) // it never fails
	return p.Of == 0 || (int(h.Sum32()>>1)+record)%p.Of == p.At
}

// RunStream runs the queries of a part of the files below dir as streams whose input
// arrives in so many pieces, each file as a subtest. What -slt names is run whatever the
// part. It never rewrites.
func RunStream(t *testing.T, dir string, n int, part Part, make Factory) {
	t.Helper()
	if !slices.Contains(pieces, n) {
		t.Fatalf("%d pieces: want one of %v", n, pieces)
	}
	if *oneRecord != "" {
		part = Part{}
	}
	eachFile(t, dir, func(t *testing.T, f *File, _ string, line int) {
		t.Parallel()
		if !slices.Contains(f.Modes, Stream) {
			t.Skip("the file has no mode stream")
		}
		r := newRun(t, f, pass{Stream, n}, sluiceName, line, make)
		r.part, r.alone = part, true
		r.judge(t)
	})
}

// RunOracle runs the files below dir that name the oracle, as a batch and on
// the oracle's engine: what is expected of Sluice has to be what the oracle
// says too. It never rewrites.
func RunOracle(t *testing.T, dir, oracle string, make Factory) {
	t.Helper()
	ran := false
	eachFile(t, dir, func(t *testing.T, f *File, _ string, line int) {
		if !slices.Contains(f.Oracles, oracle) {
			t.Skipf("the file has no line \"# oracle: %s\"", oracle)
		}
		ran = true
		judge(t, f, pass{Batch, 1}, oracle, line, make)
	})
	if !ran && *oneRecord == "" {
		t.Errorf("no file below %s names the oracle %s", dir, oracle)
	}
}

// eachFile parses every file below dir, or the one that -slt names, and hands
// it to check in a subtest.
func eachFile(t *testing.T, dir string, check func(t *testing.T, f *File, text string, line int)) {
	t.Helper()
	files, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no .slt file below %s", dir)
	}
	wanted, line, err := splitPlace(*oneRecord)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, path := range files {
		if wanted != "" && !samePath(path, wanted) {
			continue
		}
		ran++
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(rel), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse(path, string(text))
			if err != nil {
				t.Fatal(err)
			}
			if line > 0 && !slices.ContainsFunc(f.Records, func(r Record) bool { return r.Line <= line && line < r.End }) {
				t.Fatalf("%s:%d: there is no record at this line", path, line)
			}
			check(t, f, string(text), line)
		})
	}
	if ran == 0 {
		t.Logf("-slt=%s is none of the files below %s", *oneRecord, dir)
	}
}

// Find returns the .slt files below dir, sorted.
func Find(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".slt" {
			files = append(files, path)
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

// rewriteFile replaces the expected results of a file on disk.
func rewriteFile(t *testing.T, f *File, text string, make Factory) {
	t.Helper()
	out, err := Rewrite(t, f, make)
	if err != nil {
		t.Fatal(err)
	}
	if out == text {
		return
	}
	if err := os.WriteFile(f.Path, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
}

// judge makes one pass over a file and reports what is wrong. A line other than
// 0 judges the record there alone.
func judge(t *testing.T, f *File, p pass, name string, line int, make Factory) {
	t.Helper()
	newRun(t, f, p, name, line, make).judge(t)
}

func (r *run) judge(t *testing.T) {
	t.Helper()
	if err := r.play(t.Context()); err != nil {
		t.Error(err)
	}
	for _, fail := range slices.Concat(r.fails, r.diffs) {
		t.Error(fail)
	}
}

func newRun(t *testing.T, f *File, p pass, name string, line int, make Factory) *run {
	return &run{file: f, pass: p, name: name, only: line, engine: make(t, p.mode), fresh: func() Engine { return make(t, Batch) }}
}

// Rewrite returns the file's text with the results that its first mode gives.
// A failure other than a wrong result is an error: it cannot be written down.
func Rewrite(t *testing.T, f *File, make Factory) (string, error) {
	t.Helper()
	p := f.passes()[0]
	r := newRun(t, f, p, sluiceName, 0, make)
	if err := r.play(t.Context()); err != nil {
		return "", err
	}
	if len(r.fails) > 0 {
		return "", errors.New(strings.Join(r.fails, "\n"))
	}
	var out []string
	at := 0 // lines of the file copied so far
	for i := range f.Records {
		q, ok := f.Records[i].Step.(*Query)
		if !ok {
			continue
		}
		got, ran := r.results[f.Records[i].Line]
		if !ran || sameResult(q.Expected, got) && q.HasResult {
			continue
		}
		out = append(out, f.lines[at:q.First-1]...)
		if !q.HasResult {
			out = append(out, "----")
		}
		out = append(out, got...)
		at = q.First - 1 + len(q.Expected)
	}
	return strings.Join(append(out, f.lines[at:]...), "\n"), nil
}

func rewriting() bool {
	f := flag.Lookup("rewrite")
	return f != nil && f.Value.String() == "true"
}

// splitPlace cuts path:line; the line is 0 where there is none.
func splitPlace(s string) (path string, line int, err error) {
	path, number, ok := strings.Cut(s, ":")
	if !ok {
		return path, 0, nil
	}
	line, err = strconv.Atoi(number)
	if err != nil || line < 1 {
		return "", 0, fmt.Errorf("-slt=%s: want path or path:line", s)
	}
	return path, line, nil
}

// samePath reports whether wanted, as typed from any directory, is the file at
// path: the one ends in the other, part by part.
func samePath(path, wanted string) bool {
	a := strings.Split(filepath.ToSlash(filepath.Clean(path)), "/")
	b := strings.Split(filepath.ToSlash(filepath.Clean(wanted)), "/")
	for len(a) > 0 && a[0] == ".." {
		a = a[1:]
	}
	if len(a) > len(b) {
		a, b = b, a
	}
	return slices.Equal(a, b[len(b)-len(a):])
}
