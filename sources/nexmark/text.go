package nexmark

import (
	"math/bits"
	"strconv"
	"sync"
)

var (
	firstNames = [...]string{"Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"}
	lastNames  = [...]string{"Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"}
	cities     = [...]string{"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"}
	states     = [...]string{"AZ", "CA", "ID", "OR", "WA", "WY"}
	hotNames   = [...]string{"Google", "Facebook", "Baidu", "Apple"}
)

const (
	channels      = 10_000
	extraLen      = 1 << 20
	personSize    = 200 // average sizes in bytes, all fields together
	auctionSize   = 500
	bidSize       = 100
	itemNameLimit = 20
	describeLimit = 100
)

// texts is what strings are copied from: made once for a seed, read only after.
type texts struct {
	extra []byte // random letters, and slack zeros
	pool  []byte // names of channels, each with its URL behind, and slack zeros
	name  [len(hotNames) + channels]span
	url   [len(hotNames) + channels]span
	// The longest of each, to reserve space by.
	nameMax, urlMax int
}

// textCache keeps the texts of the seed that was asked for last, so that opening
// the same table again and again costs nothing.
type textCache struct {
	sync.Mutex
	seed  int64
	texts *texts
}

func (c *textCache) of(seed int64) *texts {
	c.Lock()
	defer c.Unlock()
	if c.texts == nil || c.seed != seed {
		c.seed, c.texts = seed, newTexts(seed)
	}
	return c.texts
}

type span struct{ from, to uint32 }

// The seeds of the parts of texts, apart from those of any event.
const (
	extraSeed = 0x65787472615f6c65
	urlSeed   = 0x75726c5f63616368
)

func newTexts(seed int64) *texts {
	t := &texts{extra: makeExtra(mix(uint64(seed) ^ extraSeed))}
	s := mix(uint64(seed) ^ urlSeed)
	word := func() draw {
		s += golden
		return draw(mix(s))
	}
	for i := range t.name {
		from := len(t.pool)
		if i < len(hotNames) {
			t.pool = append(t.pool, hotNames[i]...)
		} else {
			t.pool = strconv.AppendInt(append(t.pool, "channel-"...), int64(i-len(hotNames)), 10)
		}
		mid := len(t.pool)
		t.pool = append(t.pool, "https://www.nexmark.com/"...)
		for range 3 {
			t.pool = append(appendString(t.pool, word(), 5, '_'), '/')
		}
		t.pool = append(t.pool, "item.htm?query=1"...)
		if i >= len(hotNames) && word().below(10) > 0 {
			t.pool = append(t.pool, "&channel_id="...)
			t.pool = strconv.AppendInt(t.pool, int64(channelID(uint32(i-len(hotNames)))), 10)
		}
		t.name[i] = span{uint32(from), uint32(mid)}
		t.url[i] = span{uint32(mid), uint32(len(t.pool))}
		t.nameMax = max(t.nameMax, mid-from)
		t.urlMax = max(t.urlMax, len(t.pool)-mid)
	}
	t.pool = append(t.pool, make([]byte, slack)...)
	return t
}

// channelID is Java's Math.abs(Integer.reverse(k)), whose result for k = 1 stays
// negative.
func channelID(k uint32) int32 {
	id := int32(bits.Reverse32(k))
	if id < 0 {
		id = -id
	}
	return id
}

// makeExtra draws six letters from each signed 32-bit number; those of a
// negative one lie below 'a'.
func makeExtra(s uint64) []byte {
	out := make([]byte, 0, extraLen+slack)
	for len(out) < extraLen {
		s += golden
		r := int32(mix(s) >> 32)
		for range 6 {
			out = append(out, byte('a'+r%26))
			r /= 26
		}
	}
	return append(out[:extraLen], make([]byte, slack)...)
}

// appendExtra appends as much of the random letters as brings an event of size
// bytes to an average of want, give or take a fifth.
func (t *texts) appendExtra(dst []byte, e *event, size, want int) []byte {
	if size > want {
		return dst
	}
	want -= size
	delta := (want*2 + 5) / 10 // a fifth, rounded
	n := want - delta
	if delta > 0 {
		n += int(drawExtraSize.of(e.hash).below(uint64(2 * delta)))
	}
	from := int(drawExtraFrom.of(e.hash).below(uint64(extraLen - n)))
	return append(dst, t.extra[from:from+n]...)
}

// extraMax is the longest extra of an event of at least size bytes.
func extraMax(size, want int) int { return (want-size)*6/5 + 2 }

// The text fields, each appended to dst.

func (t *texts) personName(dst []byte, e *event) []byte {
	dst = append(dst, pick(firstNames[:], drawFirstName, e)...)
	dst = append(dst, ' ')
	return append(dst, pick(lastNames[:], drawLastName, e)...)
}

func pick(list []string, f field, e *event) string {
	return list[f.of(e.hash).below(uint64(len(list)))]
}

func (t *texts) email(dst []byte, e *event) []byte {
	dst = appendString(dst, drawMailUser.of(e.hash), 7, ' ')
	dst = append(dst, '@')
	dst = appendString(dst, drawMailHost.of(e.hash), 5, ' ')
	return append(dst, ".com"...)
}

func (t *texts) creditCard(dst []byte, e *event) []byte {
	d := uint64(drawCard.of(e.hash))
	for i := range 2 {
		if i > 0 {
			dst = append(dst, ' ')
		}
		pair := (d >> 32) * 100_000_000 >> 32
		dst = append(appendDigits(dst, pair/10_000), ' ')
		dst = appendDigits(dst, pair%10_000)
		d <<= 32
	}
	return dst
}

func (t *texts) city(dst []byte, e *event) []byte {
	return append(dst, pick(cities[:], drawCity, e)...)
}

func (t *texts) state(dst []byte, e *event) []byte {
	return append(dst, pick(states[:], drawState, e)...)
}

func (t *texts) personExtra(dst []byte, e *event) []byte {
	var scratch [128]byte
	s := t.personName(scratch[:0], e)
	s = t.email(s, e)
	s = t.city(s, e)
	const cardAndState = 19 + 2
	return t.appendExtra(dst, e, 8+len(s)+cardAndState, personSize)
}

func (t *texts) itemName(dst []byte, e *event) []byte {
	return appendString(dst, drawItemName.of(e.hash), itemNameLimit, ' ')
}

func (t *texts) description(dst []byte, e *event) []byte {
	return appendString(dst, drawDescription.of(e.hash), describeLimit, ' ')
}

func (t *texts) auctionExtra(dst []byte, e *event) []byte {
	var scratch [itemNameLimit + describeLimit]byte
	s := t.description(t.itemName(scratch[:0], e), e)
	return t.appendExtra(dst, e, 8+len(s)+5*8, auctionSize)
}

// entry is the place of a bid's channel and URL: one of the few hot ones for
// every second bid.
func entry(e *event) int {
	if drawChannelHot.of(e.hash).below(2) > 0 {
		return int(drawChannel.of(e.hash).below(uint64(len(hotNames))))
	}
	return len(hotNames) + int(drawChannel.of(e.hash).below(channels))
}

func (t *texts) channel(dst []byte, e *event) []byte {
	s := t.name[entry(e)]
	return append(dst, t.pool[s.from:s.to]...)
}

func (t *texts) bidURL(dst []byte, e *event) []byte {
	s := t.url[entry(e)]
	return append(dst, t.pool[s.from:s.to]...)
}

func (t *texts) bidExtra(dst []byte, e *event) []byte {
	return t.appendExtra(dst, e, 4*8, bidSize)
}
