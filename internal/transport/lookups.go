package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/arrowipc"
	"github.com/sluice-stream/sluice/sources"
)

// Lookups looks rows of a table up for the tasks of a plan, by asking the driver's node of
// the query: it alone asks the database, so that whatever worker asks, and however often, a
// batch is answered the same.
type Lookups struct {
	Net    Transport
	Driver NodeID // the query's
	Key    string // of the plan, which tells the driver in which life of the query it is
	Source string
	Schema *arrow.Schema // of the table
}

var (
	_ sources.Opener = (*Lookups)(nil)
	_ sources.Looker = (*Lookups)(nil)
)

// Look implements sources.Looker. The term is that of the plan's key.
func (l *Lookups) Look(ctx context.Context, q sources.Lookup, alloc memory.Allocator) (arrow.RecordBatch, error) {
	schema, err := sources.Project(l.Schema, q.Columns)
	if err != nil {
		return nil, fmt.Errorf("look up in %s: %w", l.Source, err)
	}
	keys, err := PackKeys(q.Keys, alloc)
	if err != nil {
		return nil, fmt.Errorf("look up in %s: %w", l.Source, err)
	}
	recs, err := l.ask(ctx, Look{Source: l.Source, Batch: q.Batch, On: q.On, Columns: q.Columns, Keys: keys}, alloc)
	defer func() {
		for _, rec := range recs {
			rec.Release()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("look up in %s: %w", l.Source, err)
	}
	for _, rec := range recs {
		if !rec.Schema().Equal(schema) {
			return nil, batch.ExternalError(fmt.Errorf("look up in %s: the driver has found rows of %s, and they are to be of %s: is it of another version?", l.Source, rec.Schema(), schema), false)
		}
	}
	if len(recs) == 1 {
		recs[0].Retain()
		return recs[0], nil
	}
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	return formats.Concat(schema, recs, alloc)
}

// Settle implements sources.Looker.
func (l *Lookups) Settle(ctx context.Context, id batch.ID, _ batch.Term) error {
	recs, err := l.ask(ctx, Settle{Source: l.Source, Batch: id}, nil)
	for _, rec := range recs {
		rec.Release()
	}
	if err != nil {
		return fmt.Errorf("settle what batch %d has looked up in %s: %w", id, l.Source, err)
	}
	return nil
}

// Trim implements sources.Looker: the driver has what there is to trim.
func (l *Lookups) Trim(context.Context, batch.ID) error { return nil }

// Close implements sources.Looker.
func (l *Lookups) Close() error { return nil }

// Open implements sources.Opener.
func (l *Lookups) Open(context.Context, batch.Split, []int, memory.Allocator) (sources.Reader, error) {
	return nil, fmt.Errorf("read %s: its rows are looked up, and not read", l.Source)
}

// ask asks the driver, and reads the answer to its end. Whoever ends ctx ends the question
// there, too.
func (l *Lookups) ask(ctx context.Context, ask Ask, alloc memory.Allocator) (recs []arrow.RecordBatch, err error) {
	r, err := l.Net.Fetch(ctx, l.Driver, StreamRef{Key: l.Key, Ask: ask}, alloc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return recs, nil
		}
		if err != nil {
			return recs, err
		}
		recs = append(recs, rec)
	}
}

// PackKeys writes record batches, borrowed, for Look: the messages of an Arrow stream, for
// each the lengths of its metadata and body, as uvarints, and both.
func PackKeys(keys []arrow.RecordBatch, alloc memory.Allocator) ([]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	var p keyPacker
	w := ipc.NewWriterWithPayloadWriter(&p, ipc.WithSchema(keys[0].Schema()), ipc.WithAllocator(alloc))
	for _, rec := range keys {
		if err := w.Write(rec); err != nil {
			return nil, errors.Join(fmt.Errorf("write keys: %w", err), w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write keys: %w", err)
	}
	return p.Bytes(), nil
}

type keyPacker struct{ bytes.Buffer }

// Start is of ipc.PayloadWriter.
func (p *keyPacker) Start() error { return nil }

// Close is of ipc.PayloadWriter.
func (p *keyPacker) Close() error { return nil }

// WritePayload is of ipc.PayloadWriter.
func (p *keyPacker) WritePayload(m ipc.Payload) error {
	meta := m.Meta()
	defer meta.Release()
	var body bytes.Buffer
	if err := m.SerializeBody(&body); err != nil {
		return err
	}
	p.Write(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(meta.Len())), uint64(body.Len())))
	p.Write(meta.Bytes())
	p.Write(body.Bytes())
	return nil
}

// UnpackKeys reads the keys of a Look, which are the caller's.
func UnpackKeys(b []byte, alloc memory.Allocator) (recs []arrow.RecordBatch, err error) {
	if len(b) == 0 {
		return nil, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read keys: %v", p)
		}
		if err != nil {
			for _, rec := range recs {
				rec.Release()
			}
			recs = nil
		}
	}()
	m := &keyMessages{rest: b}
	defer m.Release()
	r, err := ipc.NewReaderFromMessageReader(m, ipc.WithAllocator(alloc))
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer r.Release()
	for r.Next() {
		rec := r.RecordBatch()
		rec.Retain()
		recs = append(recs, rec)
	}
	if err := r.Err(); err != nil {
		return recs, fmt.Errorf("read keys: %w", err)
	}
	return recs, nil
}

var errKeys = errors.New("what is there are no keys")

// keyMessages gives the messages of packed keys. No length is believed before as many bytes
// are there.
type keyMessages struct {
	rest []byte
	msg  *ipc.Message
}

// Message is of ipc.MessageReader.
func (m *keyMessages) Message() (*ipc.Message, error) {
	m.Release()
	if len(m.rest) == 0 {
		return nil, io.EOF
	}
	var part [2][]byte
	var length [2]uint64
	for i := range length {
		n := 0
		if length[i], n = binary.Uvarint(m.rest); n <= 0 {
			return nil, errKeys
		}
		m.rest = m.rest[n:]
	}
	for i, n := range length {
		if n > uint64(len(m.rest)) {
			return nil, errKeys
		}
		part[i], m.rest = m.rest[:n:n], m.rest[n:]
	}
	if err := arrowipc.CheckMessage(part[0], part[1], int64(len(part[1]))); err != nil {
		return nil, fmt.Errorf("%w: %w", errKeys, err)
	}
	meta, body := memory.NewBufferBytes(part[0]), memory.NewBufferBytes(part[1])
	defer meta.Release()
	defer body.Release()
	m.msg = ipc.NewMessage(meta, body)
	return m.msg, nil
}

// Retain is of ipc.MessageReader.
func (m *keyMessages) Retain() {}

// Release is of ipc.MessageReader. The last message is valid up to it, or to the next one.
func (m *keyMessages) Release() {
	if m.msg != nil {
		m.msg.Release()
		m.msg = nil
	}
}
