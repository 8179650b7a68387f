package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice"
)

// name makes a topic's name of a test's, another one each time: tests share a broker.
func name(t testing.TB, what string) string {
	return fmt.Sprintf("%s-%s-%d", strings.NewReplacer("/", "-", "#", "-").Replace(strings.ToLower(t.Name())), what, names.Add(1))
}

var names atomic.Int64

// table declares a topic as a table.
func (c *cluster) table(name, columns, topic, more string) string {
	return fmt.Sprintf("CREATE TABLE %s (%s) WITH ('connector'='kafka', 'bootstrap.servers'='%s', 'topic'='%s'%s);\n", name, columns, c.address, topic, more)
}

// produce appends messages {"id":n,"k":"k<n mod 7>"} with their k as the key.
func produce(t testing.TB, cl *kgo.Client, topic string, from, to int) {
	t.Helper()
	var recs []*kgo.Record
	for id := from; id < to; id++ {
		k := fmt.Sprintf("k%d", id%7)
		recs = append(recs, &kgo.Record{Topic: topic, Key: []byte(k), Value: fmt.Appendf(nil, `{"id":%d,"k":"%s"}`, id, k)})
	}
	if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestQueries: what a topic's rows become in others, as messages and as tables again.
func TestQueries(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out, counts, log := name(t, "in"), name(t, "out"), name(t, "counts"), name(t, "log")
		c.create(t, 3, in, out, counts, log)
		script := c.table("src", "id BIGINT, k STRING, key STRING METADATA VIRTUAL", in, "") +
			c.table("dst", "id BIGINT, k STRING", out, ", 'key-columns'='k', 'key-format'='raw'") +
			c.table("counts", "k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED", counts, ", 'changelog'='upsert'") +
			c.table("log", "k STRING, n BIGINT", log, ", 'format'='debezium-json', 'key-columns'='k'")
		queries := script +
			"CREATE STREAMING QUERY q1 AS INSERT INTO dst SELECT id, k FROM src WHERE id % 2 = 0 AND key = k;\n" +
			"CREATE STREAMING QUERY q2 OUTPUT MODE update AS INSERT INTO counts SELECT k, count(*) AS n FROM src GROUP BY k;\n" +
			"CREATE STREAMING QUERY q3 OUTPUT MODE changelog AS INSERT INTO log SELECT k, count(*) AS n FROM src GROUP BY k;\n"
		dir := t.TempDir()
		cl := c.client(t)
		for round := range 2 { // the second goes on from the checkpoints
			produce(t, cl, in, round*70, round*70+70)
			runOnce(t, dir, queries)
		}
		r := c.reader(t, out)
		r.toEnd(out)
		if len(r.recs) != 70 {
			t.Errorf("%d messages, want 70", len(r.recs))
		}
		for _, rec := range r.recs {
			var row struct{ K string }
			if err := json.Unmarshal(rec.Value, &row); err != nil || string(rec.Key) != row.K {
				t.Errorf("message %q has key %q (%v)", rec.Value, rec.Key, err)
			}
		}
		var want []string
		for k := range 7 {
			want = append(want, fmt.Sprintf("k%d 20", k))
		}
		for _, from := range []string{"counts", "log"} {
			if got := selected(t, script, "SELECT k, n FROM "+from+" ORDER BY k"); !slices.Equal(got, want) {
				t.Errorf("%s holds %q, want %q", from, got, want)
			}
		}
		if got := selected(t, script, "SELECT count(*), sum(id) FROM src"); !slices.Equal(got, []string{"140 9730"}) {
			t.Errorf("the input is %q", got)
		}
	})
}

// runOnce runs a script's queries over what is there.
func runOnce(t testing.TB, dir, script string) {
	t.Helper()
	s := session(t, sluice.Options{CheckpointDir: filepath.Join(dir, "ck"), Pipeline: true, Once: true})
	if err := s.Run(t.Context(), script, func(*sluice.Result) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func session(t testing.TB, o sluice.Options) *sluice.Session {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := sluice.NewSession(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// selected returns the rows of a query over tables as they are now.
func selected(t testing.TB, script, query string) []string {
	t.Helper()
	s := session(t, sluice.Options{CheckpointDir: t.TempDir()})
	var rows []string
	err := s.Run(t.Context(), script+query, func(r *sluice.Result) error {
		if r.Rows == nil {
			return nil
		}
		for {
			rec, err := r.Rows.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			for i := range int(rec.NumRows()) {
				var cells []string
				for _, c := range rec.Columns() {
					cells = append(cells, c.ValueStr(i))
				}
				rows = append(rows, strings.Join(cells, " "))
			}
			rec.Release()
		}
		return r.Rows.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
