package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"-seeds 20", 0, "20 seeds in"},
		{"-seed 7", 0, "trigger"},
		{"-mutant no-sync -seeds 50", 0, "caught after"},
		{"-seed 3 -mutant early-reveal", 1, "FAIL"},
		{"-mutant nonsense", 2, "unknown mutant"},
		{"-nonsense", 2, "flag provided"},
	} {
		var out strings.Builder
		code := run(strings.Fields(c.args), &out, &out)
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: code %d, want %d and %q in\n%s", c.args, code, c.code, c.want, tail(out.String()))
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// A mutant that nothing notices is a fault of the checkers.
func TestHuntWithoutACatchFails(t *testing.T) {
	var out strings.Builder
	if code := run([]string{"-mutant", "no-sync", "-seeds", "0"}, &out, &out); code != 1 || !strings.Contains(out.String(), "NOT caught") {
		t.Errorf("code %d: %s", code, out.String())
	}
}
