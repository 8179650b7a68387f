package sluice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/sluice-stream/sluice/batch"
)

// httpBodyMax is how long the body of a request may be.
const httpBodyMax = 4 << 10

// served finds the query of a request, or answers that there is none.
func (s *Session) served(w http.ResponseWriter, r *http.Request) (*Query, bool) {
	q, ok := s.Query(r.PathValue("name"))
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("there is no query %q", r.PathValue("name"))})
	}
	return q, ok
}

// refuse answers with an error: 400 for what the caller can mend.
func refuseHTTP(w http.ResponseWriter, err error) {
	code := http.StatusServiceUnavailable
	if k, _ := batch.KindOf(err); k == batch.User {
		code = http.StatusBadRequest
	}
	writeJSON(w, code, map[string]string{"error": err.Error()})
}

// listSavepoints answers GET /api/queries/NAME/savepoints.
func (s *Session) listSavepoints(w http.ResponseWriter, r *http.Request) {
	q, ok := s.served(w, r)
	if !ok {
		return
	}
	list, err := Savepoints(q.dir)
	if err != nil {
		refuseHTTP(w, err)
		return
	}
	writeJSON(w, http.StatusOK, list)
}

// postSavepoint answers POST /api/queries/NAME/savepoints/SAVEPOINT.
func (s *Session) postSavepoint(w http.ResponseWriter, r *http.Request) {
	q, ok := s.served(w, r)
	if !ok {
		return
	}
	sp, err := q.Save(r.Context(), r.PathValue("savepoint"))
	if err != nil {
		refuseHTTP(w, err)
		return
	}
	writeJSON(w, http.StatusCreated, sp)
}

// postParallelism answers POST /api/queries/NAME/parallelism with {"parallelism": n}.
func (s *Session) postParallelism(w http.ResponseWriter, r *http.Request) {
	q, ok := s.served(w, r)
	if !ok {
		return
	}
	var body struct {
		Parallelism int `json:"parallelism"`
	}
	dec := json.NewDecoder(io.LimitReader(r.Body, httpBodyMax))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": fmt.Sprintf(`want {"parallelism": n}: %v`, err)})
		return
	}
	if err := q.SetParallelism(r.Context(), body.Parallelism); err != nil {
		refuseHTTP(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"query": q.Name(), "parallelism": body.Parallelism})
}
