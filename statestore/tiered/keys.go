package tiered

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// keyList is keys behind each other, each with its length before it: lists are as
// long as batches, and have no pointers that a collector would follow.
type keyList struct {
	data []byte
	n    int
}

func (l *keyList) add(key []byte) {
	l.data = append(binary.AppendUvarint(l.data, uint64(len(key))), key...)
	l.n++
}

// each visits the keys until visit returns false.
func (l *keyList) each(visit func(key []byte) bool) {
	for b := l.data; len(b) > 0; {
		n, w := binary.Uvarint(b)
		if !visit(b[w : w+int(n) : w+int(n)]) {
			return
		}
		b = b[w+int(n):]
	}
}

// sortKey is a key with its first eight bytes, by which most are told apart.
type sortKey struct {
	head     uint64
	from, to uint32 // in the list's data
	list     int32
}

// sorted visits the keys of several lists in order, each once, until visit
// returns false.
func sorted(lists []keyList, visit func(key []byte) bool) {
	n := 0
	for i := range lists {
		n += lists[i].n
	}
	all := make([]sortKey, 0, n)
	for i := range lists {
		at := 0
		lists[i].each(func(key []byte) bool {
			_, w := binary.Uvarint(lists[i].data[at:])
			all = append(all, sortKey{head: headOf(key), from: uint32(at + w), to: uint32(at + w + len(key)), list: int32(i)})
			at += w + len(key)
			return true
		})
	}
	key := func(k *sortKey) []byte { return lists[k.list].data[k.from:k.to:k.to] }
	slices.SortFunc(all, func(a, b sortKey) int {
		if c := cmp.Compare(a.head, b.head); c != 0 {
			return c
		}
		return bytes.Compare(key(&a), key(&b))
	})
	for i := range all {
		k := key(&all[i])
		if i > 0 && bytes.Equal(k, key(&all[i-1])) {
			continue
		}
		if !visit(k) {
			return
		}
	}
}

func headOf(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// missed remembers keys that were looked for and are not under the tree: most of
// them are written next, and need not be looked for again. They are found fast if
// they are asked for in the order in which they were added.
type missed struct {
	keys  keyList
	ends  []uint32 // of the keys in keys.data
	last  []byte   // the key that was added last
	rises bool     // the keys are in order
	at    int      // the one behind that which was found last
}

// missedMax bounds what a transaction remembers.
const missedMax = 1 << 20

func (m *missed) add(key []byte) {
	if m.at == len(m.ends) {
		*m = missed{keys: keyList{data: m.keys.data[:0]}, ends: m.ends[:0], last: m.last[:0], rises: true}
	}
	if len(m.ends) >= missedMax {
		return
	}
	if len(m.ends) > 0 && bytes.Compare(m.last, key) >= 0 {
		m.rises = false
	}
	m.keys.add(key)
	m.ends = append(m.ends, uint32(len(m.keys.data)))
	m.last = append(m.last[:0], key...)
}

func (m *missed) key(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = m.ends[i-1]
	}
	_, w := binary.Uvarint(m.keys.data[from:])
	return m.keys.data[int(from)+w : m.ends[i]]
}

// has reports whether a key is known not to be there; that it is not known says
// nothing.
func (m *missed) has(key []byte) bool {
	if m.at < len(m.ends) && bytes.Equal(m.key(m.at), key) {
		m.at++
		return true
	}
	if !m.rises || len(m.ends) == 0 {
		return false
	}
	i, end := 0, len(m.ends)
	for i < end {
		h := int(uint(i+end) >> 1)
		if bytes.Compare(m.key(h), key) < 0 {
			i = h + 1
		} else {
			end = h
		}
	}
	if i < len(m.ends) && bytes.Equal(m.key(i), key) {
		m.at = i + 1
		return true
	}
	return false
}

// bytes is what the list takes.
func (m *missed) bytes() int64 { return int64(cap(m.keys.data) + 4*cap(m.ends)) }
