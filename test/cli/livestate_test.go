package cli

import (
	"strings"
	"testing"
)

// TestStateOfARunningQuery reads from another process what a query has in its state.
func TestStateOfARunningQuery(t *testing.T) {
	t.Parallel()
	p, url := serve(t, `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','rows-per-second'='500','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE c (k STRING, odd BIGINT, n BIGINT) WITH ('connector'='blackhole');
CREATE STREAMING QUERY busy OUTPUT MODE update AS INSERT INTO c SELECT concat('k', id % 5) AS k, id % 2 AS odd, count(*) FROM g GROUP BY concat('k', id % 5), id % 2;
`)
	address := strings.TrimPrefix(url, "http://")
	state := func(args ...string) string {
		t.Helper()
		r := sluice(t, t.TempDir(), append([]string{"state", "--http", address}, args...)...)
		return r.out + r.err
	}
	p.Until("the query", func() bool { return !strings.Contains(state("busy"), "there is no query") }) // it serves before it runs
	lines := strings.Split(state("busy"), "\n")
	if len(lines) < 2 || !strings.Contains(lines[0], "OPERATOR") || !strings.HasPrefix(lines[1], "aggregate-") {
		t.Fatalf("its operators are %q", lines)
	}
	op, _, _ := strings.Cut(lines[1], " ")
	p.Until("ten groups", func() bool { return strings.Contains(state("busy", "--operator", op), ": 10 rows\n") })
	for want, args := range map[string][]string{
		"k3":                     {"busy", "--operator", op, "--key", "k3", "--key", "1"},
		": 1 rows\n":             {"busy", "--operator", op, "--key", "k3", "--key", "0"},
		": 0 rows\n":             {"busy", "--operator", op, "--key", "none", "--key", "0"},
		": 4 rows, and more\n":   {"busy", "--operator", op, "--limit", "4"},
		`"columns": [`:           {"busy", "--operator", op, "--json"},
		`"Kind": "`:              {"busy", "--json"},
		"has 2 columns, 1 are":   {"busy", "--operator", op, "--key", "k3"},
		"from 1 to":              {"busy", "--operator", op, "--limit", "0"},
		"keeps no state of an":   {"busy", "--operator", "none"},
		"there is no query":      {"nobody"},
		"--key does not go with": {"busy", "--key", "k3"},
		"--top does not go with": {"busy", "--top", "3"},
		"takes one argument":     {},
	} {
		if text := state(args...); !strings.Contains(text, want) {
			t.Errorf("state %v gives %q, want %q", args, text, want)
		}
	}
	if r := sluice(t, t.TempDir(), "state", "--key", "x", "busy"); !strings.Contains(r.err, "--key does not go with") {
		t.Errorf("without an address: %s", r.err)
	}
}
