package text

import "errors"

var errTimeOfDay = errors.New("not a time of day such as 23:59:59.5")

const (
	secondMicros = 1_000_000
	minuteMicros = 60 * secondMicros
	hourMicros   = 60 * minuteMicros
)

// AppendTimeOfDay writes HH:mm:ss with the digits of a second that are needed.
func AppendTimeOfDay(dst []byte, micros int64) []byte {
	two := func(v int64, end string) { dst = append(append(dst, '0'+byte(v/10), '0'+byte(v%10)), end...) }
	two(micros/hourMicros, ":")
	two(micros/minuteMicros%60, ":")
	two(micros/secondMicros%60, "")
	if part := micros % secondMicros; part > 0 {
		dst = append(dst, '.')
		for unit := int64(secondMicros / 10); part > 0; unit /= 10 {
			dst = append(dst, '0'+byte(part/unit))
			part %= unit
		}
	}
	return dst
}

// ParseTimeOfDay reads HH:mm, HH:mm:ss or that with up to nine digits of a second, as
// microseconds since midnight.
func ParseTimeOfDay(b []byte) (int64, error) {
	field := func(most int64) (int64, bool) {
		if len(b) < 2 || b[0]-'0' > 9 || b[1]-'0' > 9 {
			return 0, false
		}
		v := int64(b[0]-'0')*10 + int64(b[1]-'0')
		b = b[2:]
		return v, v <= most
	}
	h, ok := field(23)
	if !ok || len(b) == 0 || b[0] != ':' {
		return 0, errTimeOfDay
	}
	b = b[1:]
	m, ok := field(59)
	if !ok {
		return 0, errTimeOfDay
	}
	at := h*hourMicros + m*minuteMicros
	if len(b) == 0 {
		return at, nil
	}
	if b[0] != ':' {
		return 0, errTimeOfDay
	}
	b = b[1:]
	s, ok := field(59)
	if at += s * secondMicros; !ok || len(b) > 10 || len(b) > 0 && (b[0] != '.' || len(b) == 1) {
		return 0, errTimeOfDay
	}
	unit := int64(secondMicros / 10)
	for i := 1; i < len(b); i++ {
		if b[i]-'0' > 9 {
			return 0, errTimeOfDay
		}
		at += int64(b[i]-'0') * unit
		unit /= 10
	}
	return at, nil
}
