package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// server is a store in memory, in front of which requests can be changed.
func server(t *testing.T, in func(h http.Handler) http.Handler) (Options, *s3mem.Backend) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	h := gofakes3.New(backend).Server()
	if in != nil {
		h = in(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return Options{Endpoint: strings.TrimPrefix(srv.URL, "http://"), Bucket: "bucket", Prefix: "ck/q/", Region: "us-east-1",
		AccessKey: "key", SecretKey: "secret", Transport: tr}, backend
}

func put(s *Storage, name, body string, sum uint64) error {
	return s.Put(context.Background(), name, strings.NewReader(body), int64(len(body)), sum)
}

func TestStorage(t *testing.T) {
	opt, _ := server(t, nil)
	s, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := put(s, name, "body of "+name, 7); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(s, "a", "body of a", 7); err != nil {
		t.Errorf("the same again: %v", err)
	}
	for _, other := range []struct {
		body string
		sum  uint64
	}{{"body of A", 8}, {"longer body", 7}} {
		if err := put(s, "a", other.body, other.sum); !errors.Is(err, checkpoint.ErrExists) {
			t.Errorf("another file of the name: %v", err)
		}
	}
	p := make([]byte, 4)
	if err := s.ReadAt(t.Context(), "a", p, 5); err != nil || string(p) != "of a" {
		t.Errorf("read %q %v", p, err)
	}
	if err := s.ReadAt(t.Context(), "a", make([]byte, 10), 5); err == nil {
		t.Error("a read beyond the end works")
	}
	if err := s.ReadAt(t.Context(), "nobody", p, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	names, err := s.List(t.Context())
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("files %v %v", names, err)
	}
	for range 2 {
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := s.List(t.Context()); err != nil || !slices.Equal(names, []string{"b"}) {
		t.Errorf("after a deletion %v %v", names, err)
	}
}

// TestUnconditional: a store that overwrites is refused (E7).
func TestUnconditional(t *testing.T) {
	opt, _ := server(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			h.ServeHTTP(w, r)
		})
	})
	if _, err := Open(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "overwrites") {
		t.Fatalf("the error is %v", err)
	}
}

// TestLostAnswer: puts whose answers are lost, and conflicts, end as if nothing had
// happened, and not for ever if it goes on (E7).
func TestLostAnswer(t *testing.T) {
	var lose, conflict atomic.Int32
	opt, _ := server(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && conflict.Add(-1) >= 0 {
				w.WriteHeader(http.StatusConflict)
				return
			}
			if r.Method == http.MethodPut && lose.Add(-1) >= 0 {
				h.ServeHTTP(httptest.NewRecorder(), r)
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	s, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	lose.Store(1)
	if err := put(s, "a", "body", 1); err != nil {
		t.Errorf("an answer that was lost: %v", err)
	}
	conflict.Store(2)
	if err := put(s, "b", "body", 1); err != nil {
		t.Errorf("two conflicts: %v", err)
	}
	conflict.Store(1000)
	if err := put(s, "c", "body", 1); err == nil {
		t.Error("conflicts without end are taken for success")
	}
}

// TestStateElsewhere: a machine without any file of a query goes on from the bucket,
// a damaged object is refused by name, and what no checkpoint needs is deleted.
func TestStateElsewhere(t *testing.T) {
	opt, backend := server(t, nil)
	st, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	shard := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	open := func() *tiered.Store {
		s, err := tiered.Open(tiered.Options{FS: vfsx.NewMem(), Dir: "cache", Storage: st, LoadBytesMax: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	var man statestore.Manifest
	var v statestore.Version
	for id := range batch.ID(30) {
		x, err := s.Begin(t.Context(), shard, id-1)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			if err := x.Put(fmt.Appendf(nil, "%d/%d", i%10, i*int(id+1)), fmt.Appendf(nil, "%d", id)); err != nil {
				t.Fatal(err)
			}
		}
		if v, err = x.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if man, err = s.Checkpoint(t.Context(), shard, id); err != nil {
			t.Fatal(err)
		}
		if err := s.Collect(t.Context(), []statestore.Manifest{man}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := st.List(t.Context())
	if err != nil || len(names) < len(man.Parts) || len(names) > 40 {
		t.Fatalf("%d objects for %d parts, %v", len(names), len(man.Parts), err)
	}
	r := open()
	if err := r.Restore(t.Context(), shard, 29, []statestore.Manifest{man}); err != nil {
		t.Fatal(err)
	}
	x, err := r.Begin(t.Context(), shard, 29)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	if err := x.Scan(nil, nil, func(_, _ []byte) (bool, error) { n++; return true, nil }); err != nil || n != v.Rows {
		t.Fatalf("%d rows, want %d: %v", n, v.Rows, err)
	}
	x.Discard()

	name := man.Parts[0].Name
	bad := bytes.Repeat([]byte("x"), int(man.Parts[0].Bytes))
	if _, err := backend.PutObject("bucket", opt.Prefix+name, map[string]string{}, bytes.NewReader(bad), int64(len(bad)), nil); err != nil {
		t.Fatal(err)
	}
	if err := open().Restore(t.Context(), shard, 29, []statestore.Manifest{man}); !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), name) {
		t.Fatalf("a damaged object: %v", err)
	}
	if err := st.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := open().Restore(t.Context(), shard, 29, []statestore.Manifest{man}); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Fatalf("a missing object: %v", err)
	}
}
