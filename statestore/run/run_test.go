package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// memory is a file in memory that tells what was read of it.
type memory struct {
	b    []byte
	read int
}

func (m *memory) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > int64(len(m.b)) {
		return errors.New("read beyond the end")
	}
	m.read += copy(p, m.b[off:])
	return nil
}
func (m *memory) Size() int64  { return int64(len(m.b)) }
func (m *memory) Close() error { return nil }

var shard = batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}

// write makes a file of rows; a nil value is a deleted row.
func write(t testing.TB, rows map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b, Info{Shard: shard, Version: 7, ID: ID{1, 2, 3}})
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		if err := w.Add([]byte(k), rows[k], rows[k] == nil); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if sum.Bytes != int64(b.Len()) {
		t.Fatalf("a file of %d bytes is said to have %d", b.Len(), sum.Bytes)
	}
	return b.Bytes()
}

func open(t testing.TB, b []byte, c *Cache) *File {
	t.Helper()
	f, err := Open(t.Context(), &memory{b: b}, "f", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// TestStackAgainstMaps: lookups in order and out of it, of few keys and of many, which
// fit into the cache or not, and scans, of a stack of runs that are cut into files and
// shared by key groups, against plain maps.
func TestStackAgainstMaps(t *testing.T) {
	small, large := NewCache(64<<10), NewCache(8<<20)
	defer small.Close()
	defer large.Close()
	past := 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		cache := []*Cache{small, large}[seed%2]
		key := func() string {
			n := r.IntN(3000)
			return fmt.Sprintf("%c/%04d/%s", byte(n%7)*30, n, bytes.Repeat([]byte{'k'}, n%50))
		}
		want := map[string][]byte{}
		var stack Stack
		for range 1 + r.IntN(6) {
			level := map[string][]byte{}
			for range 1 + r.IntN(2000) {
				k := key()
				level[k] = fmt.Appendf(nil, "%d", r.IntN(1<<30))
				if r.IntN(4) == 0 {
					level[k] = nil
				}
			}
			maps.Copy(want, level)
			stack = append(stack, cut(t, r, level, cache))
		}
		maps.DeleteFunc(want, func(_ string, v []byte) bool { return v == nil })
		past += check(t, r, stack, want, key)
	}
	if past < 3 {
		t.Errorf("%d times only was a run read past the cache", past)
	}
}

// cut writes a level as up to three files, one of which may be cut by key group.
func cut(t *testing.T, r *rand.Rand, rows map[string][]byte, cache *Cache) Level {
	keys := slices.Sorted(maps.Keys(rows))
	var out Level
	for len(keys) > 0 {
		n := 1 + r.IntN(len(keys))
		part := map[string][]byte{}
		for _, k := range keys[:n] {
			part[k] = rows[k]
		}
		keys = keys[n:]
		f := open(t, write(t, part), cache)
		mid := r.IntN(batch.KeyGroups)
		for _, s := range []Slice{{File: f, First: 0, End: mid}, {File: f, First: mid, End: batch.KeyGroups}} {
			if !s.Empty() {
				out = append(out, s)
			}
		}
	}
	return out
}

// check reports how many runs were read past the cache.
func check(t *testing.T, r *rand.Rand, stack Stack, want map[string][]byte, key func() string) (past int) {
	t.Helper()
	look := stack.Lookup(t.Context())
	asked := make([]string, 2000)
	for i := range asked {
		asked[i] = key()
	}
	for round := range 4 {
		if round != 1 {
			if err := look.Expect([]int{1, 100, 1000, 1 << 20}[r.IntN(4)], r.IntN(2) == 0); err != nil {
				t.Fatal(err)
			}
		}
		for i := range look.levels {
			if look.levels[i].once {
				past++
			}
		}
		for _, k := range asked {
			v, ok, err := look.Get([]byte(k))
			if err != nil {
				t.Fatal(err)
			}
			if w, have := want[k]; have != ok || !bytes.Equal(v, w) && ok {
				t.Fatalf("round %d: %q is %q %v, want %q %v", round, k, v, ok, w, have)
			}
		}
		slices.Sort(asked)
	}
	if err := look.Close(); err != nil {
		t.Fatal(err)
	}
	start := key()
	if r.IntN(3) == 0 {
		start = ""
	}
	for _, rows := range []*Rows{stack.Rows(), stack.All()} {
		scan(t, rows, want, start)
	}
	return past
}

// scan compares what rows give from start on.
func scan(t *testing.T, rows *Rows, want map[string][]byte, start string) {
	t.Helper()
	var got []string
	ok, err := rows.Seek([]byte(start))
	for ; ok && err == nil; ok, err = rows.Next() {
		if rows.Deleted() {
			continue
		}
		k := string(rows.Key())
		if !bytes.Equal(rows.Value(), want[k]) {
			t.Fatalf("scan: %q is %q, want %q", k, rows.Value(), want[k])
		}
		got = append(got, k)
	}
	if err := errors.Join(err, rows.Close()); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k >= start {
			list = append(list, k)
		}
	}
	if !slices.Equal(got, list) {
		t.Fatalf("scan from %q: %d rows, want %d", start, len(got), len(list))
	}
}

// TestDamage: whatever byte of a file is flipped and wherever it is cut, each row
// that is read is one that was written, the rest is an error (R2).
func TestDamage(t *testing.T) {
	rows := map[string][]byte{}
	for i := range 60 {
		rows[fmt.Sprintf("\x00key %05d", i*7)] = fmt.Appendf(nil, "value %d", i)
	}
	good := write(t, rows)
	noticed := 0
	try := func(what string, b []byte) {
		t.Helper()
		err := readAll(t, b, rows)
		if err != nil {
			noticed++
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v is not said to be damage", what, err)
			}
		}
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("a bit in byte %d", i), bad)
	}
	if noticed < len(good)*9/10 {
		t.Errorf("only %d of %d flips are noticed", noticed, len(good))
	}
	for i := 0; i < len(good); i += 7 {
		noticed = 0
		try(fmt.Sprintf("a cut at %d", i), good[:i])
		if noticed == 0 {
			t.Errorf("a cut at %d goes unnoticed", i)
		}
	}
	if err := readAll(t, good, rows); err != nil {
		t.Fatal(err)
	}
}

// readAll reads a file in both ways; a row that is not one of want fails the test.
func readAll(t *testing.T, b []byte, want map[string][]byte) (err error) {
	t.Helper()
	f, err := Open(t.Context(), &memory{b: b}, "f", nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stack := Stack{{{File: f, End: batch.KeyGroups}}}
	for _, rows := range []*Rows{stack.Rows(), stack.All()} {
		n := 0
		ok, err := rows.Seek(nil)
		for ; ok && err == nil; ok, err = rows.Next() {
			n++
			if v, have := want[string(rows.Key())]; !have || !bytes.Equal(v, rows.Value()) {
				t.Fatalf("a damaged file gives the row %q %q", rows.Key(), rows.Value())
			}
		}
		if err := errors.Join(err, rows.Close()); err != nil {
			return err
		}
		if n != len(want) {
			t.Fatalf("a damaged file gives %d rows of %d and no error", n, len(want))
		}
	}
	look := stack.Lookup(t.Context())
	asked := 0
	for k, v := range want {
		if asked++; asked > 10 {
			break
		}
		got, ok, err := look.Get([]byte(k))
		if err == nil && (!ok || !bytes.Equal(got, v)) {
			t.Fatalf("a damaged file gives %q for %q", got, k)
		}
		if err != nil {
			return errors.Join(err, look.Close())
		}
	}
	return look.Close()
}

// TestLookupReadsLittle: a lookup in a large file reads its index and a block,
// and going on in key order does not read a block twice.
func TestLookupReadsLittle(t *testing.T) {
	rows := map[string][]byte{}
	for i := range 100_000 {
		rows[fmt.Sprintf("\x00%08d", i)] = fmt.Appendf(nil, "%x", uint64(i)*0x9E3779B97F4A7C15)
	}
	m := &memory{b: write(t, rows)}
	cache := NewCache(64 << 20)
	defer cache.Close()
	f, err := Open(t.Context(), m, "f", cache)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	look := Stack{{{File: f, End: batch.KeyGroups}}}.Lookup(t.Context())
	defer look.Close()
	for i := 40_000; i < 40_200; i++ {
		if _, ok, err := look.Get(fmt.Appendf(nil, "\x00%08d", i)); !ok || err != nil {
			t.Fatal(i, ok, err)
		}
	}
	if m.read > 400<<10 || m.read > len(m.b)/3 {
		t.Fatalf("%d of %d bytes were read", m.read, len(m.b))
	}
	before := m.read
	if _, ok, err := look.Get([]byte("\x00 is not there")); ok || err != nil || m.read != before {
		t.Fatalf("a key that is not there: %v %v, %d bytes read", ok, err, m.read-before)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f, map[string][]byte{"\x00a": []byte("1"), "\x01b": nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Open(t.Context(), &memory{b: b}, "f", nil)
		if err != nil {
			return
		}
		rows := Stack{{{File: file, End: batch.KeyGroups}}}.Rows()
		ok, err := rows.Seek(nil)
		for n := 0; ok && err == nil && n < 1000; n++ {
			ok, err = rows.Next()
		}
		_ = errors.Join(err, rows.Close(), file.Close())
	})
}
