package invariants

import (
	"errors"
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

func TestUnreachablePanicsAlways(t *testing.T) {
	err, _ := caught(func() { Unreachable("node %T", 3) }).(error)
	if err == nil || !strings.Contains(err.Error(), "node int") {
		t.Fatalf("got %v", err)
	}
}

func TestAssertDoesNotAllocateWhenItHolds(t *testing.T) {
	n := testing.AllocsPerRun(100, func() { Assert(true, "constant message") })
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
