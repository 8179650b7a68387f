package executor

import (
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/statestore"
)

// stateKeys turns the groups of a stateful operator into rows of the store:
// [key group][window end, if there is one][other keys] -> partial results.
type stateKeys struct {
	endKey int
	shift  int64 // from the key to the window's end
	perm   []int // position in the state's key -> key column
	types  []arrow.DataType
	enc    *rowkey.Encoder
	codec  *rowkey.ValueCodec
	state  []arrow.DataType

	hasher rowkey.Hasher
	hashes []uint64
	groups []uint8
	rows   rowkey.Rows
	values rowkey.Rows
	list   [][]byte // the keys in key order
	order  []int32  // of list: the groups
}

func newStateKeys(keys []arrow.DataType, endKey int, shift int64, state []arrow.DataType) (*stateKeys, error) {
	k := &stateKeys{endKey: endKey, shift: shift, types: keys, state: state}
	if endKey >= 0 {
		if endKey >= len(keys) || keys[endKey].ID() != arrow.TIMESTAMP {
			return nil, fmt.Errorf("key %d is not the end of a window", endKey)
		}
		k.perm = append(k.perm, endKey)
	}
	for i := range keys {
		if i != endKey {
			k.perm = append(k.perm, i)
		}
	}
	permuted := make([]arrow.DataType, len(keys))
	for at, c := range k.perm {
		permuted[at] = keys[c]
	}
	var err error
	if k.enc, err = rowkey.NewEncoder(permuted); err != nil {
		return nil, err
	}
	k.codec, err = rowkey.NewValueCodec(state)
	return k, err
}

// encode makes the keys of n groups and lists them in order.
func (k *stateKeys) encode(cols []arrow.Array, n int) error {
	if err := k.encodeRows(cols, n); err != nil {
		return err
	}
	// A store is a sorted structure: neighbours in key order lie together in it.
	k.order = keyOrder(&k.rows)
	k.list = k.list[:0]
	for _, i := range k.order {
		k.list = append(k.list, k.rows.Row(int(i)))
	}
	return nil
}

// encodeRows makes the keys of n rows. The key group is the hash of the columns
// in the order of GROUP BY, which is the exchange's order too (Y2).
func (k *stateKeys) encodeRows(cols []arrow.Array, n int) error {
	k.hashes = resized(k.hashes, n)
	k.hasher.Hash(cols, k.hashes)
	k.groups = resized(k.groups, n)
	rowkey.Groups(k.hashes, k.groups)
	permuted := make([]arrow.Array, len(cols))
	for at, c := range k.perm {
		permuted[at] = cols[c]
	}
	return k.enc.EncodeGrouped(k.groups, permuted, &k.rows)
}

// globalMissing reports whether the store has no row for the only group there is.
func (k *stateKeys) globalMissing(txn statestore.Txn) (bool, error) {
	if err := k.encode(nil, 1); err != nil {
		return false, err
	}
	missing := true
	err := txn.Get(k.list, func(int, []byte) error { missing = false; return nil })
	return missing, err
}

// get reads what the store has for the encoded keys: p.found lists the groups
// and the result their states in that order.
func (k *stateKeys) get(alloc memory.Allocator, p *pass) ([]arrow.Array, error) {
	bs := newBuilders(alloc, k.state)
	defer releaseBuilders(bs)
	err := p.txn.Get(k.list, func(i int, value []byte) error {
		p.found = append(p.found, uint32(k.order[i]))
		return k.codec.Decode(value, bs)
	})
	if err != nil {
		return nil, err
	}
	return finish(bs), nil
}

// decode turns rows of the store back into key columns (in the order of GROUP BY) and states.
func (k *stateKeys) decode(alloc memory.Allocator, rows [][2][]byte) (keys, states []arrow.Array, err error) {
	kb, sb := make([]array.Builder, len(k.types)), newBuilders(alloc, k.state)
	defer releaseBuilders(sb)
	for at, c := range k.perm {
		kb[at] = array.NewBuilder(alloc, k.types[c])
		defer kb[at].Release()
	}
	for _, kv := range rows {
		if err := errors.Join(k.enc.Decode(kv[0][1:], kb), k.codec.Decode(kv[1], sb)); err != nil {
			return nil, nil, err
		}
	}
	keys = make([]arrow.Array, len(k.types))
	for at, c := range k.perm {
		keys[c] = kb[at].NewArray()
	}
	return keys, finish(sb), nil
}

// end reads the window's end out of a state key. A group whose end is NULL is always due.
func (k *stateKeys) end(key []byte) (end batch.EventTime, windowed bool, err error) {
	if k.endKey < 0 {
		return 0, false, nil
	}
	if len(key) == 0 {
		return 0, false, rowkey.ErrDamaged
	}
	w, null, err := rowkey.DecodeWord(key[1:], 8)
	if null || err != nil {
		return batch.NoTime, true, err
	}
	return shifted(int64(w^1<<63), k.shift), true, nil
}

// endOf is end of a group that has a window.
func (k *stateKeys) endOf(key []byte) (batch.EventTime, error) {
	end, _, err := k.end(key)
	return end, err
}

// shifted adds a shift to a time without leaving its range.
func shifted(t, shift int64) batch.EventTime {
	if shift < 0 && t < math.MinInt64-shift {
		return batch.NoTime
	}
	if shift > 0 && t > math.MaxInt64-shift {
		return batch.EndOfTime
	}
	return batch.EventTime(t + shift)
}

// unshifted takes a shift off a limit; that there is none, or that everything is
// over, stays.
func unshifted(limit batch.EventTime, shift int64) batch.EventTime {
	if limit == batch.NoTime || limit == batch.EndOfTime {
		return limit
	}
	return max(shifted(int64(limit), -shift), batch.NoTime+1)
}

// groupStart is the first key of a key group, nil after the last one.
func groupStart(g int) []byte {
	if g >= batch.KeyGroups {
		return nil
	}
	return []byte{byte(g)}
}

func newBuilders(alloc memory.Allocator, types []arrow.DataType) []array.Builder {
	bs := make([]array.Builder, len(types))
	for i, dt := range types {
		bs[i] = array.NewBuilder(alloc, dt)
	}
	return bs
}

func releaseBuilders(bs []array.Builder) {
	for _, b := range bs {
		b.Release()
	}
}

func finish(bs []array.Builder) []arrow.Array {
	out := make([]arrow.Array, len(bs))
	for i, b := range bs {
		out[i] = b.NewArray()
	}
	return out
}

func iota32(first, end int) []uint32 {
	out := make([]uint32, end-first)
	for i := range out {
		out[i] = uint32(first + i)
	}
	return out
}

func seq(first, end int) []int32 {
	out := make([]int32, end-first)
	for i := range out {
		out[i] = int32(first + i)
	}
	return out
}
