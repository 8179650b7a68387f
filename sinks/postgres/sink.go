package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/sinks"
)

const (
	// attemptsMax is how often one Commit begins anew after a doubt. The driver asks
	// what the database holds, and tries again, after that.
	attemptsMax = 3
	// openTriesMax is how often a start asks a database that does not answer, with
	// pauses from openPause on, doubled each time.
	openTriesMax = 6
	openPause    = 250 * time.Millisecond
	// pollPause and pollTime are how often and how long a transaction is asked after
	// whose connection was lost.
	pollPause = 20 * time.Millisecond
	pollTime  = 10 * time.Second
	// lockTime is how long the query's row may be locked by another before sessions of
	// older terms are ended.
	lockTime = 2 * time.Second
	// bulkRows is the number of staged rows from which on the database is to know
	// how many there are.
	bulkRows = 10_000
	// stageTable is the connection's own table.
	stageTable = "pg_temp.sluice_stage"
)

// sink is the driver's half.
type sink struct {
	t       *target
	waiting *waiting

	// commits is held while anything is decided.
	commits sync.Mutex
	term    batch.Term
	conn    *pgx.Conn // nil: to be made
	xid     string    // of a statement's only transaction, if it is in doubt
	done    bool      // the statement's only transaction is committed
}

var _ sinks.Sink = (*sink)(nil)

// open looks whether the rows fit into the table.
func open(ctx context.Context, t *target) (sinks.Sink, sinks.WriterFactory, error) {
	clk := clock.System()
	for try, pause := 1, openPause; ; try, pause = try+1, 2*pause {
		err := t.look(ctx)
		if err == nil {
			break
		}
		if _, again := batch.KindOf(err); !again || try == openTriesMax {
			return nil, nil, err
		}
		if err := clock.Wait(ctx, clk, pause); err != nil {
			return nil, nil, err
		}
	}
	w := &waiting{bytesMax: t.buffer, by: map[string]*prepared{}}
	return &sink{t: t, waiting: w}, &factory{t: t, w: w}, nil
}

func (t *target) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	conn, err := t.config.Connect(ctx, "sluice plan", nil)
	if err != nil {
		return err
	}
	defer pgclient.Close(conn)
	if err := t.check(ctx, conn); err != nil {
		return pgclient.Classify(fmt.Errorf("table %q: %w", t.spec.Table, err))
	}
	return nil
}

// noted reports whether the database keeps the batch's ID.
func (s *sink) noted() bool { return !s.t.spec.Batch }

func (s *sink) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.commits.Lock()
	defer s.commits.Unlock()
	if term < s.term {
		return s.older(term, s.term)
	}
	if term > s.term {
		s.closeLocked() // its session's name tells the term
		s.term = term
	}
	want := held{batch: id, term: term}
	for _, p := range parts {
		want.digest = want.digest.Add(p.Digest)
	}
	var last error
	for range attemptsMax {
		if last = s.attempt(ctx, want, parts); last == nil {
			return s.forget(id)
		}
		// Whatever it was, the transaction is given up with its connection, and what
		// became of it is read again (P2).
		s.closeLocked()
		if _, again := batch.KindOf(last); !again || ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("table %q: commit batch %d to %s of %s: %w", s.t.spec.Table, id, s.t.config.Table, s.t.config.Where(), last)
}

func (s *sink) older(term, newer batch.Term) error {
	return fmt.Errorf("sink %q under term %d, table %s has seen term %d: %w", s.t.spec.Name, term, s.t.config.Table, newer, batch.ErrFenced)
}

// attempt writes a batch, unless the database holds it.
func (s *sink) attempt(ctx context.Context, want held, parts []batch.Prepared) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.t.config.Timeout)
	defer cancel()
	defer func() {
		if err != nil && !errors.Is(err, batch.ErrFenced) {
			err = pgclient.Classify(err)
		}
	}()
	if s.conn == nil {
		if err := s.connectLocked(ctx); err != nil {
			return err
		}
	}
	if !s.noted() {
		if decided, err := s.decidedLocked(ctx); decided || err != nil {
			return err
		}
	}
	has, err := s.begin(ctx)
	if err != nil {
		return err
	}
	if s.noted() {
		switch {
		case has.term > s.term:
			return s.older(s.term, has.term)
		case has.batch == want.batch && has.digest != want.digest:
			return batch.UserErrorf("it holds batch %d with digest %s, it is to be committed with %s", has.batch, has.digest, want.digest)
		case has.batch >= want.batch:
			_, err := query(ctx, s.conn, "ROLLBACK")
			return err
		}
	}
	all, err := s.waiting.gather(parts)
	if err != nil {
		return err
	}
	return s.write(ctx, want, all)
}

// begin opens the transaction and locks the query's row (P1).
func (s *sink) begin(ctx context.Context) (held, error) {
	if !s.noted() {
		rows, err := query(ctx, s.conn, "BEGIN", "SELECT pg_current_xact_id()")
		if err == nil && len(rows) == 1 {
			s.xid = rows[0][0]
		}
		return held{batch: batch.None}, err
	}
	lock := []string{"BEGIN", fmt.Sprintf("SET LOCAL lock_timeout = %d", lockTime.Milliseconds()), s.t.selectHeld() + " FOR UPDATE", "SET LOCAL lock_timeout = 0"}
	rows, err := query(ctx, s.conn, lock...)
	if pgclient.Is(err, pgclient.LockNotReady) {
		rows, err = s.takeLock(ctx, lock)
	}
	if err != nil {
		return held{}, fmt.Errorf("lock the query's row in the table of batches %s: %w", s.t.meta, err)
	}
	if len(rows) != 1 {
		return held{}, batch.ExternalError(fmt.Errorf("the query's row in the table of batches %s has gone", s.t.meta), true) // connecting makes it again
	}
	return s.t.parseHeld(rows[0])
}

// takeLock tries again after it has ended the sessions of older terms (P3).
func (s *sink) takeLock(ctx context.Context, lock []string) ([][]string, error) {
	if _, err := query(ctx, s.conn, "ROLLBACK"); err != nil {
		return nil, err
	}
	has, err := s.t.holds(ctx, s.conn)
	if err != nil {
		return nil, err
	}
	if has.term > s.term {
		return nil, s.older(s.term, has.term)
	}
	if err := s.t.endOlder(ctx, s.conn, s.term); err != nil {
		return nil, err
	}
	return query(ctx, s.conn, lock...)
}

// write copies the rows and commits.
func (s *sink) write(ctx context.Context, want held, all []*prepared) error {
	t := s.t
	var rows, deletes int64
	for _, p := range all {
		rows, deletes = rows+p.rows, deletes+p.deletes
	}
	var first, last []string
	into := fmt.Sprintf("COPY %s (%s) FROM STDIN", t.config.Table.Quoted(), t.names(nil))
	switch {
	case t.replaces() && (rows > 0 || t.spec.Mode != "update"):
		first = append(first, "DELETE FROM "+t.config.Table.Quoted())
	case t.upserts():
		into = "COPY " + stageTable + " FROM STDIN"
		if rows > bulkRows {
			last = append(last, "ANALYZE "+stageTable)
		}
		if deletes > 0 {
			last = append(last, s.deletion())
		}
		last = append(last, s.upsert())
	}
	if len(first) > 0 {
		if _, err := query(ctx, s.conn, first...); err != nil {
			return fmt.Errorf("delete the rows of before: %w", err)
		}
	}
	if rows == 0 {
		last = nil
	} else if _, err := copyIn(ctx, s.conn, into, all); err != nil {
		return fmt.Errorf("copy %d rows: %w", rows, err)
	}
	if s.noted() {
		last = append(last, t.note(want, rows))
	}
	if _, err := query(ctx, s.conn, append(last, "COMMIT")...); err != nil {
		return fmt.Errorf("write %d rows: %w", rows, err)
	}
	fault.Hit(fault.C7)
	s.done = !s.noted()
	return nil
}

// stageColumns names the columns of the connection's own table.
func (s *sink) stageColumn(i int) string { return fmt.Sprintf("c%d", i) }

// deletion takes away rows whose key went.
func (s *sink) deletion() string {
	var on []string
	for _, k := range s.t.keys {
		on = append(on, fmt.Sprintf("t.%s = s.%s", pgclient.QuoteIdent(s.t.columns[k].Name), s.stageColumn(k)))
	}
	return fmt.Sprintf("DELETE FROM %s t USING %s s WHERE s.deleted AND %s", s.t.config.Table.Quoted(), stageTable, strings.Join(on, " AND "))
}

// upsert inserts or updates the others, of each key the last that was copied.
func (s *sink) upsert() string {
	var from, key, stagedKey, set []string
	isKey := map[int]bool{}
	for _, k := range s.t.keys {
		isKey[k] = true
		key = append(key, pgclient.QuoteIdent(s.t.columns[k].Name))
		stagedKey = append(stagedKey, s.stageColumn(k))
	}
	for i, c := range s.t.columns {
		from = append(from, s.stageColumn(i))
		if !isKey[i] {
			name := pgclient.QuoteIdent(c.Name)
			set = append(set, name+" = EXCLUDED."+name)
		}
	}
	do := "NOTHING"
	if len(set) > 0 {
		do = "UPDATE SET " + strings.Join(set, ", ")
	}
	by := strings.Join(stagedKey, ", ")
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT DISTINCT ON (%s) %s FROM %s WHERE NOT deleted ORDER BY %s, ctid DESC ON CONFLICT (%s) DO %s",
		s.t.config.Table.Quoted(), s.t.names(nil), by, strings.Join(from, ", "), stageTable, by, strings.Join(key, ", "), do)
}

// connectLocked makes the connection that commits, and what it needs.
func (s *sink) connectLocked(ctx context.Context) error {
	conn, err := s.t.config.Connect(ctx, s.t.session()+fmt.Sprint(s.term), map[string]string{
		"standard_conforming_strings":         "on",
		"idle_in_transaction_session_timeout": fmt.Sprint(s.t.config.Timeout.Milliseconds()),
	})
	if err != nil {
		return err
	}
	if s.noted() {
		err = s.t.makeBatches(ctx, conn)
	}
	if err == nil && s.t.upserts() {
		var cols []string
		for i, c := range s.t.columns {
			cols = append(cols, pgclient.QuoteIdent(c.Name)+" AS "+s.stageColumn(i))
		}
		_, err = query(ctx, conn, fmt.Sprintf("CREATE TEMPORARY TABLE sluice_stage ON COMMIT DELETE ROWS AS SELECT %s, false AS deleted FROM %s WITH NO DATA",
			strings.Join(cols, ", "), s.t.config.Table.Quoted()))
	}
	if err != nil {
		pgclient.Close(conn)
		return err
	}
	s.conn = conn
	return nil
}

// decidedLocked finds out what became of a statement's only transaction.
func (s *sink) decidedLocked(ctx context.Context) (bool, error) {
	if s.done || s.xid == "" {
		return s.done, nil
	}
	for waited := time.Duration(0); ; waited += pollPause {
		rows, err := query(ctx, s.conn, fmt.Sprintf("SELECT pg_xact_status(%s::xid8)", literal(s.xid)))
		if err != nil {
			return false, fmt.Errorf("ask what became of transaction %s: %w", s.xid, err)
		}
		switch status := rows[0][0]; {
		case status == "committed":
			s.done = true
			return true, nil
		case status == "aborted":
			s.xid = ""
			return false, nil
		case waited >= pollTime:
			return false, batch.ExternalError(fmt.Errorf("transaction %s, whose connection is lost, is %s", s.xid, status), true)
		}
		if err := clock.Wait(ctx, clock.System(), pollPause); err != nil {
			return false, err
		}
	}
}

func (s *sink) closeLocked() {
	pgclient.Close(s.conn)
	s.conn = nil
}

// forget drops rows that will not be written any more.
func (s *sink) forget(id batch.ID) error {
	if err := s.waiting.drop(func(_ string, p *prepared) bool { return p.id <= id }); err != nil {
		return fmt.Errorf("table %q: close a temporary file: %w", s.t.spec.Table, err)
	}
	return nil
}

func (s *sink) Abort(ctx context.Context, _ batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.commits.Lock()
	defer s.commits.Unlock()
	newest := s.term
	if s.noted() && term >= newest {
		h, err := s.ask(ctx)
		if err != nil {
			return err
		}
		newest = max(newest, h.term)
	}
	if term < newest {
		return s.older(term, newest)
	}
	keys := map[string]bool{}
	for _, p := range parts {
		keys[string(p.Payload)] = true
	}
	return s.waiting.drop(func(key string, _ *prepared) bool { return keys[key] })
}

// Holds reads what the database holds, on a connection of its own: it does not wait
// for a commit.
func (s *sink) Holds(ctx context.Context) (batch.ID, batch.Digest, error) {
	if !s.noted() {
		return batch.None, batch.Digest{}, nil
	}
	h, err := s.ask(ctx)
	return h.batch, h.digest, err
}

func (s *sink) ask(ctx context.Context) (h held, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.t.config.Timeout)
	defer cancel()
	conn, err := s.t.config.Connect(ctx, "sluice holds", nil)
	if err != nil {
		return held{batch: batch.None}, err
	}
	defer pgclient.Close(conn)
	if h, err = s.t.holds(ctx, conn); err != nil {
		return held{batch: batch.None}, pgclient.Classify(fmt.Errorf("table %q: %w", s.t.spec.Table, err))
	}
	return h, nil
}

func (s *sink) Close() error {
	s.commits.Lock()
	defer s.commits.Unlock()
	s.closeLocked()
	return s.waiting.drop(func(string, *prepared) bool { return true })
}
