//go:build linux

package partition

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

var only = flag.String("fault", "", "the one fault that rounds have, by its name")

// round breaks things that a seed chooses, one upon the other, while rows come; then all
// is mended.
type round struct {
	*scene
	rng   *rand.Rand
	long  bool     // things are broken for longer than a change can wait for
	ticks []func() // what a fault does all the time
	said  []string
}

// fault begins to break something. Whatever it does, mend ends.
type fault struct {
	name  string
	begin func(*round)
}

var faults = []fault{
	{"kill worker", func(r *round) { r.killed(r.worker()) }},
	{"kill driver", func(r *round) { r.killed(r.driver()) }},
	{"kill several", func(r *round) {
		all := r.nodes()
		r.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		r.killed(all[:2+r.rng.IntN(len(all)-1)]...)
	}},
	{"stop worker", func(r *round) { r.stopped(r.worker()) }},
	{"stop driver", func(r *round) { r.stopped(r.driver()) }},
	{"cut worker", func(r *round) { r.apart([]*node{r.worker()}, r.nodes(), true, true) }},
	{"mute worker", func(r *round) { r.apart([]*node{r.worker()}, r.drivers, true, false) }},
	{"deaf worker", func(r *round) { r.apart([]*node{r.worker()}, r.drivers, false, true) }},
	{"cut workers apart", func(r *round) { r.apart([]*node{r.worker()}, r.workers, true, true) }},
	{"half cut workers apart", func(r *round) { r.apart([]*node{r.worker()}, r.workers, true, false) }},
	{"cut driver", func(r *round) { r.apart([]*node{r.driver()}, r.nodes(), true, true) }},
	{"mute driver", func(r *round) { r.apart([]*node{r.driver()}, r.nodes(), true, false) }},
	{"deaf driver", func(r *round) { r.apart([]*node{r.driver()}, r.nodes(), false, true) }},
	{"minority", func(r *round) {
		some := []*node{r.driver()}
		for _, w := range r.workers {
			if r.rng.IntN(2) == 0 {
				some = append(some, w)
			}
		}
		r.apart(some, slices.DeleteFunc(r.nodes(), func(n *node) bool { return slices.Contains(some, n) }), true, true)
	}},
	{"unplug worker", func(r *round) { r.unplugged(r.worker(), false) }},
	{"unplug driver", func(r *round) { r.unplugged(r.driver(), false) }},
	{"flap worker", func(r *round) { r.unplugged(r.worker(), true) }},
	{"flap driver", func(r *round) { r.unplugged(r.driver(), true) }},
	{"full checkpoints", func(r *round) { r.full("checkpoints") }},
	{"full outputs", func(r *round) { r.full("out") }},
	{"full driver", func(r *round) { r.full(r.driver().id) }},
	{"full worker", func(r *round) { r.full(r.worker().id) }},
	{"clock of driver", func(r *round) { r.jumps(r.driver()) }},
	{"clock of worker", func(r *round) { r.jumps(r.worker()) }},
}

func (r *round) note(what string, nodes ...*node) {
	for _, n := range nodes {
		what += " " + n.id
	}
	r.said = append(r.said, what)
}

func (r *round) worker() *node { return r.workers[r.rng.IntN(len(r.workers))] }

// driver is the one that leads, more often than another.
func (r *round) driver() *node {
	d := r.drivers[r.rng.IntN(len(r.drivers))]
	if leader := r.leader(); leader != nil && r.rng.IntN(4) > 0 {
		return leader
	}
	return d
}

// killed starts them again at once, or at the end.
func (r *round) killed(nodes ...*node) {
	for _, n := range nodes {
		n.kill()
	}
	again := r.rng.IntN(2) == 0
	if r.note("kill -9", nodes...); again {
		for _, n := range nodes {
			n.run()
		}
	}
}

func (r *round) stopped(n *node) {
	n.signal(syscall.SIGSTOP)
	r.note("SIGSTOP", n)
}

func (r *round) apart(some, others []*node, there, back bool) {
	way := "to"
	if there && back {
		way = "to and from"
	} else if back {
		way = "from"
	}
	if there {
		r.net.cut(spots(some), spots(others))
	}
	if back {
		r.net.cut(spots(others), spots(some))
	}
	r.note("cut", some...)
	r.note(way, others...)
}

func spots(nodes []*node) (out []*place) {
	for _, n := range nodes {
		out = append(out, n.place)
	}
	return out
}

func (r *round) unplugged(n *node, flaps bool) {
	if !flaps {
		r.net.plug(n.place, false)
		r.note("unplug", n)
		return
	}
	in, next := true, time.Now()
	r.ticks = append(r.ticks, func() {
		if time.Now().Before(next) {
			return
		}
		in = !in
		r.net.plug(n.place, in)
		next = time.Now().Add(time.Duration(50+r.rng.IntN(900)) * time.Millisecond)
	})
	r.note("flap", n)
}

func (r *round) full(disk string) {
	r.disks[disk].fill(r.t)
	r.note("fill the disk of " + disk)
}

// jumps sets a node's clock wrong, now and again while it lasts.
func (r *round) jumps(n *node) {
	next := time.Now()
	r.ticks = append(r.ticks, func() {
		if time.Now().After(next) {
			n.set(time.Duration(r.rng.IntN(7200)-3600) * time.Second)
			next = time.Now().Add(time.Duration(r.rng.IntN(1500)) * time.Millisecond)
		}
	})
	r.note("jumps of the clock of", n)
}

// set makes a node's wall clock wrong by that much.
func (n *node) set(by time.Duration) {
	b := binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second)))
	f, err := os.OpenFile(n.clock, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b, 0)
		_ = f.Close()
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// lasts lets time pass while rows come.
func (r *round) lasts(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); r.pause(look) {
		r.give()
		for _, tick := range r.ticks {
			tick()
		}
		for _, n := range r.nodes() {
			n.watch()
		}
		if len(r.drivers) > 1 {
			r.leader() // there must never be two
		}
	}
}

// some is a time that is broken for.
func (r *round) some(most time.Duration) time.Duration {
	return time.Duration(r.rng.Int64N(int64(most)))
}

// usual are the faults of the one round that each change lives through.
var usual = []string{"mute worker", "kill driver", "minority"}

// choose draws what is to break.
func (r *round) choose() (out []fault) {
	names := usual
	if *only != "" {
		names = []string{*only}
	}
	if *only == "" && r.long {
		for range 1 + r.rng.IntN(3) {
			out = append(out, faults[r.rng.IntN(len(faults))])
		}
		return out
	}
	for _, name := range names {
		i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
		if i < 0 {
			r.t.Fatalf("there is no fault %q", name)
		}
		out = append(out, faults[i])
	}
	return out
}

// run breaks up to three things at once. Clocks stay wrong: nothing has to know the time.
func (r *round) run() {
	most := 2 * time.Second
	if r.long {
		if most = 6 * time.Second; r.rng.IntN(8) == 0 {
			most = 20 * time.Second
		}
	}
	r.lasts(r.some(500 * time.Millisecond))
	for _, f := range r.choose() {
		r.hits[f.name]++
		f.begin(r)
		r.lasts(r.some(most / 2))
	}
	r.lasts(most/4 + r.some(most))
	r.mend()
}

// mend ends everything that is broken, in an order that is as good as any.
func (r *round) mend() {
	r.ticks, r.mended = nil, time.Now()
	for _, d := range r.disks {
		d.empty(r.t)
	}
	for _, p := range r.net.nodes {
		r.net.plug(p, true)
		r.net.join([]*place{p}, r.net.nodes)
	}
	for _, n := range r.nodes() {
		n.signal(syscall.SIGCONT)
		if !n.runs() {
			n.run()
		}
	}
}

// lives runs a round for a seed and holds what comes of it against what was given.
func (s *scene) lives(seed uint64, long bool) {
	s.t.Helper()
	r := &round{scene: s, rng: rand.New(rand.NewPCG(seed, 8)), long: long}
	begun := time.Now()
	r.run()
	broken := time.Since(begun)
	led := s.led(long)
	all := s.all(fmt.Sprintf("after seed %d: %s", seed, strings.Join(r.said, ", ")))
	s.joined(len(s.workers))
	s.failed("at the end of the round")
	for _, n := range s.nodes() {
		n.exits = nil
	}
	s.worst, s.worstLed = max(s.worst, all), max(s.worstLed, led)
	s.t.Logf("seed %d: %s for %.1f s; a leader after %.1f s, all rows after %.1f s", seed, strings.Join(r.said, ", "), broken.Seconds(), led.Seconds(), all.Seconds())
}

// summary is for the ledger.
func (s *scene) summary(rounds int) string {
	var hits []string
	for _, name := range slices.Sorted(maps.Keys(s.hits)) {
		hits = append(hits, fmt.Sprintf("%s=%d", name, s.hits[name]))
	}
	return fmt.Sprintf("%d rounds, %d rows; %s; a leader after %.1f s at most, all rows after %.1f s", rounds, s.given.rows, strings.Join(hits, " "), s.worstLed.Seconds(), s.worst.Seconds())
}
