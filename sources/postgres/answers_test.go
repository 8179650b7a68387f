package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

func reopen(t *testing.T, dir string, term batch.Term) *answers {
	t.Helper()
	a, err := openAnswers(vfsx.Default, dir, term)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.close() })
	return a
}

func put(t *testing.T, a *answers, id batch.ID, keys ...string) {
	t.Helper()
	var all []answer
	for _, k := range keys {
		all = append(all, answer{k, []string{packRow([][]byte{[]byte(k), nil, {}})}}, answer{k + " has none", nil})
	}
	if err := a.append(id, all); err != nil {
		t.Fatal(err)
	}
	if err := a.sync(); err != nil {
		t.Fatal(err)
	}
}

func keysOf(t *testing.T, a *answers, id batch.ID) string {
	t.Helper()
	all, err := a.of(id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, x := range all {
		for _, r := range x.rows {
			row, err := unpackRow(r, nil)
			if err != nil || len(row) != 3 || string(row[0]) != x.key || row[1] != nil || row[2] == nil {
				t.Fatalf("the row of %q came back as %q (%v)", x.key, row, err)
			}
		}
		out = append(out, fmt.Sprintf("%s:%d", x.key, len(x.rows)))
	}
	return strings.Join(out, " ")
}

func TestAnswersAreThereAfterACrash(t *testing.T) {
	dir := t.TempDir()
	a := reopen(t, dir, 1)
	put(t, a, 7, "a", "b")
	put(t, a, 8, "c")
	put(t, a, 7, "d")
	b := reopen(t, dir, 2) // without an end of the first
	if got := keysOf(t, b, 7); got != "a:1 a has none:0 b:1 b has none:0 d:1 d has none:0" {
		t.Errorf("batch 7 was answered %s", got)
	}
	put(t, b, 9, "e")
	c := reopen(t, dir, 3)
	if keysOf(t, c, 8) != "c:1 c has none:0" || keysOf(t, c, 9) != "e:1 e has none:0" || keysOf(t, c, 10) != "" {
		t.Errorf("batches 8 to 10 were answered %q, %q, %q", keysOf(t, c, 8), keysOf(t, c, 9), keysOf(t, c, 10))
	}
	if err := c.trim(9); err != nil {
		t.Fatal(err)
	}
	d := reopen(t, dir, 4)
	if keysOf(t, d, 7) != "" || keysOf(t, d, 9) == "" {
		t.Errorf("after a trim before 9, batch 7 was answered %q and 9 %q", keysOf(t, d, 7), keysOf(t, d, 9))
	}
}

// A log may end anywhere, and its last record may be damaged: what is before counts.
// Damage with records behind it is refused.
func TestAnswersThatWereTorn(t *testing.T) {
	dir := t.TempDir()
	a := reopen(t, dir, 1)
	put(t, a, 1, "first")
	whole := a.segments[0].size
	put(t, a, 2, "second")
	path := a.segments[0].path
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(b []byte) string {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, filepath.Base(path)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for n := range len(data) {
		b := reopen(t, write(data[:n]), 2)
		first, second := keysOf(t, b, 1), keysOf(t, b, 2)
		if (first != "") != (int64(n) >= whole) || second != "" {
			t.Fatalf("cut at %d of %d: %q, %q", n, len(data), first, second)
		}
	}
	head := int64(len(answersMagic))
	body := head + recordHead + 1 // of no other segments
	for n := head; n < int64(len(data)); n++ {
		flipped := slices.Clone(data)
		flipped[n] ^= 0x40
		b, err := openAnswers(vfsx.Default, write(flipped), 2)
		switch {
		case err != nil && n < whole: // found, and refused
		case err == nil && keysOf(t, b, 1) != "" && keysOf(t, b, 2) == "" && n >= whole:
		case err == nil && (n < head+4 || n >= body && n < body+4) && keysOf(t, b, 1) == "" && keysOf(t, b, 2) == "": // a length that leads past the end
		default:
			t.Errorf("a bit of byte %d was flipped: %v", n, err)
		}
	}
}

// A driver that was deposed goes on writing for a while. What its successor has found
// counts, and what the successor writes; nothing else.
func TestAnswersOfADeposedDriver(t *testing.T) {
	dir := t.TempDir()
	late := reopen(t, dir, 1) // which has written nothing yet
	old := reopen(t, dir, 2)
	put(t, old, 7, "a")
	next := reopen(t, dir, 3)
	put(t, old, 7, "b")                        // into the file that its successor has read
	old.segments[0].size = answersSegmentBytes // and into one that it has not seen
	put(t, old, 8, "c")
	put(t, next, 7, "b2")
	put(t, next, 8, "c2")
	for _, a := range []*answers{late, old} {
		if len(a.segments) > 0 {
			a.segments[len(a.segments)-1].size = answersSegmentBytes
		}
		if err := a.append(8, []answer{{key: "d"}}); !errors.Is(err, batch.ErrFenced) {
			t.Errorf("term %d begins a file behind that of term 3: %v", a.term, err)
		}
	}
	last := reopen(t, dir, 4)
	if got, want := keysOf(t, last, 7)+", "+keysOf(t, last, 8), "a:1 a has none:0 b2:1 b2 has none:0, c2:1 c2 has none:0"; got != want {
		t.Errorf("batches 7 and 8 were answered %s, want %s", got, want)
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := last.trim(7); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(before) != 3 || len(after) != 2 {
		t.Errorf("%d files, and %d after what does not count is gone (%v)", len(before), len(after), err)
	}
	put(t, last, 9, "e")
	if got := keysOf(t, reopen(t, dir, 5), 7); !strings.HasPrefix(got, "a:1 ") {
		t.Errorf("batch 7 was answered %s", got)
	}
}

// The newest file stays when all that it holds is old: it says what counts of the others.
func TestTrimKeepsWhatSaysWhatCounts(t *testing.T) {
	dir := t.TempDir()
	old := reopen(t, dir, 1)
	put(t, old, 9, "a")
	next := reopen(t, dir, 2)
	put(t, next, 5, "b")
	put(t, old, 9, "not")
	last := reopen(t, dir, 3)
	if err := last.trim(6); err != nil {
		t.Fatal(err)
	}
	if got := keysOf(t, reopen(t, dir, 4), 9); got != "a:1 a has none:0" {
		t.Errorf("batch 9 was answered %s", got)
	}
}

// What a process has written and not synced when it was killed is there for the next one,
// and then has to be there when the computer has lost power.
func TestAnswersOfAKilledProcessAreMadeDurable(t *testing.T) {
	fs := vfsx.NewCrashableMem()
	a, err := openAnswers(fs, "log", 1)
	if err == nil {
		err = a.append(7, []answer{{key: "k", rows: []string{"row"}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := openAnswers(fs, "log", 2)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := b.of(7); err != nil || len(all) != 1 {
		t.Fatalf("the next process finds %v (%v)", all, err)
	}
	c, err := openAnswers(fs.CrashClone(vfsx.CrashCloneCfg{}), "log", 3)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := c.of(7); err != nil || len(all) != 1 {
		t.Errorf("after the power was lost there are %v (%v): a batch was told of it", all, err)
	}
}

// Logs of before terms stood in them are read, and go on.
func TestAnswersOfTheFirstForm(t *testing.T) {
	dir := t.TempDir()
	first, err := os.ReadFile("testdata/answers-00000000000000000003.log")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "answers-00000000000000000003.log"), append(first, 0, 0, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "a:1 a has none:0 b:1 b has none:0"
	a := reopen(t, dir, 9)
	if got := keysOf(t, a, 7); got != want {
		t.Fatalf("batch 7 was answered %s", got)
	}
	put(t, a, 8, "c")
	b := reopen(t, dir, 10)
	if keysOf(t, b, 7) != want || keysOf(t, b, 8) != "c:1 c has none:0" {
		t.Errorf("batches 7 and 8 were answered %s and %s", keysOf(t, b, 7), keysOf(t, b, 8))
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(10)
	now := time.Unix(1000, 0)
	for i := range 100 {
		c.put(fmt.Sprint(i), []string{"row"}, now.Add(time.Duration(i)*time.Second))
	}
	if c.size > 10 || len(c.by) != 5 || c.order.Len() != 5 {
		t.Errorf("it holds %d of 10, %d keys", c.size, len(c.by))
	}
	if _, ok := c.get("99", now); !ok {
		t.Error("the newest is gone")
	}
	if _, ok := c.get("99", now.Add(99*time.Second)); ok || len(c.by) != 4 {
		t.Errorf("what is over is there still, with %d", len(c.by))
	}
	none := newCache(0)
	if none.put("a", nil, now.Add(time.Hour)); len(none.by) != 0 {
		t.Error("a cache of nothing holds something")
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(packAnswers(3, []answer{{"key", []string{packRow([][]byte{[]byte("v"), nil})}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := unpackAnswers(nil, b)
		if err != nil {
			return
		}
		for _, a := range all {
			for _, r := range a.rows {
				_, _ = unpackRow(r, nil) // must not panic
			}
		}
	})
}

func FuzzAnswersHead(f *testing.F) {
	f.Add(packHead([]counted{{"answers-00000000000000000001-000000.log", 17}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = unpackHead(b) // must not panic
	})
}
