package executor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// keySorter orders keys of bytes by eight bytes at a time, so that most steps
// compare words that lie side by side. Its memory is used again.
type keySorter struct {
	items, spare []keyWord
	key          func(i int32) []byte
}

// keyWord is eight bytes of a key, zeros behind its end.
type keyWord struct {
	word uint64
	i, n int32 // the key and its length
}

// fewKeys are ordered by comparing them whole.
const fewKeys = 12

// order lists n keys in their order, equal ones by position. The result is valid
// until the next call.
func (s *keySorter) order(n int, key func(i int32) []byte) []keyWord {
	s.key = key
	s.items, s.spare = slices.Grow(s.items[:0], n)[:n], slices.Grow(s.spare[:0], n)[:n]
	for i := range s.items {
		k := key(int32(i))
		s.items[i] = keyWord{word: wordAt(k, 0), i: int32(i), n: int32(len(k))}
	}
	s.sort(s.items, s.spare, 0)
	s.key = nil
	return s.items
}

func wordAt(key []byte, depth int) uint64 {
	if len(key) >= depth+8 {
		return binary.BigEndian.Uint64(key[depth:])
	}
	var w uint64
	for i := depth; i < len(key); i++ {
		w |= uint64(key[i]) << (56 - 8*(i-depth))
	}
	return w
}

// sort orders keys that are the same up to depth and have their words there.
func (s *keySorter) sort(items, spare []keyWord, depth int) {
	if len(items) <= fewKeys {
		slices.SortFunc(items, func(a, b keyWord) int {
			if a.word != b.word {
				return cmp.Compare(a.word, b.word)
			}
			if c := bytes.Compare(s.key(a.i)[depth:], s.key(b.i)[depth:]); c != 0 {
				return c
			}
			return cmp.Compare(a.i, b.i)
		})
		return
	}
	sortWords(items, spare)
	for from := 0; from < len(items); {
		to := from + 1
		for to < len(items) && items[to].word == items[from].word {
			to++
		}
		if to-from > 1 {
			s.settle(items[from:to], spare[from:to], depth+8)
		}
		from = to
	}
}

// settle orders keys with the same words before depth: one that ends before it is the
// start of those that go on, for only zeros may differ.
func (s *keySorter) settle(items, spare []keyWord, depth int) {
	ended, n := 0, 0
	for _, it := range items {
		if int(it.n) <= depth {
			items[ended] = it
			ended++
		} else {
			spare[n] = it
			n++
		}
	}
	copy(items[ended:], spare[:n])
	slices.SortStableFunc(items[:ended], func(a, b keyWord) int { return cmp.Compare(a.n, b.n) })
	if n == 0 {
		return
	}
	items, spare = items[ended:], spare[ended:]
	for i := range items {
		items[i].word = wordAt(s.key(items[i].i), depth)
	}
	s.sort(items, spare, depth)
}

// sortWords orders by word and keeps the order of equal ones.
func sortWords(items, spare []keyWord) {
	const manyKeys = 1 << 9 // counting bytes pays off from here on
	if len(items) < manyKeys {
		slices.SortStableFunc(items, func(a, b keyWord) int { return cmp.Compare(a.word, b.word) })
		return
	}
	var counts [8][256]int32
	for i := range items {
		w := items[i].word
		for b := range counts {
			counts[b][byte(w>>(8*b))]++
		}
	}
	from, to := items, spare
	for b := range counts {
		c := &counts[b]
		if int(c[byte(from[0].word>>(8*b))]) == len(items) {
			continue
		}
		at := int32(0)
		for v, n := range c {
			c[v] = at
			at += n
		}
		for i := range from {
			v := byte(from[i].word >> (8 * b))
			to[c[v]] = from[i]
			c[v]++
		}
		from, to = to, from
	}
	if &from[0] != &items[0] {
		copy(items, from)
	}
}
