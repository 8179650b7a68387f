package stage

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// ErrLost is returned by Commit for a handle whose rows are gone, because the
// process that prepared them has ended. The batch has to be run again.
var ErrLost = errors.New("prepared output was kept in memory and is lost")

// BytesMax is the limit of a hub made with 0.
const BytesMax = int64(1) << 30

// Hub holds the prepared output of all sinks of one connector.
type Hub struct {
	nonce    string // tells this process's handles from those of an earlier one
	bytesMax int64

	state struct {
		sync.Mutex
		seq     uint64
		bytes   int64
		entries map[string]*entry
		targets map[owner]*Target
	}
}

// owner is one sink of one query.
type owner struct {
	query batch.QueryID
	sink  string
}

// entry is the output of one prepared attempt.
type entry struct {
	target *Target
	id     batch.ID
	recs   []arrow.RecordBatch
	bytes  int64
}

// NewHub returns an empty hub that holds at most bytesMax bytes, BytesMax if 0.
func NewHub(bytesMax int64) *Hub {
	if bytesMax <= 0 {
		bytesMax = BytesMax
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // it never fails (crypto/rand)
	h := &Hub{nonce: hex.EncodeToString(nonce[:]), bytesMax: bytesMax}
	h.state.entries = map[string]*entry{}
	h.state.targets = map[owner]*Target{}
	return h
}

// Bytes returns how much prepared output is waiting.
func (h *Hub) Bytes() int64 {
	h.state.Lock()
	defer h.state.Unlock()
	return h.state.bytes
}

// Target returns what the hub knows of a query's sink. A one-shot statement, and
// a query without a name, get a new one each time: no other batch is theirs.
func (h *Hub) Target(spec sinks.Spec) *Target {
	t := &Target{hub: h, sink: spec.Name, last: batch.None}
	if spec.Batch || spec.Query == "" {
		return t
	}
	h.state.Lock()
	defer h.state.Unlock()
	o := owner{spec.Query, spec.Name}
	if known, ok := h.state.targets[o]; ok {
		return known
	}
	h.state.targets[o] = t
	return t
}

// put stores the rows of an attempt, which become the hub's, and returns their key.
func (h *Hub) put(e *entry) (string, error) {
	h.state.Lock()
	defer h.state.Unlock()
	if h.state.bytes+e.bytes > h.bytesMax {
		return "", batch.UserErrorf("prepare %d bytes of batch %d for sink %q: %d bytes wait in memory already, the limit is %d; "+
			"take smaller batches or write to files", e.bytes, e.id, e.target.sink, h.state.bytes, h.bytesMax)
	}
	h.state.seq++
	key := fmt.Sprintf("%s-%d", h.nonce, h.state.seq)
	h.state.entries[key] = e
	h.state.bytes += e.bytes
	return key, nil
}

// borrow returns the rows behind the handles, which stay the hub's.
func (h *Hub) borrow(t *Target, parts []batch.Prepared) ([]arrow.RecordBatch, error) {
	h.state.Lock()
	defer h.state.Unlock()
	var recs []arrow.RecordBatch
	for _, p := range parts {
		if p.Rows == 0 && len(p.Payload) == 0 {
			continue
		}
		e, ok := h.state.entries[string(p.Payload)]
		if !ok || e.target != t {
			return nil, fmt.Errorf("output of partition %d for sink %q: %w", p.Partition, t.sink, ErrLost)
		}
		recs = append(recs, e.recs...)
	}
	return recs, nil
}

// drop releases the entries for which gone holds.
func (h *Hub) drop(gone func(key string, e *entry) bool) {
	h.state.Lock()
	var recs []arrow.RecordBatch
	for key, e := range h.state.entries {
		if gone(key, e) {
			recs = append(recs, e.recs...)
			h.state.bytes -= e.bytes
			delete(h.state.entries, key)
		}
	}
	h.state.Unlock()
	for _, r := range recs {
		r.Release()
	}
}

// sizeOf is what a record batch keeps in memory: of a slice, all that it was cut from.
func sizeOf(rec arrow.RecordBatch) int64 {
	var n int64
	for _, c := range rec.Columns() {
		n += dataSize(c.Data())
	}
	return n
}

func dataSize(d arrow.ArrayData) int64 {
	var n int64
	for _, b := range d.Buffers() {
		if b != nil {
			n += int64(b.Len())
		}
	}
	for _, c := range d.Children() {
		n += dataSize(c)
	}
	if dict, ok := d.Dictionary().(*array.Data); ok && dict != nil {
		n += dataSize(dict)
	}
	return n
}

// Ops returns the column with the kinds of change, nil for rows that are all
// inserted, and the number of columns before it.
func Ops(rec arrow.RecordBatch) (ops *array.Int8, columns int) {
	n := int(rec.NumCols())
	if n > 0 && rec.ColumnName(n-1) == sinks.OpColumn {
		if ops, ok := rec.Column(n - 1).(*array.Int8); ok {
			return ops, n - 1
		}
	}
	return nil, n
}

// OpAt returns the kind of change of a row.
func OpAt(ops *array.Int8, row int) sinks.Op {
	if ops == nil {
		return sinks.Insert
	}
	return sinks.Op(ops.Value(row))
}
