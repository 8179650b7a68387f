//go:build synctests

package bubble

import (
	"strings"
	"testing"
	"time"
)

// healing is how much virtual time everything has to be whole in when nothing is broken any
// more (I10).
const healing = 3 * time.Minute

const (
	looks = 300 * time.Millisecond // how long a look takes at what is there
	late  = time.Second            // what comes twice comes late
)

// run is the life of a world.
func (w *world) run() {
	w.raiseAll()
	w.user.write(20 + w.rng.IntN(60))
	pause(time.Duration(w.rng.Int64N(int64(5 * time.Second))))
	w.breaking()
	w.raiseAll()
	w.user.finish()
	w.settle()
}

// settle waits until the outputs are whole, checks them and takes everything down.
func (w *world) settle() {
	copies, counts := w.user.reader("copies", time.Second), w.user.reader("counts", time.Second)
	missing := ""
	for begun := time.Now(); ; {
		copies.poll(looks)
		counts.poll(looks)
		if missing = w.complete(copies, counts); missing == "" || time.Since(begun) > healing {
			break
		}
		w.raiseAll() // a driver whose disk has failed late
	}
	if missing != "" {
		w.violated("%s after nothing was broken any more, there are %s", healing, missing)
	} else {
		copies.poll(late)
		counts.poll(late)
		w.check(copies, counts)
	}
	copies.client.Close()
	counts.client.Close()
	w.end()
}

const notesShown = 80

// report fails the test for all that must not be.
func (w *world) report(t *testing.T) {
	t.Helper()
	if len(w.mu.broken) == 0 {
		return
	}
	if len(w.mu.broken) > 12 {
		w.mu.broken = append(w.mu.broken[:12], "..")
	}
	if n := len(w.mu.notes); n > notesShown {
		w.mu.notes = w.mu.notes[n-notesShown:]
	}
	t.Errorf("seed %d: %s\n%v\n%s", w.seed, strings.Join(w.mu.broken, "\n"), w.mu.hits, strings.Join(w.mu.notes, "\n"))
}
