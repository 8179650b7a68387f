package sluice

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// The rows of state that one answer has.
const (
	stateRowsDefault = 1000
	stateRowsMax     = 100_000
)

// stateTimeout is how long an answer waits for state that is on its way to other workers: it
// comes before the connection's own limit.
const stateTimeout = httpTimeout - 2*time.Second

// operatorForm is an operator in /api/queries/NAME/state.
type operatorForm struct {
	Operator string   `json:"operator"`
	Kind     string   `json:"kind"`
	Keys     []string `json:"keys"`
}

// listState answers GET /api/queries/NAME/state.
func (s *Session) listState(w http.ResponseWriter, r *http.Request) {
	q, ok := s.served(w, r)
	if !ok {
		return
	}
	out := []operatorForm{}
	for _, f := range q.plan.Plan.StateForms() {
		o := operatorForm{Operator: f.Operator, Kind: fmt.Sprint(f.Kind), Keys: []string{}}
		for _, k := range f.Keys {
			o.Keys = append(o.Keys, k.Name)
		}
		out = append(out, o)
	}
	writeJSON(w, http.StatusOK, out)
}

// stateAnswer is what GET /api/queries/NAME/state/OPERATOR says.
type stateAnswer struct {
	Batch   int64    `json:"batch"` // after which the rows were so
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	More    bool     `json:"more"` // there are other rows
}

// liveState answers GET /api/queries/NAME/state/OPERATOR?key=..&key=..&limit=..&batch=..
func (s *Session) liveState(w http.ResponseWriter, r *http.Request) {
	q, ok := s.served(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), stateTimeout, fmt.Errorf("the state is not to be had within %s", stateTimeout))
	defer cancel()
	answer, err := q.stateAnswer(ctx, r)
	if err != nil {
		refuseHTTP(w, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (q *Query) stateAnswer(ctx context.Context, r *http.Request) (*stateAnswer, error) {
	o, err := q.State(r.PathValue("operator"))
	if err != nil {
		return nil, err
	}
	asked := r.URL.Query()
	limit := stateRowsDefault
	if text := asked.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > stateRowsMax {
			return nil, batch.UserErrorf("limit=%s: want a number of rows from 1 to %d", text, stateRowsMax)
		}
	}
	if text := asked.Get("batch"); text != "" {
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, batch.UserErrorf("batch=%s: want the number of a batch", text)
		}
		o = o.AtBatch(at)
	}
	var keys [][]byte
	if texts := asked["key"]; len(texts) > 0 {
		key, err := o.encode(textValues(texts))
		if err != nil {
			return nil, err
		}
		keys = [][]byte{key}
	}
	rec, at, more, err := o.record(ctx, keys, limit)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	out := &stateAnswer{Batch: at, More: more, Rows: [][]any{}}
	for _, f := range rec.Schema().Fields() {
		out.Columns = append(out.Columns, f.Name)
	}
	for i := range int(rec.NumRows()) {
		row := make([]any, rec.NumCols())
		for c := range row {
			row[c] = rec.Column(c).GetOneForMarshal(i)
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}
