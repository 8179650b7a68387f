package text

import (
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

func TestTimestampAgainstStd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	ny, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Skip(err)
	}
	for range 20000 {
		want := time.UnixMicro(r.Int64N(1<<57) - 1<<55).UTC()
		for _, layout := range []string{"2006-01-02T15:04:05.999999Z07:00", "2006-01-02 15:04:05.000000-0700", "2006-01-02T15:04:05.000000"} {
			for _, zone := range []*time.Location{time.UTC, ny} {
				s := want.In(zone).Format(layout)
				got, err := ParseTimestamp([]byte(s), zone)
				back, _ := time.ParseInLocation(layout, s, zone)
				if err != nil || got != back.UnixMicro() {
					t.Fatalf("%s in %s: %d %v, want %d", s, zone, got, err, back.UnixMicro())
				}
			}
		}
		if s := string(AppendTimestamp(nil, want.UnixMicro(), true)); s != want.Format("2006-01-02T15:04:05.999999Z") {
			t.Fatal(s)
		}
	}
}

func TestBadTimes(t *testing.T) {
	for _, s := range []string{"", "2024", "2024-13-01", "2023-02-29", "1900-02-29", "2024-01-01T", "2024-01-01 25:00", "2024-01-01 10:00:00.", "2024-01-01 10:00x", "2024-01-01 10:00+99", "24-01-01", "2024-01-01 10"} {
		if v, err := ParseTimestamp([]byte(s), nil); err == nil {
			t.Errorf("%q reads as %d", s, v)
		}
	}
}

func TestIntAgainstStd(t *testing.T) {
	for _, s := range []string{"0", "-0", "+5", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "", "-", "1_0", "0x1", "99999999999999999999", "18446744073709551615", " 1", "1 "} {
		want, werr := strconv.ParseInt(s, 10, 64)
		got, err := ParseInt([]byte(s))
		if (err == nil) != (werr == nil) || err == nil && got != want {
			t.Errorf("%q: %d %v, want %d %v", s, got, err, want, werr)
		}
	}
}

func TestDecimalAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 50000 {
		s := []string{"", "-", "+"}[r.IntN(3)] + strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
		if r.IntN(2) == 0 {
			s += "." + strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
		}
		if r.IntN(3) == 0 {
			s += "e" + strconv.Itoa(r.IntN(30)-15)
		}
		p := int32(1 + r.IntN(38))
		sc := int32(r.IntN(int(p) + 1))
		rat, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatal(s)
		}
		// Half up, away from zero: floor(|x|*10^sc*2 + 1) / 2.
		abs := new(big.Rat).Abs(rat)
		abs.Mul(abs, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(sc)), nil)))
		abs.Mul(abs, big.NewRat(2, 1)).Add(abs, big.NewRat(1, 1))
		want := new(big.Int).Quo(abs.Num(), abs.Denom())
		want.Rsh(want, 1)
		fits := want.Cmp(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p)), nil)) < 0
		if s[0] == '-' {
			want.Neg(want)
		}
		got, err := ParseDecimal([]byte(s), p, sc)
		if (err == nil) != fits || fits && got.BigInt().Cmp(want) != 0 {
			t.Fatalf("%s as (%d,%d): %s %v, want %s fits %v", s, p, sc, got.BigInt(), err, want, fits)
		}
	}
	for _, s := range []string{"", ".", "-", "1e", "1.2.3", "x", "1e99999"} {
		if _, err := ParseDecimal([]byte(s), 10, 2); err == nil {
			t.Errorf("%q accepted", s)
		}
	}
}

// TestClocksThatAZoneSkipsOrRepeats follows Spark: the earlier of two instants,
// and out of a gap by its length.
func TestClocksThatAZoneSkipsOrRepeats(t *testing.T) {
	for _, c := range []struct{ zone, text, want string }{
		{"America/New_York", "2024-03-10 01:59:59", "2024-03-10T06:59:59Z"},
		{"America/New_York", "2024-03-10 02:30:00", "2024-03-10T07:30:00Z"},
		{"America/New_York", "2024-03-10 03:00:00", "2024-03-10T07:00:00Z"},
		{"America/New_York", "2024-11-03 01:30:00", "2024-11-03T05:30:00Z"},
		{"America/New_York", "2024-11-03 02:00:00", "2024-11-03T07:00:00Z"},
		{"Europe/Berlin", "2024-03-31 02:30:00", "2024-03-31T01:30:00Z"},
		{"Europe/Berlin", "2024-10-27 02:30:00", "2024-10-27T00:30:00Z"},
		{"Asia/Kathmandu", "2024-01-01 00:00:00", "2023-12-31T18:15:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		us, err := ParseTimestamp([]byte(c.text), zone)
		if got := time.UnixMicro(us).UTC().Format(time.RFC3339); err != nil || got != c.want {
			t.Errorf("%s in %s is %s (%v), want %s", c.text, c.zone, got, err, c.want)
		}
	}
}
