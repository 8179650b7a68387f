package registrytest

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/formats/registry"
)

// Server is a registry.
type Server struct {
	URL string
	// Check returns why a schema may not follow another one; nil, or nothing, if it may.
	// Set before the first request.
	Check func(old, next registry.Schema) []string
	// Authorize refuses a request; nil lets all in. Set before the first request.
	Authorize func(r *http.Request) bool

	mu struct {
		sync.Mutex
		schemas  []registry.Schema            // by ID, from 1
		subjects map[string][]registry.Schema // versions, from 1
		levels   map[string]string
		asked    map[string]int // by method and path
		fail     int            // requests that fail
		status   int
	}
}

// Start starts a registry that ends with the test.
func Start(t testing.TB) *Server {
	s, srv := newServer((*httptest.Server).Start)
	s.URL = srv.URL
	t.Cleanup(srv.Close)
	return s
}

// StartTLS starts one that is asked over TLS. The caller takes the certificate from srv.
func StartTLS(t testing.TB) (*Server, *httptest.Server) {
	s, srv := newServer((*httptest.Server).StartTLS)
	s.URL = srv.URL
	t.Cleanup(srv.Close)
	return s, srv
}

func newServer(start func(*httptest.Server)) (*Server, *httptest.Server) {
	s := &Server{}
	s.mu.subjects, s.mu.levels, s.mu.asked = map[string][]registry.Schema{}, map[string]string{}, map[string]int{}
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // a test breaks handshakes on purpose
	start(srv)
	return s, srv
}

// Fail makes the next requests fail with a status.
func (s *Server) Fail(requests, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.fail, s.mu.status = requests, status
}

// Asked counts the requests of a method and path so far, those that failed too.
func (s *Server) Asked(method, path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.asked[method+" "+path]
}

// Register puts a schema under a subject, as a client would.
func (s *Server) Register(t testing.TB, subject string, schema registry.Schema) int32 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := s.registerLocked(subject, schema)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// refused is an answer with an error.
type refused struct {
	status  int
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

func (r *refused) Error() string { return r.Message }

func refuse(status, code int, format string, args ...any) error {
	return &refused{status, code, fmt.Sprintf(format, args...)}
}

func (s *Server) registerLocked(subject string, schema registry.Schema) (int32, error) {
	if schema.Text == "" {
		return 0, refuse(422, 42201, "Empty schema")
	}
	for _, r := range schema.References {
		if _, err := s.versionLocked(r.Subject, strconv.Itoa(r.Version)); err != nil {
			return 0, refuse(422, 42201, "No schema reference found for subject %q and version %d", r.Subject, r.Version)
		}
	}
	versions := s.mu.subjects[subject]
	for _, v := range versions {
		if same(v, schema) {
			return v.ID, nil
		}
	}
	if n := len(versions); n > 0 && s.Check != nil {
		if why := s.Check(versions[n-1], schema); len(why) > 0 {
			return 0, refuse(409, 409, "Schema being registered is incompatible with an earlier schema for subject %q, details: [%s]", subject, strings.Join(why, "; "))
		}
	}
	at := slices.IndexFunc(s.mu.schemas, func(v registry.Schema) bool { return same(v, schema) })
	if at < 0 {
		at = len(s.mu.schemas)
		s.mu.schemas = append(s.mu.schemas, schema)
	}
	schema.ID, schema.Subject, schema.Version = int32(at+1), subject, len(versions)+1
	s.mu.subjects[subject] = append(versions, schema)
	return schema.ID, nil
}

func same(a, b registry.Schema) bool {
	return a.Kind() == b.Kind() && a.Text == b.Text && slices.Equal(a.References, b.References)
}

func (s *Server) versionLocked(subject, version string) (registry.Schema, error) {
	versions, ok := s.mu.subjects[subject]
	if !ok {
		return registry.Schema{}, refuse(404, 40401, "Subject '%s' not found.", subject)
	}
	n := len(versions)
	if version != "latest" {
		var err error
		if n, err = strconv.Atoi(version); err != nil || n < 1 {
			return registry.Schema{}, refuse(422, 42202, "The specified version '%s' is not a valid version id.", version)
		}
	}
	if n > len(versions) {
		return registry.Schema{}, refuse(404, 40402, "Version %d not found.", n)
	}
	return versions[n-1], nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	var err error
	var body registry.Schema
	if r.Method == http.MethodPost {
		err = json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&body)
	}
	s.mu.Lock()
	s.mu.asked[r.Method+" "+r.URL.Path]++
	switch {
	case s.Authorize != nil && !s.Authorize(r):
		err = refuse(401, 401, "Unauthorized")
	case s.mu.fail > 0:
		s.mu.fail--
		err = refuse(s.mu.status, 50001, "Error in the backend data store")
	case err == nil:
		answer, err = s.answerLocked(r, body)
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	if err != nil {
		no, ok := err.(*refused)
		if !ok {
			no = &refused{422, 42201, err.Error()}
		}
		w.WriteHeader(no.status)
		answer = no
	}
	_ = json.NewEncoder(w).Encode(answer) // a client that has gone does not mind
}

func (s *Server) answerLocked(r *http.Request, body registry.Schema) (any, error) {
	parts := strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	for i, p := range parts {
		if name, err := url.PathUnescape(p); err == nil {
			parts[i] = name
		}
	}
	at := func(i int) string {
		if i < len(parts) {
			return parts[i]
		}
		return ""
	}
	get := r.Method == http.MethodGet
	switch {
	case get && len(parts) == 3 && at(0) == "schemas" && at(1) == "ids":
		id, err := strconv.Atoi(at(2))
		if err != nil || id < 1 || id > len(s.mu.schemas) {
			return nil, refuse(404, 40403, "Schema %s not found", at(2))
		}
		v := s.mu.schemas[id-1]
		return registry.Schema{Type: v.Type, Text: v.Text, References: v.References}, nil
	case get && len(parts) == 1 && at(0) == "subjects":
		names := []string{}
		for name := range s.mu.subjects {
			names = append(names, name)
		}
		slices.Sort(names)
		return names, nil
	case get && len(parts) == 3 && at(0) == "subjects" && at(2) == "versions":
		if _, err := s.versionLocked(at(1), "latest"); err != nil {
			return nil, err
		}
		versions := []int{}
		for _, v := range s.mu.subjects[at(1)] {
			versions = append(versions, v.Version)
		}
		return versions, nil
	case get && len(parts) == 4 && at(0) == "subjects" && at(2) == "versions":
		return s.versionLocked(at(1), at(3))
	case get && len(parts) == 2 && at(0) == "config":
		level, ok := s.mu.levels[at(1)]
		if !ok {
			level = "BACKWARD"
		}
		return map[string]string{"compatibilityLevel": level}, nil
	}
	if r.Method == http.MethodPost {
		return s.postLocked(at, len(parts), body)
	}
	return nil, refuse(404, 404, "HTTP 404 Not Found")
}

func (s *Server) postLocked(at func(int) string, n int, body registry.Schema) (any, error) {
	switch {
	case n == 3 && at(0) == "subjects" && at(2) == "versions":
		id, err := s.registerLocked(at(1), body)
		return map[string]int32{"id": id}, err
	case n == 2 && at(0) == "subjects":
		if _, err := s.versionLocked(at(1), "latest"); err != nil {
			return nil, err
		}
		for _, v := range s.mu.subjects[at(1)] {
			if same(v, body) {
				return v, nil
			}
		}
		return nil, refuse(404, 40403, "Schema not found")
	case n == 5 && at(0) == "compatibility" && at(1) == "subjects" && at(3) == "versions":
		old, err := s.versionLocked(at(2), at(4))
		if err != nil {
			return nil, err
		}
		var why []string
		if s.Check != nil {
			why = s.Check(old, body)
		}
		return map[string]any{"is_compatible": len(why) == 0, "messages": why}, nil
	}
	return nil, refuse(404, 404, "HTTP 404 Not Found")
}

// SetCompatibility sets what a subject's versions must be to each other.
func (s *Server) SetCompatibility(subject, level string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.levels[subject] = level
}
