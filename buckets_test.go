package sluice

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
)

// bucketServer is a store in memory, in front of which requests can be changed. The
// environment says where it is.
func bucketServer(t *testing.T, in func(http.Handler) http.Handler) *s3mem.Backend {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	h := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	if in != nil {
		h = in(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ENDPOINT_URL", srv.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "us-east-1")
	return backend
}

// machine is a session with a cache of its own, as on another machine.
func (b *stateBed) machine(settings ...string) *Session {
	return b.session(append([]string{"checkpoint.interval=1ms", "checkpoint.cache-dir=" + b.t.TempDir()}, settings...)...)
}

const bucketQuery = `CREATE STREAMING QUERY q OUTPUT MODE update CHECKPOINT 's3://lake/ck/q' AS ` + countQuery

// TestBucket: a query whose checkpoint lies in a bucket goes on from it on a machine
// that has none of its files, also with another parallelism, from a savepoint, and in
// another bucket's folder.
func TestBucket(t *testing.T) {
	bucketServer(t, nil)
	b := newStateBed(t)
	b.feed(0, 1, 2)
	s := b.machine()
	b.exec(s, bucketQuery)
	q := b.drained(s, "q")
	b.same("at first", b.rows(s, `SELECT * FROM res`), b.want(3))
	if q.Checkpoint() != "s3://lake/ck/q" {
		t.Errorf("it is shown as %s", q.Checkpoint())
	}
	b.exec(s, `SAVE STREAMING QUERY q AS 'three'`)
	b.close(s)

	b.feed(3, 4)
	s = b.machine("parallelism=3")
	b.exec(s, bucketQuery)
	b.drained(s, "q")
	b.same("elsewhere", b.rows(s, `SELECT * FROM res`), b.want(5))
	b.same("state", b.rows(s, `SELECT count(*) FROM state('s3://lake/ck/q', '`+stateOperator(t, s, "q")+`')`), []string{"7"})
	if _, err := SaveCheckpoint("s3://lake/ck/q", "no"); !errors.Is(err, filelog.ErrInUse) {
		t.Errorf("a savepoint of a query that runs: %v", err)
	}
	b.close(s)

	list, err := Savepoints("s3://lake/ck/q")
	if err != nil || len(list) != 1 || list[0].Name != "three" || list[0].Checkpoint != "s3://lake/ck/q" {
		t.Fatalf("savepoints %+v %v", list, err)
	}
	s = b.machine()
	b.exec(s, `CREATE STREAMING QUERY r OUTPUT MODE update CHECKPOINT 's3://lake/ck/r' FROM CHECKPOINT 's3://lake/ck/q' SAVEPOINT 'three' AS `+countQuery)
	b.drained(s, "r")
	b.same("from a savepoint", b.rows(s, `SELECT * FROM res`), b.want(5))
	b.close(s)
	if _, err := SaveCheckpoint("s3://lake/ck/r", "later"); err != nil {
		t.Error(err)
	}
	if err := DropSavepoint("s3://lake/ck/q", "three"); err != nil {
		t.Error(err)
	}

	b.feed(5)
	s = b.machine()
	b.exec(s, `CREATE STREAMING QUERY here OUTPUT MODE update CHECKPOINT '`+filepath.Join(b.dir, "here")+`' FROM CHECKPOINT 's3://lake/ck/r' SAVEPOINT 'later' AS `+countQuery)
	b.drained(s, "here")
	b.same("out of the bucket", b.rows(s, `SELECT * FROM res`), b.want(6))
	b.close(s)
}

// stateOperator is the name of a query's only operator with state.
func stateOperator(t *testing.T, s *Session, query string) string {
	t.Helper()
	q, ok := s.Query(query)
	if !ok {
		t.Fatal("no query")
	}
	forms := q.plan.Plan.StateForms()
	if len(forms) != 1 {
		t.Fatalf("%d operators with state", len(forms))
	}
	return forms[0].Operator
}

// TestBucketTakenOver: of two processes with one checkpoint in a bucket the newer goes
// on, and the older stops with the reason (C17, C20).
func TestBucketTakenOver(t *testing.T) {
	bucketServer(t, nil)
	b := newStateBed(t)
	b.feed(0)
	one := b.machine()
	b.exec(one, bucketQuery)
	old := b.drained(one, "q")
	two := b.machine()
	b.exec(two, bucketQuery)
	b.feed(1)
	b.drained(two, "q")
	b.same("the newer", b.rows(two, `SELECT * FROM res`), b.want(2))
	if err := old.Await(t.Context()); !errors.Is(err, batch.ErrFenced) || !strings.Contains(err.Error(), "taken over") {
		t.Errorf("the older ended with %v", err)
	}
	_ = one.Close() // its query has failed
	b.close(two)
}

// TestBucketFaults: a store that fails now and then, before or after it has done what
// was asked, changes no result; one that ignores conditions is refused (E7).
func TestBucketFaults(t *testing.T) {
	var n atomic.Int64
	var lax atomic.Bool
	bucketServer(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if lax.Load() {
				r.Header.Del("If-None-Match")
			}
			at := n.Add(1)
			if at >= 60 && at < 64 { // a burst: whoever asks again is refused again
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			switch at % 17 {
			case 3:
				w.WriteHeader(http.StatusServiceUnavailable)
			case 6:
				h.ServeHTTP(httptest.NewRecorder(), r) // done, and the answer is lost
				w.WriteHeader(http.StatusInternalServerError)
			case 9:
				if r.Method == http.MethodPut {
					w.WriteHeader(http.StatusConflict)
					return
				}
				h.ServeHTTP(w, r)
			default:
				h.ServeHTTP(w, r)
			}
		})
	})
	b := newStateBed(t)
	for life := range 2 {
		b.feed(2*life, 2*life+1)
		s := b.machine()
		b.exec(s, bucketQuery)
		b.drained(s, "q")
		b.same("with faults", b.rows(s, `SELECT * FROM res`), b.want(2*life+2))
		b.close(s)
	}
	lax.Store(true)
	s := b.machine()
	b.fails(s, strings.Replace(bucketQuery, "ck/q", "ck/other", 1), "If-None-Match")
	b.close(s)
}

// TestBucketSettings: what is missing or wrong is said, and no secret is kept.
func TestBucketSettings(t *testing.T) {
	bucketServer(t, nil)
	b := newStateBed(t)
	s := b.machine()
	b.fails(s, `SET 'checkpoint.s3.secret-key' = 'topsecret'`, "${env:NAME}")
	b.fails(s, `CREATE STREAMING QUERY q OUTPUT MODE update CHECKPOINT 's3://lake' AS `+countQuery, "s3://bucket/prefix")
	b.exec(s, `SET 'checkpoint.s3.secret-key' = '${env:NOBODY_HAS_THIS}'; SET 'checkpoint.s3.access-key' = 'key'`)
	b.fails(s, bucketQuery, "the environment has no NOBODY_HAS_THIS")
	file := filepath.Join(b.dir, "secret")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.exec(s, `SET 'checkpoint.s3.secret-key' = '${file:`+file+`}'`)
	b.feed(0)
	b.exec(s, bucketQuery)
	b.drained(s, "q")
	b.exec(s, `SET 'errors.policy' = 'quarantine'`)
	b.fails(s, strings.NewReplacer("QUERY q", "QUERY l", "ck/q", "ck/l").Replace(bucketQuery), "lies in a bucket")
	b.close(s)
}

// TestViewsOverABucket: a materialized view whose rows have no files to lie in, and a
// whole result in memory, are there again after a start without new data.
func TestViewsOverABucket(t *testing.T) {
	bucketServer(t, nil)
	b := newStateBed(t)
	b.feed(0, 1, 2)
	cache := t.TempDir()
	for life := range 3 {
		s, err := NewSession(Options{CheckpointDir: "s3://lake/views", Pipeline: true, Stdout: &b.out, Logger: slog.New(slog.DiscardHandler),
			Settings: map[string]string{"parallelism": "2", "checkpoint.interval": "1ms", "checkpoint.cache-dir": cache}})
		if err != nil {
			t.Fatal(err)
		}
		b.exec(s, `CREATE TABLE ev (id BIGINT, k STRING, v BIGINT) WITH ('connector'='filesystem','path'='`+b.dir+`/in','format'='csv','max-files-per-trigger'='1');
		CREATE TABLE res (k STRING, n BIGINT, s BIGINT) WITH ('connector'='memory');
		CREATE MATERIALIZED VIEW mv AS SELECT k, count(*) AS n, sum(v) AS s FROM ev GROUP BY k;
		CREATE STREAMING QUERY whole OUTPUT MODE complete CHECKPOINT '`+b.dir+`/whole' AS `+countQuery)
		b.same("the view", b.rows(s, `SELECT * FROM mv`), b.want(3))
		b.drained(s, "whole")
		b.same("the result", b.rows(s, `SELECT * FROM res`), b.want(3))
		for _, q := range []string{"mv", "whole"} { // a checkpoint through the last batch
			b.exec(s, fmt.Sprintf(`SAVE STREAMING QUERY %s AS 'n%d'`, q, life))
		}
		b.close(s)
	}
}
