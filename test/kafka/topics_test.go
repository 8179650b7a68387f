package kafka

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice"
)

// TestTopicGrows adds partitions to the input and to the output while the engine works.
// What is in the new ones before the engine finds them is read as well (FLINK-32019).
func TestTopicGrows(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) { // kfake empties partitions when others are added
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 1, in, out, counts)
		script := c.pipeline(t, in, out, counts)
		watch := c.reader(t, out)
		e := startEngine(t, script)
		n := 0
		// Clients learn of new partitions late: each round has new ones.
		more := func() {
			produce(t, c.client(t), in, n, n+600)
			n += 600
			watch.until(func() bool { e.alive(); return len(watch.recs) >= n })
		}
		more()
		if _, err := c.adm.CreatePartitions(t.Context(), 3, in); err != nil {
			t.Fatal(err)
		}
		more()
		e.kill()
		c.finish(t, script, out, counts, n)

		// Keys of the output move to other partitions: their order is then that of partitions.
		if _, err := c.adm.CreatePartitions(t.Context(), 2, out); err != nil {
			t.Fatal(err)
		}
		watch = c.reader(t, out)
		e = startEngine(t, script)
		more()
		e.kill()
		seen := map[int64]int{}
		parts := map[int32]bool{}
		for _, rec := range watch.recs {
			seen[rowOf(t, rec).ID]++
			parts[rec.Partition] = true
		}
		if len(seen) != n || len(watch.recs) != n || len(parts) < 2 {
			t.Errorf("%d messages, of %d rows, in %d partitions; want %d", len(watch.recs), len(seen), len(parts), n)
		}
	})
}

// TestTopicCreatedAgain deletes the input and creates it again under the same name, with
// as many messages: the engine tells the two apart by their IDs, and stops, or goes on.
func TestTopicCreatedAgain(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out := name(t, "in"), name(t, "out")
		c.create(t, 2, in, out)
		path := filepath.Join(t.TempDir(), "p.sql")
		script := func(more string) {
			text := c.table("src", "id BIGINT, k STRING", in, ", 'discovery-interval'='100ms'"+more) + c.table("dst", "id BIGINT, k STRING", out, ", 'key-columns'='k'") +
				"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;\n"
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		script("")
		watch := c.reader(t, out)
		e := startEngine(t, path)
		produce(t, c.client(t), in, 0, 500)
		watch.until(func() bool { e.alive(); return len(watch.recs) >= 500 })
		c.again(t, 2, in)
		produce(t, c.client(t), in, 500, 1000)
		select {
		case <-e.ended:
		case <-time.After(patience):
			t.Fatal("the engine goes on")
		}
		if says := e.errors.String(); !strings.Contains(says, "was deleted and created again") || !strings.Contains(says, "was read to offset") {
			t.Errorf("the engine says %s", says)
		}
		if err := runScript(t.Context(), path, beside(path), true); err == nil || !strings.Contains(err.Error(), "was deleted and created again") {
			t.Errorf("the next start says %v", err)
		}
		script(", 'fail-on-data-loss'='false'")
		if err := runScript(t.Context(), path, beside(path), true); err != nil {
			t.Fatal(err)
		}
		watch.toEnd(out)
		checkCopies(t, watch.recs, 1000)
	})
}

// again deletes a topic and creates it, which takes brokers a moment.
func (c *cluster) again(t testing.TB, partitions int32, topic string) {
	t.Helper()
	if _, err := c.adm.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		_, err := c.adm.CreateTopic(t.Context(), partitions, 1, nil, topic)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestRetention deletes messages that a query has not read yet, while it is away: it
// stops and names each of them, or goes on behind them and says so in its log.
func TestRetention(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out := name(t, "in"), name(t, "out")
		c.create(t, 1, in, out)
		script := func(more string) string {
			return c.table("src", "id BIGINT, k STRING", in, more) + c.table("dst", "id BIGINT, k STRING", out, "") + "CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;\n"
		}
		dir := t.TempDir()
		produce(t, c.client(t), in, 0, 100)
		runOnce(t, dir, script(""))
		produce(t, c.client(t), in, 100, 200)
		o := kadm.Offsets{}
		o.AddOffset(in, 0, 130, -1)
		if _, err := c.adm.DeleteRecords(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "p.sql")
		if err := os.WriteFile(path, []byte(script("")), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a start does not change what is there
			err := runScript(t.Context(), path, beside(path), true)
			if err == nil || !strings.Contains(err.Error(), "partition 0: offsets 100 to 129 are gone before they were read: the topic has 130 to 200 now") {
				t.Fatalf("got %v", err)
			}
		}
		runOnce(t, dir, script(", 'fail-on-data-loss'='false'"))
		r := c.reader(t, out)
		r.toEnd(out)
		if len(r.recs) != 170 || rowOf(t, r.recs[100]).ID != 130 {
			t.Errorf("%d messages", len(r.recs))
		}
	})
}

// TestPoison: messages that cannot be read, under each policy, and an engine that is
// killed beside them. The dead letters are part of their batches: each is there once.
func TestPoison(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		poison := []string{`{"id":`, `{"id":"many","k":"k1"}`, `7`, "\xff\xfe", `{"id":1e99,"k":"k1"}`}
		for _, policy := range []string{"fail", "null", "quarantine"} {
			t.Run(policy, func(t *testing.T) {
				in, out, dead := name(t, "in"), name(t, "out"), name(t, "dead")
				c.create(t, 1, in, out, dead)
				cl := c.client(t)
				for i := range 40 {
					produce(t, cl, in, i*5, i*5+5)
					m := &kgo.Record{Topic: in, Value: []byte(poison[i%len(poison)])}
					if err := cl.ProduceSync(t.Context(), m).FirstErr(); err != nil {
						t.Fatal(err)
					}
				}
				script := "SET 'checkpoint.interval' = '100ms';\n" +
					c.table("src", "id BIGINT, k STRING", in, ", 'max-offsets-per-trigger'='7', 'bad-rows'='"+policy+"', 'quarantine-table'='dead'") +
					c.table("dst", "id BIGINT, k STRING", out, "") +
					c.table("dead", "file STRING, position BIGINT, reason STRING, raw BINARY", dead, "") +
					"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;\n"
				path := filepath.Join(t.TempDir(), "p.sql")
				if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
					t.Fatal(err)
				}
				if policy == "fail" {
					for range 2 {
						err := runScript(t.Context(), path, beside(path), true)
						if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("topic %q, partition 0, offset 5: ", in)) {
							t.Fatalf("got %v", err)
						}
					}
					return
				}
				e := startEngine(t, path)
				watch := c.reader(t, out)
				watch.until(func() bool { e.alive(); return len(watch.recs) >= 50 })
				e.kill()
				if err := runScript(t.Context(), path, beside(path), true); err != nil {
					t.Fatal(err)
				}
				watch.toEnd(out)
				letters := c.reader(t, dead)
				letters.toEnd(dead)
				checkPoison(t, policy, poison, watch.recs, letters.recs)
			})
		}
	})
}

func checkPoison(t *testing.T, policy string, poison []string, rows, letters []*kgo.Record) {
	t.Helper()
	ids, nulls := map[int64]int{}, 0
	for _, rec := range rows {
		var r struct{ ID *int64 }
		if err := json.Unmarshal(rec.Value, &r); err != nil {
			t.Fatal(err)
		}
		if r.ID == nil {
			nulls++
			continue
		}
		ids[*r.ID]++
	}
	for id := range int64(200) {
		if ids[id] != 1 {
			t.Errorf("row %d is there %d times", id, ids[id])
		}
	}
	if policy == "null" {
		if nulls != 40 || len(letters) != 0 {
			t.Errorf("%d rows of NULLs, %d dead letters", nulls, len(letters))
		}
		return
	}
	var at []int64
	for _, rec := range letters {
		var l struct {
			File     string
			Position int64
			Reason   string
			Raw      string
		}
		if err := json.Unmarshal(rec.Value, &l); err != nil {
			t.Fatalf("%s: %v", rec.Value, err)
		}
		raw, err := base64.StdEncoding.DecodeString(l.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if want := poison[l.Position/6%int64(len(poison))]; string(raw) != want || l.Reason == "" || !strings.HasSuffix(l.File, "/0") {
			t.Errorf("letter %s, want %q", rec.Value, want)
		}
		at = append(at, l.Position)
	}
	slices.Sort(at)
	if at = slices.Compact(at); len(at) != 40 || len(letters) != 40 || nulls != 0 || len(rows) != 200 {
		t.Errorf("%d dead letters, of %d messages; %d rows of NULLs, %d rows", len(letters), len(at), nulls, len(rows))
	}
}

// TestLag: what ordinary tools say of the group is how far the query has come.
func TestLag(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out, group := name(t, "in"), name(t, "out"), name(t, "group")
		c.create(t, 2, in, out)
		script := c.table("src", "id BIGINT, k STRING", in, ", 'group-id'='"+group+"'") + c.table("dst", "id BIGINT, k STRING", out, "") +
			"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;\n"
		dir, cl := t.TempDir(), c.client(t)
		s := session(t, sluice.Options{CheckpointDir: filepath.Join(dir, "ck"), Pipeline: true})
		if err := s.Run(t.Context(), script, func(*sluice.Result) error { return nil }); err != nil {
			t.Fatal(err)
		}
		produce(t, cl, in, 0, 100)
		await(t, "the group is at the end", func() string { return c.lag(t, group, in) }, "lag 0 of 100")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		produce(t, cl, in, 100, 150)
		await(t, "the group is behind", func() string { return c.lag(t, group, in) }, "lag 50 of 150")
	})
}

func (c *cluster) lag(t testing.TB, group, topic string) string {
	t.Helper()
	lags, err := c.adm.Lag(t.Context(), group)
	if err != nil {
		return err.Error()
	}
	l := lags[group]
	if err := l.Error(); err != nil {
		return err.Error()
	}
	var end, behind int64
	for _, m := range l.Lag[topic] {
		end, behind = end+m.End.Offset, behind+m.Lag
	}
	return fmt.Sprintf("lag %d of %d", behind, end)
}

// await asks until the answer is the one wanted.
func await(t testing.TB, what string, ask func() string, want string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if got = ask(); got == want {
			return
		}
	}
	t.Fatalf("%s: %s, want %s", what, got, want)
}
