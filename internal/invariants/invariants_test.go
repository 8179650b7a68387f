package invariants

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// caught runs f and returns what it panicked with.
func caught(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestAssertPanicsUnderTheTagAndReportsWithoutIt(t *testing.T) {
	var reported []*Violation
	defer OnViolation(func(v *Violation) { reported = append(reported, v) })()
	before := Violations()

	if v := caught(func() { Assert(true, "holds") }); v != nil {
		t.Fatalf("a condition that holds panicked: %v", v)
	}
	v := caught(func() { Assert(1 > 2, "one of %d", 2) })
	if Enabled {
		got, ok := v.(*Violation)
		if !ok || got.Message != "one of 2" {
			t.Fatalf("panicked with %v", v)
		}
		reported = append(reported, got)
	} else if v != nil {
		t.Fatalf("panicked without the tag: %v", v)
	}
	if len(reported) != 1 || !strings.HasPrefix(reported[0].Where, "invariants/invariants_test.go:") {
		t.Fatalf("reported %v", reported)
	}
	if n := Violations() - before; n != 1 {
		t.Fatalf("counted %d violations, want 1", n)
	}
}

func TestCheckReturnsTheBreachWithoutTheTag(t *testing.T) {
	if err := Check(true, "holds"); err != nil {
		t.Fatal(err)
	}
	var err error
	v := caught(func() { err = Check(false, "batch %d", 7) })
	if Enabled {
		err, _ = v.(error)
	}
	var viol *Violation
	if !errors.As(err, &viol) || viol.Message != "batch 7" {
		t.Fatalf("got %v (panic %v)", err, v)
	}
}

func TestUnreachablePanicsAlwaysAndCatchTakesOnlyViolations(t *testing.T) {
	edge := func(f func()) (err error) {
		defer Catch(&err)
		f()
		return nil
	}
	err := edge(func() { Unreachable("node %T", 3) })
	if err == nil || !strings.Contains(err.Error(), "node int") {
		t.Fatalf("got %v", err)
	}
	if err := edge(func() {}); err != nil {
		t.Fatal(err)
	}
	other := fmt.Errorf("other")
	if v := caught(func() { _ = edge(func() { panic(other) }) }); v != other {
		t.Fatalf("a foreign panic became %v", v)
	}
}

func TestSometimesRepeatsWithItsSeed(t *testing.T) {
	run := func(seed uint64) (s string, hits int) {
		Seed(seed)
		for range 1000 {
			if Sometimes(30) {
				s += "x"
				hits++
			} else {
				s += "."
			}
		}
		return s, hits
	}
	a, hits := run(7)
	b, _ := run(7)
	if a != b {
		t.Fatal("the same seed gave two sequences")
	}
	if !Enabled {
		if hits != 0 {
			t.Fatalf("%d hits without the tag", hits)
		}
		return
	}
	if c, _ := run(8); c == a {
		t.Fatal("two seeds gave one sequence")
	}
	if hits < 230 || hits > 370 {
		t.Fatalf("%d of 1000 at 30 percent", hits)
	}
}

func TestCloseChecker(t *testing.T) {
	var c CloseChecker
	c.AssertOpen()
	c.Close()
	c.AssertClosed()
	for name, f := range map[string]func(){"use": c.AssertOpen, "close": c.Close} {
		if v := caught(f); (v != nil) != Enabled {
			t.Errorf("%s after close: panic %v, enabled %v", name, v, Enabled)
		}
	}
}

func TestAssertDoesNotAllocateWhenItHolds(t *testing.T) {
	n := testing.AllocsPerRun(100, func() { Assert(true, "constant message") })
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
