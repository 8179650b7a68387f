package seeds

import (
	"fmt"
	"iter"
	"os"
	"testing"
)

// Variable names the seeds of a longer run: "1000+500" are the 500 from 1000 on.
const Variable = "SLUICE_SEEDS"

// Of yields the seeds 0 to usual-1, or those that Variable names. Each of them has
// to be a life of its own, which the seed alone decides.
func Of(t testing.TB, usual uint64) iter.Seq[uint64] {
	t.Helper()
	first, count, err := parse(os.Getenv(Variable), usual)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(uint64) bool) {
		for i := range count {
			if !yield(first + i) {
				return
			}
		}
	}
}

// Usual reports whether a test lives through its ordinary seeds, of which alone it
// may expect how often something happens.
func Usual() bool { return os.Getenv(Variable) == "" }

func parse(text string, usual uint64) (first, count uint64, err error) {
	if text == "" {
		return 0, usual, nil
	}
	if n, err := fmt.Sscanf(text, "%d+%d", &first, &count); n != 2 || err != nil || fmt.Sprintf("%d+%d", first, count) != text {
		return 0, 0, fmt.Errorf("%s=%q: say FIRST+COUNT, e.g. 1000+500", Variable, text)
	}
	return first, count, nil
}
