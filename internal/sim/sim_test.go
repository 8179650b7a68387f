package sim

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(800) // lives are short and their memory is small
	os.Exit(m.Run())
}

// seedsInTests is what an ordinary test run lives through; make sim does more.
const seedsInTests = 1000

func TestSeeds(t *testing.T) {
	var hits Hits
	for seed := range uint64(seedsInTests) {
		rep := Run(seed, None, false)
		if rep.Err != nil {
			t.Fatalf("%v\n%s\nreplay: go run ./cmd/sluice-sim -seed %d", rep.Err, rep.Options, seed)
		}
		hits.Add(&rep.Hits)
	}
	t.Log(hits.String())
	for c := 1; c < len(hits); c++ {
		if hits[c] == 0 {
			t.Errorf("no seed reached crash point C%d", c)
		}
	}
}

// A seed is a whole life: the same one again is the same, step for step.
func TestSeedReplays(t *testing.T) {
	for seed := range uint64(20) {
		a, b := Run(seed, None, true), Run(seed, None, true)
		if a.Trace != b.Trace || a.Hits != b.Hits {
			t.Fatalf("seed %d lived two lives:\n%s", seed, firstDifference(a.Trace, b.Trace))
		}
	}
}

func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return as[i] + "\n" + bs[i]
		}
	}
	return "one is longer"
}

// Every way of breaking the protocol has to be noticed, or the checkers are blind.
func TestMutantsAreCaught(t *testing.T) {
	const most = 200
	for _, m := range Mutants() {
		t.Run(m.String(), func(t *testing.T) {
			for seed := range uint64(most) {
				if rep := Run(seed, m, false); rep.Err != nil {
					t.Logf("caught by seed %d: %v", seed, rep.Err)
					return
				}
			}
			t.Errorf("%d seeds did not notice", most)
		})
	}
}

// Seeds that once failed are kept in test/regress.
func TestRegressions(t *testing.T) {
	files, err := filepath.Glob("../../test/regress/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		seeds, err := ReadRegression(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, seed := range seeds {
			if rep := Run(seed, None, false); rep.Err != nil {
				t.Errorf("%s: %v", f, rep.Err)
			}
		}
	}
}

func TestRegressionFiles(t *testing.T) {
	rep := Run(3, NoSync, false)
	if rep.Err == nil {
		t.Skip("seed 3 does not notice this mutant")
	}
	path, err := WriteRegression(t.TempDir(), rep)
	if err != nil {
		t.Fatal(err)
	}
	seeds, err := ReadRegression(path)
	if err != nil || len(seeds) != 1 || seeds[0] != 3 {
		t.Fatalf("read back %v, %v", seeds, err)
	}
}
