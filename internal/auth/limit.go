package auth

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Rates of a guard. A token may ask so often that no tool of ours, dashboard or probe comes
// near it, and an address may be wrong so often that a scan of all routes is still answered.
const (
	requestsPerSecond = 100
	requestsBurst     = 400
	failuresPerSecond = 5
	failuresBurst     = 200
	// bucketsMax bounds what is remembered of addresses, which are anybody's to choose.
	bucketsMax = 4096
)

// rates are buckets of tries by name, each of which fills again with time.
type rates struct {
	perSecond, burst float64
	mu               struct {
		sync.Mutex
		of    map[string]*bucket
		swept time.Time
	}
}

type bucket struct {
	left float64
	at   time.Time
}

func newRates(perSecond, burst float64) *rates {
	r := &rates{perSecond: perSecond, burst: burst}
	r.mu.of = map[string]*bucket{}
	return r
}

// take takes a try of a name, if there is one left.
func (r *rates) take(name string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.mu.of[name]
	if b == nil {
		if len(r.mu.of) >= bucketsMax && now.Sub(r.mu.swept) >= time.Second { // all are looked at
			r.mu.swept = now
			r.forgetLocked(now)
		}
		if len(r.mu.of) >= bucketsMax {
			return false // so many are at it that one more tells nothing
		}
		b = &bucket{left: r.burst, at: now}
		r.mu.of[name] = b
	}
	b.fill(r, now)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (b *bucket) fill(r *rates, now time.Time) {
	if d := now.Sub(b.at).Seconds(); d > 0 {
		b.left, b.at = min(r.burst, b.left+d*r.perSecond), now
	}
}

// forgetLocked drops the buckets that are full again: a new one would be the same.
func (r *rates) forgetLocked(now time.Time) {
	for name, b := range r.mu.of {
		if b.fill(r, now); b.left >= r.burst {
			delete(r.mu.of, name)
		}
	}
}

// origin is the address that failures are counted of: of IPv6 the network, since a host
// has as many addresses as it likes there.
func origin(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
