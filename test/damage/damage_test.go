package damage

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden lists what happens in each cell.
const golden = "testdata/cells.txt"

// TestEveryCell damages each kind of file in each way.
func TestEveryCell(t *testing.T) {
	lines := make([][]string, len(pipelines))
	t.Run("cells", func(t *testing.T) {
		for i, p := range pipelines {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, p)
				n := 0
				for _, k := range kinds {
					if k.only != "" && !strings.Contains(k.only, p.name) {
						continue
					}
					for _, d := range damages {
						if d.quiet && !k.input {
							continue // the same as a flip
						}
						n++
						if testing.Short() && n%9 != i {
							continue
						}
						if out := w.cell(k, d); out != "" {
							lines[i] = append(lines[i], fmt.Sprintf("%-9s %-17s %-16s %s", p.name, k.name, d.name, out))
						}
					}
				}
			})
		}
	})
	compare(t, slices.Concat(lines...))
}

// cell damages one file and starts again. It returns what happened, "" if the
// damage does not apply.
func (w *world) cell(k kind, d damage) string {
	w.t.Helper()
	w.reset()
	w.feed(phases * filesPerPhase)
	w.feed(phases*filesPerPhase + 1)
	victims := []string{}
	victim, other := k.files(w)
	if k.name == "all state" {
		found, err := filepath.Glob(filepath.Join(w.dir, "ck/q/state/*"))
		w.check(err)
		victims, other = found, found[0]
	} else if victim != "" {
		victims = []string{victim}
	}
	want, err := w.batch()
	w.check(err)
	kept, done := map[string]string{}, false
	if k.folder {
		done, victims = w.putBack(victim, d), nil
	}
	for i, v := range victims {
		kept[v] = filepath.Join(filepath.Dir(w.dir), fmt.Sprintf("kept-%d", i))
		w.check(copyFile(v, kept[v]))
		done = d.apply(w, v, other) || done
	}
	if !done {
		return ""
	}
	where := fmt.Sprintf("%s, %s, %s", w.p.name, k.name, d.name)
	var unreadable error
	if k.unread {
		want, unreadable = w.batch()
	}
	out, refused := w.judge(where, victims, want, unreadable)
	for i := 0; refused && k.repeats && i < 3; i++ { // who starts it again and again gets no wrong answer
		if again, _ := w.judge(where+", again", victims, want, unreadable); again != out && testing.Verbose() {
			w.t.Logf("%s: %s, and then %s", where, out, again)
		}
	}
	if refused && !k.folder {
		// What it refused it must not have harmed: with the file back in its place
		// everything is right.
		for v, from := range kept {
			w.check(copyFile(from, v))
		}
		want, err = w.batch()
		w.check(err)
		if again, _ := w.judge(where+", put right", nil, want, nil); again != "recovered" {
			w.t.Errorf("%s: refused (%s) and then, with the file put right: %s", where, out, again)
		}
	}
	return out
}

// judge starts the query and says how it went.
func (w *world) judge(where string, victims, want []string, unreadable error) (out string, refused bool) {
	w.t.Helper()
	err := w.run(false)
	by := "refused"
	if err == nil {
		var stranger, own []string
		stranger, own, err = w.output()
		if err == nil {
			if unreadable != nil {
				w.t.Errorf("%s: the stream read what the batch could not: %v", where, unreadable)
			}
			if !slices.Equal(stranger, want) {
				w.t.Errorf("%s: a stranger finds another answer: %s", where, difference(stranger, want))
			}
			if !slices.Equal(own, want) {
				w.t.Errorf("%s: the manifests say another answer: %s", where, difference(own, want))
			}
			return "recovered", false
		}
		by = "refused by the reader"
	}
	text := err.Error()
	if strings.Contains(text, "panic") {
		w.t.Errorf("%s: a panic: %v", where, err)
	}
	named := false
	for _, v := range victims {
		named = named || strings.Contains(text, filepath.Base(v)) || strings.Contains(text, filepath.Dir(v)+",")
	}
	switch {
	case named:
	case strings.Contains(text, filepath.Join(w.dir, "out")): // it is whole, and of another time than the output
		by += " as older than the output"
	case strings.Contains(text, "was shown there"):
		by += ", since the output is older"
	case strings.Contains(text, "differs from what was committed"): // an input that changed without a trace
		by += " by the digests"
	default:
		w.t.Errorf("%s: refused without a name: %v", where, err)
	}
	if testing.Verbose() {
		w.t.Logf("%s: %s: %v", where, by, err)
	}
	return by, true
}

func difference(got, want []string) string {
	var extra, missing []string
	for _, g := range got {
		if !slices.Contains(want, g) {
			extra = append(extra, g)
		}
	}
	for _, x := range want {
		if !slices.Contains(got, x) {
			missing = append(missing, x)
		}
	}
	return fmt.Sprintf("%d rows, want %d; wrong %v, missing %v", len(got), len(want), extra, missing)
}

// cellWidth is how much of a line names its cell: pipeline, kind and damage.
const cellWidth = 9 + 1 + 17 + 1 + 16

// compare holds what happened against the golden file. A short run knows some cells only.
func compare(t *testing.T, lines []string) {
	t.Helper()
	if *rewrite && !testing.Short() {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for _, l := range lines {
		if !slices.Contains(want, l) {
			t.Errorf("not in %s: %s", golden, l)
		}
	}
	// A cell may have several lines: where the log is cut depends on how many
	// records a run happened to write, and both outcomes are right.
	cells := map[string]bool{}
	for _, l := range want {
		cells[l[:min(len(l), cellWidth)]] = true
	}
	if !testing.Short() && len(lines) != len(cells) {
		t.Errorf("%d cells, %s has %d: go test -rewrite", len(lines), golden, len(cells))
	}
}
