package slt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// toy is an engine whose only queries are "sum T" (by first column), "all T",
// "say TEXT" and "fail TEXT". As a streamer it sums batch by batch.
type toy struct {
	tables map[string][][]string
	calls  []string
	wrong  bool // lose the last micro-batch on a restart
	early  bool // show every row with the first micro-batch
}

// Streams says that "show x" shows something and is no query.
func (e *toy) Streams(sql string) bool { return !strings.HasPrefix(sql, "show ") }

func newToy() *toy { return &toy{tables: map[string][][]string{}} }

func (e *toy) Exec(_ context.Context, sql string) error {
	e.calls = append(e.calls, "exec "+sql)
	if words := strings.Fields(sql); words[0] == "INSERT" {
		e.tables[words[2]] = append(e.tables[words[2]], words[3:])
	}
	if msg, ok := strings.CutPrefix(sql, "fail "); ok {
		return errors.New(msg)
	}
	return nil
}

func (e *toy) Feed(_ context.Context, f Feed) error {
	e.tables[f.Source] = append(e.tables[f.Source], f.Rows...)
	return nil
}

func (e *toy) Query(_ context.Context, sql string) ([]Column, [][]string, error) {
	verb, arg, _ := strings.Cut(sql, " ")
	switch verb {
	case "sum":
		return []Column{{"k", "T"}, {"n", "I"}}, sums(e.tables[arg]), nil
	case "all":
		return []Column{{"k", "T"}, {"v", "I"}}, e.tables[arg], nil
	case "say":
		return []Column{{"v", "T"}}, [][]string{{arg}}, nil
	}
	return nil, nil, fmt.Errorf("line 1:1: %s", arg)
}

func (e *toy) Stream(ctx context.Context, sql string, plan Plan) ([]Column, [][]string, error) {
	e.calls = append(e.calls, fmt.Sprintf("stream %d %v", len(plan.Batches), plan.Restart))
	fresh := newToy()
	if e.early {
		plan.Batches = [][]Feed{slices.Concat(plan.Batches...), nil}
	}
	for i, b := range plan.Batches {
		if e.wrong && plan.Restart && i > 0 && i == len(plan.Batches)-1 {
			break
		}
		for _, f := range b {
			if f.SQL != "" {
				f = Feed{Source: "a", Rows: [][]string{strings.Fields(f.SQL)[3:]}}
			}
			if err := fresh.Feed(ctx, f); err != nil {
				return nil, nil, err
			}
		}
		_, rows, err := fresh.Query(ctx, sql)
		if err != nil || plan.Check == nil {
			return nil, nil, err
		}
		if err := plan.Check(i+1, rows, false); err != nil {
			return nil, nil, err
		}
	}
	return fresh.Query(ctx, sql)
}

// sums adds the second column by the first, in order of the last appearance so
// that only a sort makes results comparable.
func sums(rows [][]string) [][]string {
	var out [][]string
	for _, row := range slices.Backward(rows) {
		n, _ := strconv.Atoi(row[1])
		i := slices.IndexFunc(out, func(o []string) bool { return o[0] == row[0] })
		if i < 0 {
			out = append(out, []string{row[0], row[1]})
			continue
		}
		m, _ := strconv.Atoi(out[i][1])
		out[i] = []string{row[0], strconv.Itoa(n + m)}
	}
	return out
}

// made returns a factory that hands out e first, or a fresh toy each time.
func made(e *toy) Factory {
	return func(*testing.T, Mode) Engine {
		first := e
		if e = nil; first == nil {
			return newToy()
		}
		return first
	}
}

// checkAll makes every pass over a file and returns what is wrong.
func checkAll(t *testing.T, f *File, line int, make Factory) []string {
	t.Helper()
	var fails []string
	for _, p := range f.passes() {
		r := newRun(t, f, p, "toy", line, make)
		if err := r.play(t.Context()); err != nil {
			fails = append(fails, err.Error())
		}
		fails = slices.Concat(fails, r.fails, r.diffs)
	}
	return fails
}

func parse(t *testing.T, text ...string) *File {
	t.Helper()
	f, err := Parse("x.slt", strings.Join(text, "\n")+"\n")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAllModesOfOneFile(t *testing.T) {
	f := parse(t, "# modes: batch stream restart", "",
		"statement ok", "create a", "",
		"feed a", "x,1", "y,2", "\"quoted, z\",3", "", "feed a", "x,4", "", "",
		"query TI rowsort sum1", "sum a", "----", "quoted, z\t3", "x 5", "y\t2", "",
		"feed b", "x,1", "",
		"query TI rowsort sum1", "sum a", "----", "3 values hashing to nothing")
	fails := checkAll(t, f, 0, made(nil))
	if len(fails) != 9 { // the wrong hash in each of 1 + 4 + 4 passes, of five rows
		t.Fatalf("%d failures:\n%s", len(fails), strings.Join(fails, "\n"))
	}
	for _, want := range []string{"x.slt:25 [batch]", "[stream/3]", "[restart/7]", "got:  6 values hashing to "} {
		if !strings.Contains(strings.Join(fails, "\n"), want) {
			t.Errorf("no failure says %q", want)
		}
	}
}

func TestALostBatchIsSeen(t *testing.T) {
	f := parse(t, "# modes: batch stream restart", "feed a", "x,1", "x,2", "", "query TI", "sum a", "----", "x 3")
	if fails := checkAll(t, f, 0, made(nil)); len(fails) != 0 {
		t.Fatal(fails)
	}
	f.Modes = []Mode{Restart}
	if got, err := plays(t, f, 2, &toy{wrong: true}); err != nil || !strings.Contains(got, "want: x\t3") || !strings.Contains(got, "got:  x\t1") {
		t.Fatalf("got %q, %v", got, err)
	}
}

// plays makes one pass of k pieces over a file with an engine.
func plays(t *testing.T, f *File, k int, e *toy) (string, error) {
	t.Helper()
	e.tables = map[string][][]string{}
	r := newRun(t, f, pass{f.Modes[len(f.Modes)-1], k}, "toy", 0, made(e))
	err := r.play(t.Context())
	return strings.Join(append(r.fails, r.diffs...), "\n"), err
}

func TestEveryPrefixIsChecked(t *testing.T) {
	f := parse(t, "# modes: batch stream", "statement ok", "create", "", "feed a", "x,1", "y,2", "", "feed b", "x,1", "x,5", "",
		"statement ok", "INSERT INTO a z 9", "", "query TI rowsort", "sum a", "----", "x 1", "y 2", "z 9", "",
		"query T", "show x", "----", "x")
	for k := 1; k <= 5; k++ {
		got, err := plays(t, f, k, &toy{})
		if err != nil || strings.Count(got, "show x") != 1 || strings.Contains(got, "sum a") {
			t.Errorf("%d pieces: %q, %v", k, got, err)
		}
	}
	got, err := plays(t, f, 3, &toy{early: true})
	if err != nil || !strings.Contains(got, "after 1 of 3 batches the result is not the batch answer over the input so far") {
		t.Fatalf("rows that come early gave %q, %v", got, err)
	}
}

func TestTheSameCutIsRunOnce(t *testing.T) {
	f := parse(t, "# modes: stream", "query TI", "sum a", "----", "", "feed a", "x,1", "x,2", "", "query TI", "sum a", "----", "x 3")
	for k, want := range map[int][]string{
		1: {"stream 1 false", "stream 1 false"}, 2: {"stream 2 false"}, 3: nil, 7: nil,
	} {
		e := &toy{}
		if got, err := plays(t, f, k, e); err != nil || got != "" || !slices.Equal(e.calls, want) {
			t.Errorf("%d pieces: %q, %v, calls %q, want %q", k, got, err, e.calls, want)
		}
	}
}

func TestTablesGrowSideBySide(t *testing.T) {
	row := func(s string) [][]string { return [][]string{{s}} }
	got := arrange([]Feed{
		{Source: "a", Rows: [][]string{{"1"}, {"2"}, {"3"}}}, {Source: "b", Rows: row("4")}, {Source: "A", Rows: row("5")},
		{SQL: "INSERT INTO a SELECT 6"}, {Source: "b", Rows: row("7")},
	})
	var order []string
	for _, f := range got {
		if f.SQL != "" {
			f.Rows = row(f.SQL)
		}
		order = append(order, f.Rows[0][0])
	}
	if want := []string{"1", "4", "2", "3", "5", "INSERT INTO a SELECT 6", "7"}; !slices.Equal(order, want) {
		t.Fatalf("got %q, want %q", order, want)
	}
}

func TestNoOrderIsWantedOfAStream(t *testing.T) {
	f := parse(t, "# modes: batch stream", "feed a", "x,1", "y,2", "", "query TI", "sum a", "----", "x 1", "y 2")
	fails := checkAll(t, f, 0, made(nil))
	if len(fails) != 1 || !strings.Contains(fails[0], "[batch]") { // sums come in the order of their last rows
		t.Fatalf("got %q", fails)
	}
}

func TestErrorsAreHeldToTheirPattern(t *testing.T) {
	f := parse(t,
		"statement error no such .able", "fail no such table", "",
		"statement error", "fail anything", "",
		"query error 1:1", "bad thing", "",
		"statement ok", "fail on", "",
		"statement error other", "fail this", "",
		"statement error", "fine", "",
		"query T", "bad query", "----", "x", "",
		"query error", "say hi")
	fails := checkAll(t, f, 0, made(nil))
	var lines []string
	for _, fail := range fails {
		place, _, _ := strings.Cut(fail, " ")
		lines = append(lines, place)
	}
	want := []string{"x.slt:10", "x.slt:13", "x.slt:16", "x.slt:19", "x.slt:24"}
	if !slices.Equal(lines, want) {
		t.Fatalf("failures at %v, want %v:\n%s", lines, want, strings.Join(fails, "\n"))
	}
}

func TestColumnsAreChecked(t *testing.T) {
	for types, want := range map[string]string{"T": "want 1 columns", "TT": "column 2 (n) is of type I, want T", "??": "", "TI": ""} {
		fails := checkAll(t, parse(t, "feed a", "x,1", "", "query "+types, "sum a", "----", "x 1"), 0, made(nil))
		if got := strings.Join(fails, ""); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", types, got, want)
		}
	}
}

func TestSkipOnlyAndHalt(t *testing.T) {
	e := newToy()
	f := parse(t, "# modes: batch stream", "",
		"skipif toy", "statement ok", "a", "",
		"onlyif duckdb", "statement ok", "b", "",
		"onlyif toy", "onlyif batch", "statement ok", "c", "",
		"skipif stream", "statement ok", "d", "",
		"onlyif stream", "halt", "",
		"statement ok", "e")
	if fails := checkAll(t, f, 0, made(e)); len(fails) != 0 {
		t.Fatal(fails)
	}
	if want := []string{"exec c", "exec d", "exec e"}; !slices.Equal(e.calls, want) {
		t.Fatalf("calls %q, want %q", e.calls, want)
	}
}

func TestOneRecordByLine(t *testing.T) {
	f := parse(t, "query T", "say a", "----", "wrong", "", "query T", "say b", "----", "wrong", "", "statement ok", "fail")
	for line, want := range map[int]int{1: 1, 4: 1, 8: 1, 0: 2} {
		if fails := checkAll(t, f, line, made(nil)); len(fails) != want {
			t.Errorf("line %d: %d failures, want %d: %q", line, len(fails), want, fails)
		}
	}
	for _, place := range []struct {
		path, wanted string
		same         bool
	}{
		{"../../test/slt/a.slt", "test/slt/a.slt", true}, {"slt/a.slt", "test/slt/a.slt", true},
		{"/x/test/slt/a.slt", "a.slt", true}, {"slt/a.slt", "slt/ba.slt", false}, {"slt/b/a.slt", "slt/a.slt", false},
	} {
		if got := samePath(place.path, place.wanted); got != place.same {
			t.Errorf("%s and %s: %v", place.path, place.wanted, got)
		}
	}
	if _, _, err := splitPlace("a.slt:x"); err == nil {
		t.Error("a line that is no number was accepted")
	}
}

func TestRewriteChangesResultsAlone(t *testing.T) {
	f := parse(t, "# a comment", "",
		"feed a", "x,1", "y,", "", "",
		"query TI rowsort", "sum a", "----", "old", "old", "old", "", "# between",
		"query T", "say tab\there\\", "",
		"query T", "say right", "----", "right", "",
		"skipif sluice", "query T", "say x", "----", "kept", "", "hash-threshold 1", "",
		"query TI", "all a", "----", "", "# end")
	got, err := Rewrite(t, f, made(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{"# a comment", "",
		"feed a", "x,1", "y,", "", "",
		"query TI rowsort", "sum a", "----", "x\t1", "y\t(empty)", "", "# between",
		"query T", "say tab\there\\", "----", "tab\\there\\\\", "",
		"query T", "say right", "----", "right", "",
		"skipif sluice", "query T", "say x", "----", "kept", "", "hash-threshold 1", "",
		"query TI", "all a", "----", "4 values hashing to HASH", "", "# end"}, "\n") + "\n"
	if i := strings.Index(got, "hashing to "); i > 0 {
		got = got[:i+11] + "HASH" + got[i+11+32:]
	}
	if got != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, err := Rewrite(t, parse(t, "query T", "bad x", "----"), made(nil)); err == nil {
		t.Fatal("a failing query was rewritten")
	}
}

func TestRewriteThenRunOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.slt")
	f := parse(t, "# modes: batch stream restart", "feed a", "x,1", "", "query TI", "all a", "----")
	out, err := Rewrite(t, f, made(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
	if !rewriting() {
		Run(t, filepath.Dir(path), made(nil))
	}
}

func TestHashIsThatOfSqllogictest(t *testing.T) {
	// printf '1\n2\n3\n' | md5sum
	got := render(&Query{}, [][]string{{"1"}, {"2"}, {"3"}}, 2)
	if want := []string{"3 values hashing to c0710d6b4f15dfa88f600b0e6b624077"}; !slices.Equal(got, want) {
		t.Fatalf("got %q", got)
	}
	sorted := render(&Query{Sort: ValueSort}, [][]string{{"c", "a"}, {"b", ""}}, 0)
	if want := []string{"(empty)", "a", "b", "c"}; !slices.Equal(sorted, want) {
		t.Fatalf("got %q", sorted)
	}
}

func TestCutKeepsOrderAndFillsEveryBatch(t *testing.T) {
	var feeds []Feed
	total := 0
	for i, n := range []int{3, 0, 1, 5, 2} {
		f := Feed{Source: fmt.Sprint("s", i%2)}
		for range n {
			f.Rows = append(f.Rows, []string{strconv.Itoa(total)})
			total++
		}
		feeds = append(feeds, f)
	}
	for k := 1; k <= 15; k++ {
		batches := Cut(feeds, k)
		if len(batches) != min(k, total) {
			t.Fatalf("%d batches for k=%d", len(batches), k)
		}
		next, least, most := 0, total, 0
		for _, b := range batches {
			size := 0
			for _, f := range b {
				for _, row := range f.Rows {
					if row[0] != strconv.Itoa(next) {
						t.Fatalf("k=%d: row %s where %d belongs", k, row[0], next)
					}
					next++
					size++
				}
			}
			least, most = min(least, size), max(most, size)
		}
		if next != total || most-least > 1 || least == 0 {
			t.Fatalf("k=%d: %d of %d rows, sizes %d to %d", k, next, total, least, most)
		}
	}
	if got := Cut(nil, 3); !reflect.DeepEqual(got, [][]Feed{nil}) {
		t.Fatalf("nothing cut into %v", got)
	}
}

func TestBadFilesAreRefusedWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"# modes: batch fast\n":    "x.slt:1: unknown mode",
		"\nstatement maybe\nx\n":   "x.slt:2: statement needs",
		"statement ok\n\n":         "there is no SQL",
		"query\nx\n":               "needs the types",
		"query IX\nx\n":            "unknown column type \"X\"",
		"query I rowsort a b\nx\n": "too much",
		"query error (\nx\n":       "missing closing",
		"feed\n":                   "name of a source",
		"feed a\n1,2\n1\n":         "wrong number of fields",
		"hash-threshold x\n":       "needs a number",
		"loop 3\n":                 "unknown record \"loop\"",
		"skipif x\n":               "without a record",
		"skipif\n":                 "needs the name",
		"statement ok\nx\n----\n":  "no result",
		"statement error [\nx\n":   "missing closing",
		"statement ok\nx\n\nonlyif batch\n# end\n": "without a record",
	} {
		if _, err := Parse("x.slt", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("# modes: batch\nquery I rowsort l\nselect\n----\n1\n\nfeed a\n1,2\n\nhalt\n")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("x.slt", text)
		if err != nil {
			return
		}
		last := 0
		for _, r := range file.Records {
			if r.Line <= last || r.End <= r.Line {
				t.Fatalf("records out of order: %+v", file.Records)
			}
			last = r.Line
		}
	})
}

// Every query is in one part.
func TestParts(t *testing.T) {
	for record := range 100 {
		in := 0
		for at := range 7 {
			if (Part{At: at, Of: 7}).holds("slt/a.slt", record) {
				in++
			}
		}
		if in != 1 || !(Part{}).holds("slt/a.slt", record) {
			t.Errorf("record %d is in %d parts", record, in)
		}
	}
}
