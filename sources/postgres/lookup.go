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
		log     *answers
		dirty   bool
		batches map[batch.ID]map[string][]string // what they were answered: the last two
		cache   cache
		idle    []*pgx.Conn
		found   *pgclient.Table // nil: to be looked at
		closed  bool
	}
	// asking is held by the one who asks for keys of a batch, so that no key is asked
	// twice; who comes then finds the answers.
	asking map[batch.ID]*sync.Mutex
}

// looking returns the table's look-ups, which the first caller opens.
func (o *opener) looking() (*lookup, error) {
	o.once.Lock()
	defer o.once.Unlock()
	if o.look != nil {
		return o.look, nil
	}
	log, err := openAnswers(o.fs, o.t.spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.t.spec, err)
	}
	l := &lookup{o: o, slots: make(chan struct{}, o.t.conns), asking: map[batch.ID]*sync.Mutex{}}
	l.mu.log, l.mu.batches = log, map[batch.ID]map[string][]string{}
	l.mu.cache = newCache(o.t.rowsMax)
	o.look = l
	return l, nil
}

// Look implements sources.Looker.
func (o *opener) Look(ctx context.Context, id batch.ID, on []int, keys []arrow.RecordBatch, columns []int, alloc memory.Allocator) (arrow.RecordBatch, error) {
	l, err := o.looking()
	if err != nil {
		return nil, err
	}
	schema, err := sources.Project(o.t.spec.Schema, columns)
	if err != nil {
		return nil, fmt.Errorf("look up in %s: %w", o.t.spec, err)
	}
	if columns == nil {
		for i := range o.t.spec.Schema.NumFields() {
			columns = append(columns, i)
		}
	}
	q := question{on: on, columns: columns, about: fmt.Sprintf("%v%v", on, columns)}
	if err := q.read(keys); err != nil {
		return nil, fmt.Errorf("look up in %s: %w", o.t.spec, err)
	}
	found, err := l.answer(ctx, id, &q)
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
func (l *lookup) answer(ctx context.Context, id batch.ID, q *question) ([][]string, error) {
	turn := l.turn(id)
	turn.Lock()
	defer turn.Unlock()
	known, err := l.known(id)
	if err != nil {
		return nil, err
	}
	found := make([][]string, len(q.keys))
	var fresh []answer
	var ask []int
	now := l.o.clock.Now()
	l.mu.Lock()
	for i, k := range q.keys {
		rows, ok := known[k.name]
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
	if err := l.mu.log.append(id, fresh); err != nil {
		return nil, batch.ExternalError(fmt.Errorf("%s: %w", l.o.t.spec, err), false)
	}
	l.mu.dirty = true
	for _, a := range fresh {
		known[a.key] = a.rows
	}
	if l.o.t.ttl > 0 {
		for _, at := range ask {
			l.mu.cache.put(q.keys[at].name, found[at], now.Add(l.o.t.ttl))
		}
	}
	return found, nil
}

// turn returns the lock of a batch.
func (l *lookup) turn(id batch.ID) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking[id] == nil {
		l.asking[id] = &sync.Mutex{}
		for old := range l.asking { // a batch runs beside the one before at most
			if old < id-1 {
				delete(l.asking, old)
				delete(l.mu.batches, old)
			}
		}
	}
	return l.asking[id]
}

// known returns what the batch was answered; its lock is held.
func (l *lookup) known(id batch.ID) (map[string][]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.mu.batches[id]; m != nil {
		return m, nil
	}
	logged, err := l.mu.log.of(id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.o.t.spec, err)
	}
	m := make(map[string][]string, len(logged))
	for _, a := range logged {
		if _, twice := m[a.key]; !twice { // the first counts: a task may have used it
			m[a.key] = a.rows
		}
	}
	l.mu.batches[id] = m
	return m, nil
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
		on = append(on, fmt.Sprintf("%s = sluice_q.%s", pgclient.QuoteIdent(c.Name), name))
	}
	// Columns of the table stand alone: the names beside them are ours.
	return fmt.Sprintf("SELECT sluice_q.sluice_n, %s FROM unnest(%s) WITH ORDINALITY AS sluice_q(%s, sluice_n) JOIN %s ON %s",
		strings.Join(es, ", "), strings.Join(arrays, ", "), strings.Join(names, ", "), t.config.Table.Quoted(), strings.Join(on, " AND ")), types, nil
}

// Settle implements sources.Looker.
func (o *opener) Settle(context.Context, batch.ID) error {
	l, err := o.looking()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
	l, err := o.looking()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
