//go:build linux

package partition

import (
	"testing"

	"github.com/sluice-stream/sluice/internal/seeds"
)

// TestRounds breaks a cluster that three queries run on, a round for each seed.
func TestRounds(t *testing.T) {
	s := newScene(t, 3, 4)
	s.submit()
	s.joined(4)
	s.give()
	s.all("at first")
	rounds := 0
	for seed := range seeds.Of(t, 1) {
		s.lives(seed, !seeds.Usual())
		rounds++
	}
	s.compare("at the end")
	t.Log(s.summary(rounds))
}
