//go:build synctests

package bubble

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// The hosts, by the third byte of their address.
var hosts = []string{"user", "broker", "d1", "d2", "d3", "w1", "w2", "w3", "w4"}

func ipOf(host string) string {
	for i, h := range hosts {
		if h == host {
			return "127.0." + strconv.Itoa(i+1) + ".1"
		}
	}
	return ""
}

func hostOf(ip string) string {
	for _, h := range hosts {
		if ipOf(h) == ip {
			return h
		}
	}
	return ip
}

// host is one process: its way to the network, to disks and to the time. When it is killed
// nothing that it does counts any more; its goroutines end by the errors.
type host struct {
	net   *fabric
	name  string
	ip    string
	dead  atomic.Bool
	ports int // guarded by the fabric's mutex
	clock clock.Clock
	lazy  bool // a mutant: its disks sync nothing
	// badWrites is how many of the next writes to any disk fail.
	badWrites atomic.Int32
}

func newHost(f *fabric, name string, skew time.Duration) *host {
	return &host{net: f, name: name, ip: ipOf(name), clock: skewed(skew)}
}

// kill ends the process as kill -9 does.
func (h *host) kill() {
	if h.dead.CompareAndSwap(false, true) {
		h.net.vanish(h)
	}
}

func (h *host) listen(port string) (net.Listener, error) {
	return h.net.listen(h, net.JoinHostPort(h.ip, port))
}

func (h *host) dial(ctx context.Context, _, address string) (net.Conn, error) {
	return h.net.dial(ctx, h, address)
}

var errKilled = errors.New("the process was killed")

// fs is the way of the process to a disk.
func (h *host) fs(fs vfsx.FS) vfsx.FS {
	if h.lazy {
		fs = lazyFS{fs}
	}
	return vfsx.Wrap(fs, vfsx.InjectorFunc(func(op vfsx.Op) error {
		if h.dead.Load() {
			return errKilled
		}
		if vfsx.Writes.Evaluate(op) && h.badWrites.Load() > 0 && h.badWrites.Add(-1) >= 0 {
			return fmt.Errorf("%s: %w", op.Path, vfsx.ErrInjected)
		}
		return nil
	}))
}

// skewed is a clock that is wrong by so much.
type skewed time.Duration

func (s skewed) Now() time.Time { return time.Now().Add(time.Duration(s)) }

func (s skewed) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}
