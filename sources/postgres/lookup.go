package postgres

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/sources"
)

// retryPause is the first pause before a question is asked again.
const (
	retryPause    = 100 * time.Millisecond
	retryPauseMax = 5 * time.Second
)

// lookup answers the look-ups of one table for all tasks of a query.
type lookup struct {
	o     *opener
	slots chan struct{} // bounds the connections

	mu struct {
		sync.Mutex
		log    *answers // of the term that asks; nil: nobody has asked yet
		dirty  bool
		turns  map[batch.ID]*turn // of the last two
		cache  cache
		idle   []*pgx.Conn
		found  *pgclient.Table // nil: to be looked at
		closed bool
	}
}

// turn is what a batch was answered in a term. It is had by the one who asks for keys, so
// that no key is asked twice; who comes then finds the answers.
type turn struct {
	log   *answers
	taken chan struct{}       // holds one value while somebody has it
	known map[string][]string // nil: to be read in the log
}

// looking returns the table's look-ups, which the first caller opens.
func (o *opener) looking() *lookup {
	o.once.Lock()
	defer o.once.Unlock()
	if o.look != nil {
		return o.look
	}
	l := &lookup{o: o, slots: make(chan struct{}, o.t.conns)}
	l.mu.turns, l.mu.cache = map[batch.ID]*turn{}, newCache(o.t.rowsMax)
	o.look = l
	return l
}

// Look implements sources.Looker.
func (o *opener) Look(ctx context.Context, ask sources.Lookup, alloc memory.Allocator) (arrow.RecordBatch, error) {
	columns := ask.Columns
	schema, err := sources.Project(o.t.spec.Schema, columns)
	if err != nil {
		return nil, fmt.Errorf("look up in %s: %w", o.t.spec, err)
	}
	if columns == nil {
		for i := range o.t.spec.Schema.NumFields() {
			columns = append(columns, i)
		}
	}
	q := question{on: ask.On, columns: columns, about: fmt.Sprintf("%v%v", ask.On, columns)}
	if err := q.read(ask.Keys); err != nil {
		return nil, fmt.Errorf("look up in %s: %w", o.t.spec, err)
	}
	found, err := o.looking().answer(ctx, ask.Batch, ask.Term, &q)
	if err != nil {
		return nil, err
	}
	out, err := newRows(schema, alloc)
	if err != nil {
		return nil, err
	}
	defer out.release()
	var values [][]byte
	for _, rows := range found {
		for _, row := range rows {
			if values, err = unpackRow(row, values[:0]); err == nil {
				err = out.add(values)
			}
			if err != nil {
				return nil, fmt.Errorf("look up in %s: %w", o.t.spec, err)
			}
		}
	}
	return out.flush(), nil
}

// answer returns the rows of each key, in the keys' order.
func (l *lookup) answer(ctx context.Context, id batch.ID, term batch.Term, q *question) ([][]string, error) {
	turn, err := l.turn(ctx, id, term)
	if err != nil {
		return nil, err
	}
	defer func() { <-turn.taken }()
	found := make([][]string, len(q.keys))
	var fresh []answer
	var ask []int
	now := l.o.clock.Now()
	l.mu.Lock()
	for i, k := range q.keys {
		rows, ok := turn.known[k.name]
		if !ok {
			if rows, ok = l.mu.cache.get(k.name, now); ok {
				fresh = append(fresh, answer{k.name, rows}) // known once it is logged
			}
		}
		if found[i] = rows; !ok {
			ask = append(ask, i)
		}
	}
	l.mu.Unlock()
	for from := 0; from < len(ask); from += l.o.t.keysMax {
		part := ask[from:min(from+l.o.t.keysMax, len(ask))]
		rows, err := l.ask(ctx, q, part)
		if err != nil {
			return nil, err
		}
		for i, at := range part {
			found[at] = rows[i]
			fresh = append(fresh, answer{q.keys[at].name, rows[i]})
		}
	}
	if len(fresh) == 0 {
		return found, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.log != turn.log {
		return nil, l.fenced(term)
	}
	if err := turn.log.append(id, fresh); err != nil {
		return nil, batch.ExternalError(fmt.Errorf("%s: %w", l.o.t.spec, err), false)
	}
	l.mu.dirty = true
	for _, a := range fresh {
		turn.known[a.key] = a.rows
	}
	if l.o.t.ttl > 0 {
		for _, at := range ask {
			l.mu.cache.put(q.keys[at].name, found[at], now.Add(l.o.t.ttl))
		}
	}
	return found, nil
}

// turn takes a batch's turn, which the caller gives back.
func (l *lookup) turn(ctx context.Context, id batch.ID, term batch.Term) (*turn, error) {
	t, err := l.turnOf(id, term)
	if err != nil {
		return nil, err
	}
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if t.known != nil {
		return t, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	logged, err := t.log.of(id)
	if err != nil {
		<-t.taken
		return nil, fmt.Errorf("%s: %w", l.o.t.spec, err)
	}
	t.known = make(map[string][]string, len(logged))
	for _, a := range logged {
		if _, twice := t.known[a.key]; !twice { // the first counts: a task may have used it
			t.known[a.key] = a.rows
		}
	}
	return t, nil
}

// turnOf finds the turn of a batch, in the log of its term.
func (l *lookup) turnOf(id batch.ID, term batch.Term) (*turn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enterLocked(term); err != nil {
		return nil, err
	}
	t := l.mu.turns[id]
	if t == nil {
		t = &turn{log: l.mu.log, taken: make(chan struct{}, 1)}
		l.mu.turns[id] = t
		for old := range l.mu.turns { // a batch runs beside the one before at most
			if old < id-1 {
				delete(l.mu.turns, old)
			}
		}
	}
	return t, nil
}

// enterLocked opens the log for a term. A higher one reads it anew, since another process
// may have written it since, and goes on with what counts of it.
func (l *lookup) enterLocked(term batch.Term) error {
	was := l.mu.log
	switch {
	case l.mu.closed:
		return errors.New("the query has ended")
	case was != nil && was.term == term:
		return nil
	case was != nil && was.term > term:
		return l.fenced(term)
	case was != nil && was.broken != nil: // what was not synced may look as if it were
		return batch.ExternalError(fmt.Errorf("%s: %w", l.o.t.spec, was.broken), false)
	}
	log, err := openAnswers(l.o.fs, l.o.t.spec.Dir, term)
	if err != nil {
		return fmt.Errorf("%s: %w", l.o.t.spec, err)
	}
	l.mu.log, l.mu.dirty, l.mu.turns = log, false, map[batch.ID]*turn{}
	if was != nil {
		return was.close()
	}
	return nil
}

// fenced refuses a term that is over.
func (l *lookup) fenced(term batch.Term) error {
	return fmt.Errorf("look up in %s for term %d: %w", l.o.t.spec, term, batch.ErrFenced)
}

// ask asks the database, some times if it cannot answer.
func (l *lookup) ask(ctx context.Context, q *question, keys []int) ([][]string, error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pause := retryPause
	for try := 0; ; try++ {
		rows, err := l.try(ctx, q, keys)
		if err == nil {
			return rows, nil
		}
		err = pgclient.Classify(fmt.Errorf("look %d keys up in %s: %w", len(keys), l.o.t.spec, err))
		if _, again := batch.KindOf(err); !again || try >= l.o.t.tries || ctx.Err() != nil {
			return nil, err
		}
		if err := clock.Wait(ctx, l.o.clock, pause); err != nil {
			return nil, err
		}
		pause = min(2*pause, retryPauseMax)
	}
}

func (l *lookup) try(ctx context.Context, q *question, keys []int) (_ [][]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.t.config.Timeout)
	defer cancel()
	conn, err := l.connection(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil || l.mu.closed || conn.IsClosed() {
			pgclient.Close(conn) // what is wrong with it is not found out
			l.mu.found = nil
			return
		}
		l.mu.idle = append(l.mu.idle, conn)
	}()
	found, err := l.described(ctx, conn)
	if err != nil {
		return nil, err
	}
	text, types, err := l.o.t.lookupText(found, q)
	if err != nil {
		return nil, err
	}
	params := make([][]byte, len(q.on))
	for i := range q.on {
		params[i] = q.array(i, keys, types[i])
	}
	out := make([][]string, len(keys))
	result := conn.PgConn().ExecParams(ctx, text, params, nil, nil, nil)
	for result.NextRow() {
		values := result.Values()
		n := 0
		for _, d := range values[0] {
			n = n*10 + int(d-'0')
		}
		if n < 1 || n > len(keys) {
			err = fmt.Errorf("an answer to key %d of %d", n, len(keys))
			break
		}
		out[n-1] = append(out[n-1], packRow(values[1:]))
	}
	_, cerr := result.Close()
	return out, errors.Join(err, cerr)
}

func (l *lookup) connection(ctx context.Context) (*pgx.Conn, error) {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return nil, fmt.Errorf("the query has ended")
	}
	if n := len(l.mu.idle); n > 0 {
		conn := l.mu.idle[n-1]
		l.mu.idle = l.mu.idle[:n-1]
		l.mu.Unlock()
		return conn, nil
	}
	l.mu.Unlock()
	return l.o.t.config.Connect(ctx, "sluice look-up", nil)
}

// described is what the table looked like when it was asked first, or after an error.
func (l *lookup) described(ctx context.Context, conn *pgx.Conn) (*pgclient.Table, error) {
	l.mu.Lock()
	found := l.mu.found
	l.mu.Unlock()
	if found != nil {
		return found, nil
	}
	found, err := l.o.t.describe(ctx, conn)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.found = found
	return found, nil
}

// lookupText is the question: which rows have one of the keys, and which. The keys come
// as arrays, so that the statement is the same however many there are.
func (t *table) lookupText(found *pgclient.Table, q *question) (string, []string, error) {
	es, _, err := t.expressions(found, q.columns)
	if err != nil {
		return "", nil, err
	}
	var names, arrays, on, types []string
	for i, at := range q.on {
		f := t.spec.Schema.Field(at)
		c, ok := columnOf(found, f)
		typ := keyType(f.Type, c)
		if !ok || typ == "" {
			return "", nil, batch.UserErrorf("%s: its column %q of type %s cannot be looked up by as %s", t.spec, f.Name, c.Type, f.Type)
		}
		name := fmt.Sprintf("sluice_k%d", i)
		names, types = append(names, name), append(types, typ)
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, typ))
		column, key := pgclient.QuoteIdent(c.Name), "sluice_q."+name
		on = append(on, column+" = "+key+exact(typ, column, key))
	}
	// Columns of the table stand alone: the names beside them are ours.
	return fmt.Sprintf("SELECT sluice_q.sluice_n, %s FROM unnest(%s) WITH ORDINALITY AS sluice_q(%s, sluice_n) JOIN %s ON %s",
		strings.Join(es, ", "), strings.Join(arrays, ", "), strings.Join(names, ", "), t.config.Table.Quoted(), strings.Join(on, " AND ")), types, nil
}

// Settle implements sources.Looker.
func (o *opener) Settle(_ context.Context, _ batch.ID, term batch.Term) error {
	l := o.looking()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.log == nil {
		return nil // nothing was asked for
	}
	if term < l.mu.log.term {
		return l.fenced(term)
	}
	if !l.mu.dirty {
		return nil
	}
	if err := l.mu.log.sync(); err != nil {
		return batch.ExternalError(fmt.Errorf("%s: %w", o.t.spec, err), false)
	}
	l.mu.dirty = false
	return nil
}

// Trim implements sources.Looker.
func (o *opener) Trim(_ context.Context, before batch.ID) error {
	l := o.looking()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.log == nil {
		return nil // it is open before anything has to go
	}
	return l.mu.log.trim(before)
}

// Close implements sources.Looker.
func (o *opener) Close() error {
	o.once.Lock()
	defer o.once.Unlock()
	if o.look == nil {
		return nil
	}
	l := o.look
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	for _, c := range l.mu.idle {
		pgclient.Close(c)
	}
	l.mu.idle = nil
	if l.mu.log == nil {
		return nil
	}
	return l.mu.log.close()
}

// cache keeps answers for later batches, the oldest of which go first.
type cache struct {
	most, size int
	by         map[string]*list.Element
	order      *list.List // of cached, oldest first
}

type cached struct {
	key   string
	rows  []string
	until time.Time
}

func newCache(most int) cache {
	return cache{most: most, by: map[string]*list.Element{}, order: list.New()}
}

func (c *cache) get(key string, now time.Time) ([]string, bool) {
	e := c.by[key]
	if e == nil {
		return nil, false
	}
	if v := e.Value.(*cached); now.Before(v.until) {
		return v.rows, true
	}
	c.remove(e)
	return nil, false
}

func (c *cache) put(key string, rows []string, until time.Time) {
	if e := c.by[key]; e != nil {
		c.remove(e)
	}
	c.by[key] = c.order.PushBack(&cached{key, rows, until})
	c.size += 1 + len(rows)
	for c.size > c.most && c.order.Len() > 0 {
		c.remove(c.order.Front())
	}
}

func (c *cache) remove(e *list.Element) {
	v := c.order.Remove(e).(*cached)
	delete(c.by, v.key)
	c.size -= 1 + len(v.rows)
}
