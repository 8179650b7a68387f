package nexmark

import "math/bits"

// A draw is a hash of (seed, event, field). Nothing is carried from one draw to
// the next, so that an event can be made without those before it and a field
// without its neighbours.
type draw uint64

// field numbers the draws of one event.
type field uint64

// The draws of an event. The numbers are part of what a seed means: they are
// only ever added to.
const (
	drawLate field = iota + 1
	drawLateBy
	drawFirstName
	drawLastName
	drawMailUser
	drawMailHost
	drawCard
	drawCity
	drawState
	drawSellerHot
	drawSeller
	drawCategory
	drawInitialBid
	drawReserve
	drawExpires
	drawItemName
	drawDescription
	drawAuctionHot
	drawAuction
	drawBidderHot
	drawBidder
	drawPrice
	drawChannelHot
	drawChannel
	drawExtraSize
	drawExtraFrom
)

// golden is 2^64 over the golden ratio, the increment of SplitMix64.
const golden = 0x9e3779b97f4a7c15

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the
// input changes each bit of the output with probability about 1/2.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// of returns the draw of a field of the event with hash h.
func (f field) of(h uint64) draw { return draw(mix(h + uint64(f)*golden)) }

// below maps a draw to [0, n) by its upper bits.
func (d draw) below(n uint64) uint64 {
	hi, _ := bits.Mul64(uint64(d), n)
	return hi
}

// priceSteps and the polynomial in price replace math.Pow, which is slower and
// may differ in the last bit between processors: entry i is 10^(6i/1024) * 100.
var priceSteps = makePriceSteps()

func makePriceSteps() *[1024]float64 {
	factors := [10]float64{ // 10^(6 * 2^bit / 1024)
		1.0135831333340657596, 1.0273507681793025275, 1.0554496008786030027,
		1.1139738599948023763, 1.2409377607517195661, 1.5399265260594919896,
		2.3713737056616552616, 5.6234132519034908039, 31.622776601683793320, 1000,
	}
	var t [1024]float64
	for i := range t {
		v := 100.0
		for b, f := range factors {
			if i>>b&1 == 1 {
				v *= f
			}
		}
		t[i] = v
	}
	return &t
}

// price is round(100 * 10^(6u)) for u uniform in [0, 1): log-uniform from 100 to
// 100,000,000. The conversions keep a compiler from fusing multiply and add,
// which would change the last bit on some processors.
func (d draw) price() int64 {
	const sixLn10 = 13.815510557964274
	u := uint64(d) >> 11
	x := float64(u&(1<<43-1)) * (sixLn10 / (1 << 53))
	p := 1.0 / 24
	p = float64(p*x) + 1.0/6
	p = float64(p*x) + 0.5
	p = float64(p*x) + 1
	p = float64(p*x) + 1
	return int64(float64(priceSteps[u>>43]*p) + 0.5)
}

// letters maps a number below 13*26 to a character of a random string: zero, the
// place of the special character, for one in 13, else a letter.
var letters = makeLetters()

func makeLetters() *[338]byte {
	var t [338]byte
	for i := 26; i < len(t); i++ {
		t[i] = 'a' + byte(i%26)
	}
	return &t
}

// appendString appends a random string of 3 to limit-1 characters, of which one
// in 13 is special, without blanks at its ends.
func appendString(dst []byte, d draw, limit uint64, special byte) []byte {
	start := len(dst)
	n := 3 + int(d.below(limit-3))
	s := uint64(d)
	for n > 0 {
		s += golden
		w := mix(s)
		for range min(n, 4) {
			c := letters[(w&0xffff)*338>>16]
			if c == 0 {
				c = special
			}
			dst = append(dst, c)
			w >>= 16
		}
		n -= 4
	}
	if special != ' ' {
		return dst
	}
	return trim(dst, start)
}

// trim takes blanks from both ends of dst[start:].
func trim(dst []byte, start int) []byte {
	for len(dst) > start && dst[len(dst)-1] == ' ' {
		dst = dst[:len(dst)-1]
	}
	lead := start
	for lead < len(dst) && dst[lead] == ' ' {
		lead++
	}
	if lead == start {
		return dst
	}
	return dst[:start+copy(dst[start:], dst[lead:])]
}

// appendDigits appends n below 10,000 as four digits.
func appendDigits(dst []byte, n uint64) []byte {
	return append(dst, '0'+byte(n/1000), '0'+byte(n/100%10), '0'+byte(n/10%10), '0'+byte(n%10))
}
