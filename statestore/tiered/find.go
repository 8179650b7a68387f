package tiered

import (
	"fmt"
	"sync"

	"github.com/sluice-stream/sluice/statestore/run"
)

const (
	// windowKeys is how many keys of a Get are looked for before their values are
	// visited.
	windowKeys = 2048
	// A few keys that are not in memory wait for a block each: they are read
	// by several readers at once, each of which has at least keysPerReader of them.
	// Many keys share blocks, which lie behind each other.
	readersMax    = 4
	keysPerReader = 8
	fewColdKeys   = 512
)

// found is a window of a Get: what there is for its keys.
type found struct {
	values [][]byte
	there  []bool
	cold   []int // keys that are not in the tree
	texts  [readersMax][]byte
}

// Get visits the value of each key that exists, in the order of keys.
func (t *txn) Get(keys [][]byte, visit func(i int, value []byte) error) error {
	if err := t.usable("get"); err != nil {
		return err
	}
	if t.look == nil { // nothing lies under the tree
		t.use.InMemory += int64(len(keys))
		for i, k := range keys {
			if r, _ := t.at.Place(k); r != nil && !dead(r) {
				if err := visit(i, r.Value()); err != nil {
					return err
				}
			}
		}
		return nil
	}
	// A visitor may ask for keys, too.
	f := t.found
	if t.found = nil; f == nil {
		f = &found{}
	}
	defer func() { t.found = f }()
	if err := t.look.Expect(len(keys), t.there); err != nil {
		return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
	}
	for from := 0; from < len(keys); from += windowKeys {
		window := keys[from:min(from+windowKeys, len(keys))]
		if err := t.find(window, f, len(keys)); err != nil {
			return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
		}
		for i := range window {
			if f.there[i] {
				if err := visit(from+i, f.values[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// find looks for the keys of a window, of a Get of so many keys. A row from a run
// is kept in the tree, because it is likely to be written next.
func (t *txn) find(keys [][]byte, f *found, all int) error {
	if len(f.values) < len(keys) {
		f.values, f.there = make([][]byte, len(keys)), make([]bool, len(keys))
	}
	f.cold = f.cold[:0]
	for i, k := range keys {
		r, _ := t.at.Place(k)
		if r == nil {
			f.cold = append(f.cold, i)
			f.values[i], f.there[i] = nil, false
			continue
		}
		f.values[i], f.there[i] = r.Value(), !dead(r)
	}
	t.use.InMemory += int64(len(keys) - len(f.cold))
	t.use.Read += int64(len(f.cold))
	if len(f.cold) == 0 || t.look == nil {
		return nil
	}
	if err := t.readCold(keys, f, all); err != nil {
		t.failed = true
		return err
	}
	for _, i := range f.cold {
		if !f.there[i] {
			t.missed.add(keys[i])
			continue
		}
		t.hits++
		if t.scanning {
			continue
		}
		if r, at := t.at.Place(keys[i]); r == nil { // a key may be asked for twice
			t.at.Set(at, false, keys[i], f.values[i], readMark)
		}
	}
	if t.scanning {
		return nil
	}
	return t.grown()
}

// readCold reads the rows of a window that are not in the tree.
func (t *txn) readCold(keys [][]byte, f *found, all int) error {
	readers := min(readersMax, len(f.cold)/keysPerReader)
	if all > fewColdKeys || readers < 2 {
		return f.read(0, t.look.Lookup, keys, f.cold)
	}
	more := &t.look.more
	for len(*more) < readers-1 {
		stack, err := t.store.under(t.shard, t.read)
		if err != nil {
			return err
		}
		*more = append(*more, stack.Lookup(t.store.ctx))
	}
	for _, l := range *more {
		if err := l.Expect(all, t.there); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	var errs [readersMax]error
	part := func(r int) []int { return f.cold[len(f.cold)*r/readers : len(f.cold)*(r+1)/readers] }
	for r := 1; r < readers; r++ {
		wg.Go(func() { errs[r] = f.read(r, (*more)[r-1], keys, part(r)) })
	}
	errs[0] = f.read(0, t.look.Lookup, keys, part(0))
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// read is one reader's part of a window.
func (f *found) read(reader int, look *run.Lookup, keys [][]byte, cold []int) error {
	text := f.texts[reader][:0]
	for _, i := range cold {
		value, ok, err := look.Get(keys[i])
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		// Where the text has to grow, what was read before stays in the old one.
		text = append(text, value...)
		f.values[i], f.there[i] = text[len(text)-len(value):len(text):len(text)], true
	}
	f.texts[reader] = text
	return nil
}
