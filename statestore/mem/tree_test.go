package mem

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// check walks a tree and says what is wrong with it.
func (t *tree) check() error {
	rows, size := 0, int64(0)
	var walk func(n *node, b bounds, depth int) error
	walk = func(n *node, b bounds, depth int) error {
		size += nodeBytes
		if want := b.skip(); n.skip != want {
			return fmt.Errorf("node skips %d bytes, not %d", n.skip, want)
		}
		if n.kids == nil {
			if depth != t.depth || n.n > 1 && n.live > leafBytesMax+2000 {
				return fmt.Errorf("leaf at depth %d of %d with %d rows of %d bytes", depth, t.depth, n.n, n.live)
			}
			live := 0
			for i := range n.n {
				k := text(n.key(i))
				if !b.contain(k) || n.heads[i] != head(k, n.skip) || i > 0 && text(n.key(i-1)) >= k {
					return fmt.Errorf("row %d %q is out of place", i, k)
				}
				live += n.size(i)
			}
			if live != n.live || live > len(n.data) {
				return fmt.Errorf("leaf of %d bytes says %d of %d", live, n.live, len(n.data))
			}
			rows += n.n
			size += int64(cap(n.data))
			return nil
		}
		if n.n != len(n.kids) || n.n != len(n.lows) || n.n == 0 {
			return fmt.Errorf("node of %d with %d children", n.n, len(n.kids))
		}
		for i := range n.n {
			if i > 0 && n.heads[i] != head(n.lows[i], n.skip) {
				return fmt.Errorf("head %d is out of date", i)
			}
			if err := walk(n.kids[i], b.child(n, i), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(t.root, bounds{}, 0); err != nil {
		return err
	}
	if rows != t.size {
		return fmt.Errorf("%d rows counted as %d", rows, t.size)
	}
	if size != t.bytes || t.fresh < 0 || t.fresh > 2*size+1<<16 {
		return fmt.Errorf("%d bytes counted as %d, %d of them fresh", size, t.bytes, t.fresh)
	}
	return nil
}

// keys of several shapes: short, with zero bytes, with long beginnings in common.
func drawn(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return strings.Repeat("\x00", r.IntN(12)) + string(rune('a'+r.IntN(3)))
	case 1:
		return fmt.Sprintf("group/of a name that is long/%04d", r.IntN(2000))
	case 2:
		return fmt.Sprintf("g%d/%s", r.IntN(5), strings.Repeat("x", r.IntN(40)))
	default:
		return fmt.Sprint(r.IntN(3000))
	}
}

// The tree is held to a sorted list over random changes; what was copied before
// stays as it was.
func TestTreeAgainstAList(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		cur, model := newTree(), map[string]string{}
		kept, keptModel := newTree(), map[string]string{}
		at := cursor{t: cur}
		deletes := 1 + r.IntN(9)
		for step := range 4000 {
			k := drawn(r)
			leaf := at.seek(k)
			i, ok := leaf.place(k)
			if old, have := model[k]; have != ok || ok && text(leaf.value(i)) != old {
				t.Fatalf("seed %d step %d: %q is there: %v, want %v", seed, step, k, ok, have)
			}
			if r.IntN(10) < deletes {
				if ok {
					at.remove(i)
					delete(model, k)
				}
			} else {
				v := fmt.Sprint(step)
				if r.IntN(20) == 0 {
					v += strings.Repeat("v", r.IntN(2000))
				}
				at.put(i, ok, []byte(k), []byte(v), 1)
				model[k] = v
			}
			if step%500 == 499 {
				same(t, kept, keptModel)
				same(t, cur, model)
				kept, keptModel = cur, map[string]string{}
				for k, v := range model {
					keptModel[k] = v
				}
				cur = cur.copy()
				at = cursor{t: cur}
				deletes = 1 + r.IntN(9)
			}
		}
		for k := range model { // down to nothing
			i, _ := at.seek(k).place(k)
			at.remove(i)
		}
		same(t, cur, nil)
		same(t, kept, keptModel)
		if cur.depth != 0 {
			t.Errorf("an empty tree is %d deep", cur.depth)
		}
	}
}

func same(t *testing.T, got *tree, want map[string]string) {
	t.Helper()
	if err := got.check(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for k := range want {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	i := 0
	got.Scan(func(r *Row) bool {
		if i >= len(keys) || string(r.key) != keys[i] || string(r.value) != want[keys[i]] {
			t.Fatalf("row %d is %q", i, r.key)
		}
		i++
		return true
	})
	if i != len(keys) || got.Len() != i {
		t.Fatalf("%d rows, counted as %d, want %d", i, got.Len(), len(keys))
	}
	at := cursor{t: got}
	for i, k := range keys {
		if r := at.get(k); r == nil || string(r.value) != want[k] {
			t.Fatalf("%q is not found", k)
		}
		n := 0
		at.scan(k, func(*Row) bool { n++; return n < 3 })
		if n != min(3, len(keys)-i) {
			t.Fatalf("%d rows from %q on", n, k)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	const rows = 1 << 20
	key := func(i uint64) []byte {
		return fmt.Appendf(nil, "\x07channel-%d/2015-07-15/%012d", i%16, i*0x9E3779B97F4A7C15>>20)
	}
	base := newTree()
	at := cursor{t: base}
	for i := range uint64(rows) {
		k := key(i)
		j, ok := at.seek(text(k)).place(text(k))
		at.put(j, ok, k, nil, 0)
	}
	var keys [][]byte
	for i := range uint64(1 << 14) {
		keys = append(keys, key(i*61))
	}
	b.Run("get", func(b *testing.B) {
		for i := range b.N {
			if at.get(text(keys[i%len(keys)])) == nil {
				b.Fatal("lost")
			}
		}
	})
	slices.SortFunc(keys, func(a, b []byte) int { return strings.Compare(text(a), text(b)) })
	b.Run("get-sorted", func(b *testing.B) {
		for i := range b.N {
			if at.get(text(keys[i%len(keys)])) == nil {
				b.Fatal("lost")
			}
		}
	})
}
