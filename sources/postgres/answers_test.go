package postgres

import (
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

func reopen(t *testing.T, dir string) *answers {
	t.Helper()
	a, err := openAnswers(vfsx.Default, dir)
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
	a := reopen(t, dir)
	put(t, a, 7, "a", "b")
	put(t, a, 8, "c")
	put(t, a, 7, "d")
	b := reopen(t, dir) // without an end of the first
	if got := keysOf(t, b, 7); got != "a:1 a has none:0 b:1 b has none:0 d:1 d has none:0" {
		t.Errorf("batch 7 was answered %s", got)
	}
	put(t, b, 9, "e")
	c := reopen(t, dir)
	if keysOf(t, c, 8) != "c:1 c has none:0" || keysOf(t, c, 9) != "e:1 e has none:0" || keysOf(t, c, 10) != "" {
		t.Errorf("batches 8 to 10 were answered %q, %q, %q", keysOf(t, c, 8), keysOf(t, c, 9), keysOf(t, c, 10))
	}
	if err := c.trim(9); err != nil {
		t.Fatal(err)
	}
	d := reopen(t, dir)
	if keysOf(t, d, 7) != "" || keysOf(t, d, 9) == "" {
		t.Errorf("after a trim before 9, batch 7 was answered %q and 9 %q", keysOf(t, d, 7), keysOf(t, d, 9))
	}
}

// A log may end anywhere, and its last record may be damaged: what is before counts.
// Damage with records behind it is refused.
func TestAnswersThatWereTorn(t *testing.T) {
	dir := t.TempDir()
	a := reopen(t, dir)
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
		b := reopen(t, write(data[:n]))
		first, second := keysOf(t, b, 1), keysOf(t, b, 2)
		if (first != "") != (int64(n) >= whole) || second != "" {
			t.Fatalf("cut at %d of %d: %q, %q", n, len(data), first, second)
		}
	}
	for n := int64(8); n < int64(len(data)); n++ {
		flipped := slices.Clone(data)
		flipped[n] ^= 0x40
		b, err := openAnswers(vfsx.Default, write(flipped))
		switch {
		case err != nil && n < whole: // found, and refused
		case err == nil && keysOf(t, b, 1) != "" && keysOf(t, b, 2) == "" && n >= whole:
		case err == nil && n < 12 && keysOf(t, b, 1) == "" && keysOf(t, b, 2) == "": // a length that leads past the end
		default:
			t.Errorf("a bit of byte %d was flipped: %v", n, err)
		}
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
