package executor

import (
	"bytes"
	"math/bits"
)

func hashWords(key []uint64) uint32 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, w := range key {
		h = mix(h, w)
	}
	return uint32(h)
}

func mix(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w, 0xd6e8feb86659fd93)
	return hi ^ lo
}

// search returns the slot and group of a key, or a free slot and noGroup.
func (g *groupTable) search(key []uint64, h uint32) (at, id uint32) {
	for at = h & g.mask; ; at = (at + 1) & g.mask {
		slot := g.table[at]
		if slot == 0 {
			return at, noGroup
		}
		if uint32(slot>>32) != h {
			continue
		}
		id = uint32(slot) - 1
		have := g.keys[int(id)*len(key):]
		same := true
		for k, w := range key {
			same = same && have[k] == w
		}
		if same {
			return at, id
		}
	}
}

// map1 is Map for keys of one word.
func (g *groupTable) map1(out []uint32) {
	for start := 0; start < len(out); start += probe {
		words := g.words[start:min(start+probe, len(out))]
		g.reserve(len(words))
		for i, w := range words {
			h := uint32(mix(0x9e3779b97f4a7c15, w))
			g.hashes[i], g.first[i] = h, g.table[h&g.mask]
		}
		for i, w := range words {
			h, slot := g.hashes[i], g.first[i]
			if uint32(slot>>32) == h && slot != 0 && g.keys[uint32(slot)-1] == w {
				out[start+i] = uint32(slot) - 1
				continue
			}
			at, id := g.search(words[i:i+1], h)
			if id == noGroup {
				id = g.insert(at, h, w)
			}
			out[start+i] = id
		}
	}
}

// map2 is Map for keys of two words.
func (g *groupTable) map2(out []uint32) {
	for start := 0; start < len(out); start += probe {
		end := min(start+probe, len(out))
		g.reserve(end - start)
		words := g.words[2*start : 2*end]
		for i := range end - start {
			h := uint32(mix(mix(0x9e3779b97f4a7c15, words[2*i]), words[2*i+1]))
			g.hashes[i], g.first[i] = h, g.table[h&g.mask]
		}
		for i := range end - start {
			h, slot := g.hashes[i], g.first[i]
			if uint32(slot>>32) == h && slot != 0 {
				id := uint32(slot) - 1
				if k := g.keys[2*id : 2*id+2]; k[0] == words[2*i] && k[1] == words[2*i+1] {
					out[start+i] = id
					continue
				}
			}
			at, id := g.search(words[2*i:2*i+2], h)
			if id == noGroup {
				id = g.insert(at, h, words[2*i], words[2*i+1])
			}
			out[start+i] = id
		}
	}
}

func (g *groupTable) mapN(out []uint32, stride int) {
	for start := 0; start < len(out); start += probe {
		end := min(start+probe, len(out))
		g.reserve(end - start)
		for i := start; i < end; i++ {
			h := hashWords(g.words[i*stride : (i+1)*stride])
			g.hashes[i-start], g.first[i-start] = h, g.table[h&g.mask]
		}
		for i := start; i < end; i++ {
			key, h := g.words[i*stride:(i+1)*stride], g.hashes[i-start]
			at, id := g.search(key, h)
			if id == noGroup {
				id = g.insert(at, h, key...)
			}
			out[i] = id
		}
	}
}

// mapText is Map for keys that are one text.
func (g *groupTable) mapText(out []uint32) {
	src := g.texts[0].src
	for start := 0; start < len(out); start += probe {
		end := min(start+probe, len(out))
		g.reserve(end - start)
		words, sums := g.words[2*start:2*end], g.sums[start:end]
		for i, s := range sums {
			g.first[i] = g.table[uint32(s)&g.mask]
		}
		for i, s := range sums {
			h, slot := uint32(s), g.first[i]
			w0, w1 := words[2*i], words[2*i+1]
			if slot != 0 && uint32(slot>>32) == h {
				id := uint32(slot) - 1
				if k := g.keys[2*id : 2*id+2]; k[0] == w0 && (k[1] == w1 && (w0>>32 <= inlineText || w0 == nullText) ||
					w0>>32 > inlineText && w0 != nullText && bytes.Equal(g.arena.get(k[1], int(w0>>32)), src[w1:][:w0>>32])) {
					out[start+i] = id
					continue
				}
			}
			out[start+i] = g.findOrKeep(words[2*i:2*i+2], h)
		}
	}
}

// mapMixed is Map for keys with texts among others.
func (g *groupTable) mapMixed(out []uint32, stride int) {
	for start := 0; start < len(out); start += probe {
		end := min(start+probe, len(out))
		g.reserve(end - start)
		sums := g.sums[start:end]
		for i, s := range sums {
			g.first[i] = g.table[uint32(s)&g.mask]
		}
		for i, s := range sums {
			out[start+i] = g.findOrKeep(g.words[(start+i)*stride:(start+i+1)*stride], uint32(s))
		}
	}
}

func (g *groupTable) findOrKeep(key []uint64, h uint32) uint32 {
	at, id := g.searchMixed(key, h)
	if id == noGroup {
		if len(g.keys)+len(key) > cap(g.keys) {
			g.growKeys(len(key))
		}
		g.keep(key)
		id = g.number(at, h)
	}
	return id
}

// searchMixed is search for keys with texts.
func (g *groupTable) searchMixed(key []uint64, h uint32) (at, id uint32) {
	for at = h & g.mask; ; at = (at + 1) & g.mask {
		slot := g.table[at]
		if slot == 0 {
			return at, noGroup
		}
		if uint32(slot>>32) == h && g.sameKey(uint32(slot)-1, key) {
			return at, uint32(slot) - 1
		}
	}
}
