package civil

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Zone converts between instants and wall clocks. It is used by one goroutine.
type Zone struct {
	loc        *time.Location
	start, end int64 // seconds for which offset holds
	offset     int64 // seconds east of UTC
}

var zones sync.Map // name -> *time.Location

// Load finds a zone by its IANA name, UTC, Z or an offset such as +02:00. The
// empty name is UTC.
func Load(name string) (*Zone, error) {
	if name == "" || name == "UTC" || name == "Z" {
		return &Zone{start: math.MinInt64, end: math.MaxInt64}, nil
	}
	if l, ok := zones.Load(name); ok {
		return &Zone{loc: l.(*time.Location)}, nil
	}
	loc, err := find(name)
	if err != nil {
		return nil, err
	}
	zones.Store(name, loc)
	return &Zone{loc: loc}, nil
}

// shortZones are the short names of Java, and so of Spark, that the time zone
// database has not.
var shortZones = map[string]string{
	"ACT": "Australia/Darwin", "AET": "Australia/Sydney", "AGT": "America/Argentina/Buenos_Aires", "ART": "Africa/Cairo",
	"AST": "America/Anchorage", "BET": "America/Sao_Paulo", "BST": "Asia/Dhaka", "CAT": "Africa/Harare", "CNT": "America/St_Johns",
	"CST": "America/Chicago", "CTT": "Asia/Shanghai", "EAT": "Africa/Addis_Ababa", "ECT": "Europe/Paris", "IET": "America/Indiana/Indianapolis",
	"IST": "Asia/Kolkata", "JST": "Asia/Tokyo", "MIT": "Pacific/Apia", "NET": "Asia/Yerevan", "NST": "Pacific/Auckland",
	"PLT": "Asia/Karachi", "PNT": "America/Phoenix", "PRT": "America/Puerto_Rico", "PST": "America/Los_Angeles",
	"SST": "Pacific/Guadalcanal", "VST": "Asia/Ho_Chi_Minh",
}

func find(name string) (*time.Location, error) {
	rest := name
	for _, p := range []string{"UTC", "GMT", "UT"} {
		if strings.HasPrefix(name, p) && len(name) > len(p) && (name[len(p)] == '+' || name[len(p)] == '-') {
			rest = name[len(p):]
		}
	}
	if off, ok := parseOffset(rest); ok {
		return time.FixedZone(name, off), nil
	}
	if strings.Contains(name, "..") || strings.HasPrefix(name, "/") || name == "Local" {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	if long, ok := shortZones[name]; ok {
		name = long
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q", name)
	}
	return loc, nil
}

// parseOffset reads +h, +hh, +hh:mm, +hhmm or +hh:mm:ss as seconds.
func parseOffset(s string) (int, bool) {
	if s == "Z" {
		return 0, true
	}
	if len(s) < 2 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	parts := strings.Split(s[1:], ":")
	if len(parts) == 1 && len(s) == 5 {
		parts = []string{s[1:3], s[3:5]}
	}
	if len(parts) > 3 {
		return 0, false
	}
	total := 0
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || len(p) > 2 || v < 0 || i > 0 && v > 59 || i == 0 && v > 18 {
			return 0, false
		}
		total += v * []int{3600, 60, 1}[i]
	}
	if s[0] == '-' {
		total = -total
	}
	return total, true
}

// UTC reports whether wall clock and instant are the same number.
func (z *Zone) UTC() bool { return z.loc == nil }

// Offset returns the seconds east of UTC at an instant in microseconds.
func (z *Zone) Offset(us int64) int64 {
	if z.loc == nil {
		return 0
	}
	sec := FloorDiv(us, Second)
	if sec < z.start || sec >= z.end {
		z.lookup(sec)
	}
	return z.offset
}

func (z *Zone) lookup(sec int64) {
	t := time.Unix(sec, 0).In(z.loc)
	_, off := t.Zone()
	z.offset = int64(off)
	start, end := t.ZoneBounds()
	z.start, z.end = math.MinInt64, math.MaxInt64
	if !start.IsZero() {
		z.start = start.Unix()
	}
	if !end.IsZero() {
		z.end = end.Unix()
	}
}

// Abbreviation returns the zone's short name at an instant.
func (z *Zone) Abbreviation(us int64) string {
	if z.loc == nil {
		return "UTC"
	}
	n, _ := time.UnixMicro(us).In(z.loc).Zone()
	return n
}

// Local returns the wall clock, as microseconds since 1970 of a clock without zone.
func (z *Zone) Local(us int64) int64 {
	if z.loc == nil {
		return us
	}
	return us + z.Offset(us)*Second
}

// Instant is the inverse of Local. A wall clock that a zone's change repeats is
// the earlier instant; one that the change leaves out moves on by the gap.
func (z *Zone) Instant(local int64) int64 {
	if z.loc == nil {
		return local
	}
	before := z.Offset(local - Day)
	if u := local - before*Second; z.Offset(u) == before {
		return u
	}
	after := z.Offset(local + Day)
	if u := local - after*Second; z.Offset(u) == after {
		return u
	}
	return local - before*Second
}
