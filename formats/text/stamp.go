package text

import (
	"strconv"
	"time"
)

// pairs are the two digits of each number below a hundred.
const pairs = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

// days writes dates. It keeps the last one, as neighbours in a column are mostly
// of one day.
type days struct {
	day  int64
	size int // of its text, 0 before the first
	text [16]byte
}

// append writes yyyy-MM-dd; a year beyond four digits as Go does.
func (d *days) append(dst []byte, day int64) []byte {
	if d.day != day || d.size == 0 {
		var room [32]byte
		d.day, d.size = day, copy(d.text[:], time.Unix(day*86400, 0).UTC().AppendFormat(room[:0], time.DateOnly))
	}
	return append(dst, d.text[:d.size]...)
}

// timestamp writes what AppendTimestamp does.
func (d *days) timestamp(dst []byte, micros int64, utc bool) []byte {
	day := micros / dayMicros
	if micros < day*dayMicros {
		day--
	}
	dst = append(d.append(dst, day), 'T')
	rest := uint64(micros - day*dayMicros)
	seconds, fraction := rest/1_000_000, rest%1_000_000
	h, m, s := seconds/3600*2, seconds/60%60*2, seconds%60*2
	dst = append(dst, pairs[h], pairs[h+1], ':', pairs[m], pairs[m+1], ':', pairs[s], pairs[s+1])
	if fraction != 0 {
		a, b, c := fraction/10_000*2, fraction/100%100*2, fraction%100*2
		dst = append(dst, '.', pairs[a], pairs[a+1], pairs[b], pairs[b+1], pairs[c], pairs[c+1])
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	if utc {
		dst = append(dst, 'Z')
	}
	return dst
}

// appendInt is strconv.AppendInt in base 10 without its detour for short numbers.
func appendInt(dst []byte, v int64) []byte {
	if v < 0 || v >= 1e8 {
		return strconv.AppendInt(dst, v, 10)
	}
	var b [8]byte
	i, u := len(b), uint32(v)
	for u >= 100 {
		p := u % 100 * 2
		u /= 100
		i -= 2
		b[i], b[i+1] = pairs[p], pairs[p+1]
	}
	if u >= 10 {
		i -= 2
		b[i], b[i+1] = pairs[u*2], pairs[u*2+1]
	} else {
		i--
		b[i] = '0' + byte(u)
	}
	return append(dst, b[i:]...)
}
