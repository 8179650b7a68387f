package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clickUser is what the oracle knows of a user's visit.
type clickUser struct {
	began, last time.Time
	clicks      int
	pages       map[string]bool
}

// writeClicks makes files of clicks in the order of time and returns the visits that
// have ended by the last watermark, by a naive loop.
func writeClicks(t *testing.T, dir string) []string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const text = "2006-01-02 15:04:05"
	rng := rand.New(rand.NewPCG(4, 4))
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	users, visits := map[string]*clickUser{}, []string{}
	end := func(name string, u *clickUser) {
		visits = append(visits, fmt.Sprintf("%s,%s,%s,%d,%d", name, u.began.Format(text), u.last.Format(text), u.clicks, len(u.pages)))
		delete(users, name)
	}
	for f := range 80 {
		var b strings.Builder
		b.WriteString("user,page,at\n")
		for range 40 {
			at = at.Add(time.Duration(rng.IntN(40)) * time.Second)
			name, page := fmt.Sprintf("u%02d", rng.IntN(30)), []string{"home", "shop", "cart", "help", "logout"}[min(rng.IntN(9), 4)]
			fmt.Fprintf(&b, "%s,%s,%s\n", name, page, at.Format(text))
			u := users[name]
			if u != nil && at.Sub(u.last) >= 10*time.Minute {
				end(name, u)
				u = nil
			}
			if u == nil {
				u = &clickUser{began: at, pages: map[string]bool{}}
				users[name] = u
			}
			u.last, u.clicks, u.pages[page] = at, u.clicks+1, true
			if page == "logout" {
				end(name, u)
			}
		}
		write(t, filepath.Join(dir, fmt.Sprintf("part-%04d.csv", f)), b.String())
	}
	for name, u := range users {
		if !u.last.Add(10 * time.Minute).After(at.Add(-time.Minute)) {
			end(name, u)
		}
	}
	slices.Sort(visits)
	return visits
}

// TestKillAProcessor kills a program whose Go code keeps state and timers at random
// moments, starts it with other parallelisms, and compares the visits with a naive loop.
func TestKillAProcessor(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "sessions")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/sluice-stream/sluice/examples/sessions").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	want := writeClicks(t, filepath.Join(dir, "in"))
	rng := rand.New(rand.NewPCG(7, uint64(kills)))
	args := func() []string { return []string{"-dir", dir, "-parallelism", strconv.Itoa(1 + rng.IntN(4))} }
	for range kills {
		p := start(t, dir, program, args()...)
		if !p.KillAfter(time.Duration(20+rng.IntN(100)) * time.Millisecond) {
			if p.State != nil {
				t.Fatal(p.State)
			}
			break
		}
	}
	run(t, dir, program, args()...)
	run(t, dir, program, args()...)
	ddl := "CREATE TABLE visits WITH ('connector'='filesystem','path'='out/*.parquet','format'='parquet');\n"
	text := run(t, dir, bin, "sql", "--format", "csv", "-c", ddl+"SELECT * FROM visits")
	got := strings.Split(strings.TrimSpace(text), "\n")[1:]
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d visits, want %d\n got %v\nwant %v", len(got), len(want), got, want)
	}
}
