package registry_test

import (
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/registry"
	"github.com/sluice-stream/sluice/formats/registry/registrytest"
	"github.com/sluice-stream/sluice/internal/options"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, url string, more ...string) *registry.Client {
	t.Helper()
	m := options.Map{"schema-registry.url": url}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	c, err := registry.Parse(`table "t"`, m)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := registry.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func TestSchemasAndVersions(t *testing.T) {
	s := registrytest.Start(t)
	c := client(t, s.URL)
	first, err := c.Register(t.Context(), "a/b-value", registry.Schema{Text: `"int"`})
	if err != nil || first != 1 {
		t.Fatal(first, err)
	}
	second, err := c.Register(t.Context(), "a/b-value", registry.Schema{Text: `"long"`})
	if err != nil || second != 2 {
		t.Fatal(second, err)
	}
	if again, err := c.Register(t.Context(), "other", registry.Schema{Text: `"int"`}); again != first || err != nil {
		t.Errorf("the same text under another subject has ID %d (%v)", again, err)
	}
	if got, err := c.ByID(t.Context(), first); err != nil || got.Text != `"int"` || got.Kind() != registry.Avro {
		t.Errorf("schema 1: %+v, %v", got, err)
	}
	if got, err := c.Version(t.Context(), "a/b-value", registry.Latest); err != nil || got.ID != second || got.Version != 2 {
		t.Errorf("latest: %+v, %v", got, err)
	}
	if got, err := c.Version(t.Context(), "a/b-value", 1); err != nil || got.ID != first {
		t.Errorf("version 1: %+v, %v", got, err)
	}
	if got, err := c.Versions(t.Context(), "other"); err != nil || !slices.Equal(got, []int{1}) {
		t.Errorf("versions %v, %v", got, err)
	}
	if got, err := c.Subjects(t.Context()); err != nil || !slices.Equal(got, []string{"a/b-value", "other"}) {
		t.Errorf("subjects %v, %v", got, err)
	}
	s.SetCompatibility("other", "FULL")
	if got, err := c.Compatibility(t.Context(), "other"); err != nil || got != "FULL" {
		t.Errorf("compatibility %q, %v", got, err)
	}
	for what, ask := range map[string]func() error{
		"version": func() error { _, err := c.Version(t.Context(), "other", 9); return err },
		"subject": func() error { _, err := c.Version(t.Context(), "none", registry.Latest); return err },
		"ID":      func() error { _, err := c.ByID(t.Context(), 77); return err },
	} {
		err := ask()
		if k, _ := batch.KindOf(err); !errors.Is(err, registry.ErrNotFound) || k != batch.User {
			t.Errorf("an unknown %s gives %v", what, err)
		}
	}
}

func TestWhatIsKnownIsNotAskedAgain(t *testing.T) {
	s := registrytest.Start(t)
	id := s.Register(t, "x", registry.Schema{Text: `"int"`})
	s.Register(t, "y", registry.Schema{Text: `"long"`})
	c := client(t, s.URL, "schema-registry.cache-size", "1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.ByID(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.Asked("GET", "/schemas/ids/1"); n != 1 {
		t.Errorf("asked %d times for one schema", n)
	}
	for range 3 {
		if _, err := c.ByID(t.Context(), 55); !errors.Is(err, registry.ErrNotFound) {
			t.Error(err)
		}
	}
	if n := s.Asked("GET", "/schemas/ids/55"); n != 1 {
		t.Errorf("asked %d times for a schema that is not there", n)
	}
	for range 2 { // the cache holds one
		for id := int32(1); id <= 2; id++ {
			if _, err := c.ByID(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	}
	if n := s.Asked("GET", "/schemas/ids/2"); n != 2 {
		t.Errorf("asked %d times, with a cache of one schema", n)
	}
}

func TestFailuresThatPass(t *testing.T) {
	s := registrytest.Start(t)
	id := s.Register(t, "x", registry.Schema{Text: `"int"`})
	s.Fail(2, http.StatusServiceUnavailable)
	if _, err := client(t, s.URL).ByID(t.Context(), id); err != nil {
		t.Errorf("two failures of five are not mended: %v", err)
	}
	s.Fail(100, http.StatusInternalServerError)
	c := client(t, s.URL, "schema-registry.retries", "2")
	before := s.Asked("GET", "/schemas/ids/1")
	_, err := c.ByID(t.Context(), id)
	if k, again := batch.KindOf(err); k != batch.External || !again {
		t.Errorf("a registry that fails gives %v", err)
	}
	if n := s.Asked("GET", "/schemas/ids/1") - before; n != 3 {
		t.Errorf("asked %d times, with two retries", n)
	}
	s.Fail(0, 0)
	if _, err := c.ByID(t.Context(), id); err != nil {
		t.Errorf("a failure is remembered: %v", err)
	}
	two := client(t, "http://127.0.0.1:1/,"+s.URL)
	if _, err := two.ByID(t.Context(), id); err != nil {
		t.Errorf("the second address is not asked: %v", err)
	}
}

func TestReferences(t *testing.T) {
	s := registrytest.Start(t)
	s.Register(t, "base", registry.Schema{Text: "b"})
	s.Register(t, "base", registry.Schema{Text: "b2"})
	s.Register(t, "mid", registry.Schema{Text: "m", References: []registry.Reference{{Name: "B", Subject: "base", Version: 1}}})
	id := s.Register(t, "top", registry.Schema{Text: "t", References: []registry.Reference{{Name: "M", Subject: "mid", Version: 1}, {Name: "B", Subject: "base", Version: 1}}})
	c := client(t, s.URL)
	top, err := c.ByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.References(t.Context(), top)
	if want := []registry.Named{{Name: "B", Text: "b"}, {Name: "M", Text: "m"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("references %v, %v", got, err)
	}
	top.References[1].Version = 2
	if _, err := c.References(t.Context(), top); err == nil || !strings.Contains(err.Error(), "two versions") {
		t.Errorf("two versions under one name give %v", err)
	}
}

func TestIncompatible(t *testing.T) {
	s := registrytest.Start(t)
	s.Check = func(old, next registry.Schema) []string {
		return []string{"READER_FIELD_MISSING_DEFAULT_VALUE: /fields/1"}
	}
	c := client(t, s.URL)
	if ok, _, err := c.Compatible(t.Context(), "x", registry.Schema{Text: "1"}); !ok || err != nil {
		t.Errorf("the first version is not compatible: %v", err)
	}
	s.Register(t, "x", registry.Schema{Text: "1"})
	if ok, why, err := c.Compatible(t.Context(), "x", registry.Schema{Text: "2"}); ok || len(why) != 1 || err != nil {
		t.Errorf("%v %v %v", ok, why, err)
	}
	_, err := c.Register(t.Context(), "x", registry.Schema{Text: "2"})
	if k, _ := batch.KindOf(err); k != batch.User || !strings.Contains(err.Error(), `subject "x"`) || !strings.Contains(err.Error(), "READER_FIELD") {
		t.Errorf("an incompatible schema gives %v", err)
	}
	fixed := client(t, s.URL, "schema-registry.auto-register", "false")
	if id, err := fixed.Register(t.Context(), "x", registry.Schema{Text: "1"}); id != 1 || err != nil {
		t.Errorf("looked up %d, %v", id, err)
	}
	if _, err := fixed.Register(t.Context(), "x", registry.Schema{Text: "3"}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a schema that is not there gives %v", err)
	}
}

func TestAuthorization(t *testing.T) {
	s := registrytest.Start(t)
	id := s.Register(t, "x", registry.Schema{Text: `"int"`})
	s.Authorize = func(r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		return ok && user == "me" && password == "pa55" || r.Header.Get("Authorization") == "Bearer t0ken"
	}
	t.Setenv("SR_PASSWORD", "pa55")
	t.Setenv("SR_TOKEN", "t0ken")
	t.Setenv("SR_WRONG", "hunter2")
	for what, o := range map[string][]string{
		"basic":  {"schema-registry.username", "me", "schema-registry.password", "${env:SR_PASSWORD}"},
		"bearer": {"schema-registry.token", "${env:SR_TOKEN}"},
	} {
		if _, err := client(t, s.URL, o...).ByID(t.Context(), id); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := client(t, s.URL, "schema-registry.token", "${env:SR_WRONG}").ByID(t.Context(), id)
	if k, _ := batch.KindOf(err); k != batch.User || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("another token gives %v", err)
	}
}

func TestTLS(t *testing.T) {
	s, srv := registrytest.StartTLS(t)
	id := s.Register(t, "x", registry.Schema{Text: `"int"`})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, s.URL, "schema-registry.ssl.ca-file", ca).ByID(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := client(t, s.URL, "schema-registry.retries", "0").ByID(t.Context(), id); err == nil {
		t.Error("a registry that nobody vouches for was believed")
	}
}

func TestRefused(t *testing.T) {
	for want, m := range map[string]options.Map{
		"want addresses":                    {"schema-registry.url": "127.0.0.1:8081"},
		"holds a name or a password":        {"schema-registry.url": "http://me:hunter2@host"},
		"does not hold the secret":          {"schema-registry.url": "http://h", "schema-registry.token": "hunter2"},
		"need each other":                   {"schema-registry.url": "http://h", "schema-registry.username": "x"},
		"not both":                          {"schema-registry.url": "http://h", "schema-registry.username": "x", "schema-registry.password": "${env:X}", "schema-registry.token": "${env:X}"},
		"out of bounds":                     {"schema-registry.url": "http://h", "schema-registry.cache-size": "0"},
		"certificate-file' and":             {"schema-registry.url": "http://h", "schema-registry.ssl.key-file": "k"},
		"want addresses such as http://127": {},
	} {
		_, err := registry.Parse(`table "t"`, m)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v gave %v", m, err)
		}
	}
}

func TestSubjects(t *testing.T) {
	for _, c := range []struct {
		strategy, topic, record, want string
		key                           bool
	}{
		{"topic-name", "orders", "a.B", "orders-value", false},
		{"topic-name", "orders", "a.B", "orders-key", true},
		{"record-name", "orders", "a.B", "a.B", true},
		{"topic-record-name", "orders", "a.B", "orders-a.B", false},
		{"topic-name", "", "a.B", "", false},
		{"record-name", "orders", "", "", false},
	} {
		p, err := registry.Parse("t", options.Map{"schema-registry.url": "http://h", "schema-registry.subject-name-strategy": c.strategy})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Subject(c.topic, c.record, c.key); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v gave %q, %v", c, got, err)
		}
	}
}

func TestHead(t *testing.T) {
	b := registry.AppendHead([]byte("x"), 258)
	id, rest, err := registry.Head(append(b[1:], 9))
	if id != 258 || len(rest) != 1 || err != nil {
		t.Errorf("%d %v %v", id, rest, err)
	}
	for _, bad := range [][]byte{nil, {0, 0, 0, 1}, {1, 0, 0, 0, 1}, {0, 0xff, 0, 0, 1}, []byte(`{"a":1}`)} {
		if _, _, err := registry.Head(bad); err == nil {
			t.Errorf("%v has a head", bad)
		}
	}
	for _, at := range [][]int{{0}, {1}, {0, 0}, {3, 0, 2}} {
		b := registry.AppendIndexes(nil, at)
		got, rest, err := registry.Indexes(append(b, 'x'), nil)
		if err != nil || !slices.Equal(got, at) || string(rest) != "x" {
			t.Errorf("%v became %v, %q (%v) as % x", at, got, rest, err, b)
		}
		if _, _, err := registry.Indexes(b[:len(b)-1], nil); err == nil {
			t.Errorf("% x cut off is read", b)
		}
	}
	if b := registry.AppendIndexes(nil, []int{0}); len(b) != 1 || b[0] != 0 {
		t.Errorf("the first message is % x", b)
	}
}
