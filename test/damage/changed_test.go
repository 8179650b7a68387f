package damage

import (
	"fmt"
	"strings"
	"testing"
)

// TestChangedQuery starts a query on the checkpoint of one that differs in
// something that changes its results: it is refused, whatever it is. What does
// not change them is taken.
func TestChangedQuery(t *testing.T) {
	for _, c := range []struct {
		name    string
		set     map[string]string
		old     string
		new     string
		refused bool
	}{
		{name: "nothing"},
		{name: "the time zone", set: map[string]string{"session.time-zone": "Europe/Berlin"}, refused: true},
		{name: "the watermark's delay", old: "INTERVAL '10' SECOND", new: "INTERVAL '11' SECOND", refused: true},
		{name: "a window", old: "INTERVAL '2' MINUTE", new: "INTERVAL '3' MINUTE", refused: true},
		{name: "a filter", old: "ON k = dk", new: "ON k = dk WHERE v > 5", refused: true},
		{name: "another filter", old: "sum(v)", new: "sum(v + 1)", refused: true},
		{name: "the input's pattern", old: "/in'", new: "/in/*.json'", refused: true},
		{name: "the policy", set: map[string]string{"watermark.policy": "max"}, refused: true},
		{name: "the partitions", set: map[string]string{"parallelism": "7"}},
		{name: "files a batch", old: "'max-files-per-trigger'='1'", new: "'max-files-per-trigger'='2'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := emptyWorld(t, pipelines[2])
			for i := range 4 {
				w.feed(i)
			}
			script := w.ddl("") + "CREATE STREAMING QUERY q OUTPUT MODE append AS INSERT INTO results " + w.p.sel
			s := w.session(nil)
			w.check(s.Exec(t.Context(), script))
			q, _ := s.Query("q")
			w.check(q.ProcessAllAvailable(t.Context()))
			q.Abandon()
			w.check(q.Await(t.Context()))
			w.check(s.Close())

			if c.old != "" && !strings.Contains(script, c.old) {
				t.Fatalf("the script does not hold %s", c.old)
			}
			for i := 4; i < 6; i++ {
				w.feed(i)
			}
			w.feed(phases*filesPerPhase + 1)
			s = w.session(c.set)
			err := s.Exec(t.Context(), strings.ReplaceAll(script, c.old, c.new))
			if err == nil {
				q, _ = s.Query("q")
				err = q.ProcessAllAvailable(t.Context())
				q.Stop()
				if e := q.Await(t.Context()); err == nil {
					err = e
				}
			}
			w.check(s.Close())
			if (err != nil) != c.refused {
				t.Errorf("refused %v, want %v: %v", err != nil, c.refused, err)
			}
			if err != nil && strings.Contains(err.Error(), "replayed batch differs") {
				t.Errorf("it was found by the digests alone: %v", err)
			}
			if err == nil {
				w.right("with " + c.name + " changed")
			}
		})
	}
}

// TestGrownTable: a table that has become larger changes how it is joined. The
// query goes on all the same: its results and its state are what they were.
func TestGrownTable(t *testing.T) {
	w := emptyWorld(t, pipelines[2])
	w.p.sel = strings.ReplaceAll(w.p.sel, "JOIN dim ON", "JOIN (SELECT a.dk, a.city FROM dim AS a JOIN dim AS b ON a.dk = b.dk WHERE a.city <> 'nowhere') AS d ON")
	for i := range 4 {
		w.feed(i)
	}
	w.check(w.run(false))
	var b strings.Builder
	b.WriteString("dk,city\n")
	for _, k := range []string{"k0,city 0", "k1,city 1", "k2,city 2", "k3,city 3", "k4,city 0", "k5,city 1"} {
		b.WriteString(k + "\n")
	}
	for i := range 1 << 18 { // more than is broadcast
		fmt.Fprintf(&b, "nobody-has-such-a-long-key-as-is-the-one-of-row-number-%d-of-this-table-%060d,nowhere\n", i, i)
	}
	w.write("dim.csv", b.String(), 1)
	for i := 4; i < 6; i++ {
		w.feed(i)
	}
	w.feed(phases*filesPerPhase + 1)
	w.check(w.run(false))
	w.right("with a grown table")
}
