package sluice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// awaySink is a sink whose target does not answer.
type awaySink struct{ sinks.Sink }

func (awaySink) Holds(context.Context) (batch.ID, batch.Digest, error) {
	return batch.None, batch.Digest{}, errors.New("dial tcp 10.0.0.1:5432: no route to host")
}

// SHOW VERSIONS tells which batch each target holds; that one of them does not answer is
// said of that one, and hides nothing of the others.
func TestShowVersions(t *testing.T) {
	s := openSession(t, Options{CheckpointDir: t.TempDir()})
	must(t, s, `CREATE TABLE a (n BIGINT) WITH ('connector' = 'blackhole');
		CREATE TABLE b (n BIGINT) WITH ('connector' = 'blackhole');
		CREATE TABLE src WITH ('connector' = 'nexmark', 'event-type' = 'bid', 'events' = '100');
		CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS BEGIN INSERT INTO a SELECT auction FROM src; INSERT INTO b SELECT auction FROM src; END`)
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	q, ok := s.Query("q")
	if !ok {
		t.Fatal("there is no query q")
	}
	for _, sink := range q.plan.Plan.Sinks {
		if sink.Table == "b" {
			q.res.sinks[sink.Name] = awaySink{q.res.sinks[sink.Name]}
		}
	}
	var got string
	err := s.Run(t.Context(), "SHOW VERSIONS FOR q", func(r *Result) error {
		defer r.Rows.Close()
		rec, err := r.Rows.Next(t.Context())
		if err == nil {
			got = fmt.Sprint(rec.Column(0), rec.Column(1))
			rec.Release()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, ` "unknown: dial tcp 10.0.0.1:5432`) || strings.Count(got, "unknown") != 1 { // the second, and not the first
		t.Errorf("got %s", got)
	}
}
