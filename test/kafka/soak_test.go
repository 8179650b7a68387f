package kafka

import (
	"flag"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	soakTime = flag.Duration("soak", 0, "how long TestSoak breaks things; 0 leaves it out")
	soakSeed = flag.Uint64("seed", 1, "seed of what TestSoak breaks, and when")
)

// TestSoak breaks the engine, the broker and the way between them, one after the other
// at random, while rows come (`make soak-kafka`). Each minute all must be there, once
// and in order.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("-soak says how long")
	}
	real(t, func(t *testing.T, c *cluster) {
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		s := &soak{t: t, c: c, rng: rand.New(rand.NewPCG(*soakSeed, 1)), cl: c.client(t), in: in, faults: map[string]int{}}
		s.seen = c.reader(t, out)
		s.e = watch(t, c.pipeline(t, in, out, counts))
		for end, minute := time.Now().Add(*soakTime), time.Now().Add(time.Minute); time.Now().Before(end); {
			s.round()
			if time.Now().After(minute) {
				checkCopies(t, s.seen.recs, s.n)
				t.Logf("%d rows are there, in order; %v, %d restarts", s.n, s.faults, s.e.restarts)
				if s.e.restarts = 0; t.Failed() {
					t.FailNow()
				}
				minute = time.Now().Add(time.Minute)
			}
		}
		s.e.kill()
		c.finish(t, s.e.script, out, counts, s.n)
	})
}

type soak struct {
	t      *testing.T
	c      *cluster
	rng    *rand.Rand
	cl     *kgo.Client
	in     string
	n      int
	e      *watched
	seen   *reader
	faults map[string]int
}

// round breaks something while rows come, mends it, and waits for all of them.
func (s *soak) round() {
	produce(s.t, s.cl, s.in, s.n, s.n+1500)
	want := s.n + 1 + s.rng.IntN(1400)
	s.n += 1500
	s.seen.until(func() bool { s.e.goesOn(); return len(s.seen.recs) >= want })
	pause := func() { <-time.After(time.Duration(s.rng.IntN(3000)) * time.Millisecond) }
	fault := []string{"kill the engine", "stop the engine", "cut the network", "swallow bytes", "hold ends back", "lose answers", "kill the broker"}[s.rng.IntN(7)]
	s.faults[fault]++
	switch fault {
	case "kill the engine":
		s.e.kill()
		s.e.engine = startEngine(s.t, s.e.script)
	case "stop the engine":
		s.e.signal(syscall.SIGSTOP)
		pause()
		s.e.signal(syscall.SIGCONT)
	case "cut the network":
		s.c.proxy.cut()
		pause()
	case "swallow bytes":
		s.c.proxy.swallow()
		pause()
	case "hold ends back":
		s.c.proxy.hold(keyEndTxn)
		pause()
	case "lose answers":
		s.c.proxy.hold(keyEndTxn)
		pause()
		s.c.proxy.lose()
	case "kill the broker":
		s.c.real.kill(s.t)
		s.c.real.up(s.t)
	}
	s.c.proxy.mend()
	s.seen.until(func() bool { s.e.goesOn(); return len(s.seen.recs) >= s.n })
}
