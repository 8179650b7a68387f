package sluice

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/logical"
)

// StateOption changes a state.
type StateOption func(d *logical.StateDecl) error

// StateTTL lets each value of a state, each element of a list and each entry of a map
// go when the time of a batch is d after it was written. It is the batch's time
// and not event time, so that a batch run again sees the same.
func StateTTL(d time.Duration) StateOption {
	return func(s *logical.StateDecl) error {
		if d < time.Microsecond {
			return batch.UserErrorf("a TTL is at least a microsecond")
		}
		s.TTL = d
		return nil
	}
}

// TTLOnRead lets the TTL of a state start again whenever a value is read, not only
// when it is written. Iterating reads all that there is.
func TTLOnRead() StateOption {
	return func(s *logical.StateDecl) error { s.OnRead = true; return nil }
}

// handle is what the handles of states have in common.
type handle[T any] struct {
	c     *ProcessorContext
	name  string
	state int
	codec *goCodec[T]
}

// declare makes the handle of a state. A fault ends Open, whose code need not look for it.
func declare[T any](c *ProcessorContext, name string, kind logical.StateKind, key []logical.StateField, opts []StateOption) handle[T] {
	h := handle[T]{c: c, name: name}
	err := func() (err error) {
		if !c.open {
			return batch.UserErrorf("states are declared in Open")
		}
		if h.codec, err = newGoCodec[T](); err != nil {
			return err
		}
		d := logical.StateDecl{Name: name, Kind: kind, Key: key, Fields: h.codec.fields, TTL: c.def.TTL}
		for _, o := range opts {
			if err := o(&d); err != nil {
				return err
			}
		}
		if d.OnRead && d.TTL == 0 {
			return batch.UserErrorf("TTLOnRead without a TTL")
		}
		h.state, err = c.c.State.Declare(d)
		return err
	}()
	if err != nil {
		c.err = firstErr(c.err, fmt.Errorf("state %q: %w", name, err))
	}
	return h
}

// usable refuses a handle that nothing was declared for, or outside a key.
func (h *handle[T]) usable() error {
	if h.c == nil || h.codec == nil {
		return batch.UserErrorf("a state is used that Open has not declared")
	}
	if h.c.open {
		return batch.UserErrorf("state %q is of a key, and Open has none", h.name)
	}
	return nil
}

func (h *handle[T]) get(sub []byte) (v T, ok bool, err error) {
	if err = h.usable(); err != nil {
		return v, false, err
	}
	ok, err = h.c.c.State.Get(h.state, sub, func(stored []byte) (err error) {
		v, err = h.codec.decode(stored)
		return err
	})
	return v, ok, h.about(err)
}

func (h *handle[T]) put(sub []byte, v *T) error {
	if err := h.usable(); err != nil {
		return err
	}
	stored, err := h.codec.encode(v)
	if err == nil {
		err = h.c.c.State.Put(h.state, sub, stored)
	}
	return h.about(err)
}

func (h *handle[T]) delete(sub []byte) error {
	if err := h.usable(); err != nil {
		return err
	}
	return h.about(h.c.c.State.Delete(h.state, sub))
}

func (h *handle[T]) about(err error) error {
	if err != nil {
		return fmt.Errorf("state %q: %w", h.name, err)
	}
	return nil
}

// subs lists what a state has below it.
func (h *handle[T]) subs() (subs [][]byte, err error) {
	if err := h.usable(); err != nil {
		return nil, err
	}
	err = h.c.c.State.Scan(h.state, func(sub, _ []byte) (bool, error) {
		subs = append(subs, append([]byte{}, sub...))
		return true, nil
	})
	return subs, h.about(err)
}

func (h *handle[T]) clear() error {
	subs, err := h.subs()
	if err != nil {
		return err
	}
	for _, s := range subs {
		if err := h.delete(s); err != nil {
			return err
		}
	}
	return nil
}

// ValueState holds one value of T for each key. T is a struct (see FromSlice), or a
// number, text, bool, time, slice or map. Fields that are added at the end of a
// struct later must be pointers, slices or maps: what was stored has none of them.
type ValueState[T any] struct{ h handle[T] }

// NewValueState declares a state in Open.
func NewValueState[T any](c *ProcessorContext, name string, opts ...StateOption) *ValueState[T] {
	return &ValueState[T]{declare[T](c, name, logical.ValueState, nil, opts)}
}

// Get returns the value, and false if there is none.
func (s *ValueState[T]) Get() (T, bool, error) { return s.h.get(nil) }

// Update sets the value.
func (s *ValueState[T]) Update(v T) error { return s.h.put(nil, &v) }

// Clear forgets the value.
func (s *ValueState[T]) Clear() error { return s.h.delete(nil) }

// ListState holds a list of values of T for each key, see ValueState for T.
type ListState[T any] struct{ h handle[T] }

// NewListState declares a state in Open.
func NewListState[T any](c *ProcessorContext, name string, opts ...StateOption) *ListState[T] {
	return &ListState[T]{declare[T](c, name, logical.ListState, nil, opts)}
}

// Append adds values at the end. Each is stored by itself: the list is not read.
func (s *ListState[T]) Append(values ...T) error {
	if len(values) == 0 {
		return s.h.usable()
	}
	next, err := s.next()
	if err != nil {
		return err
	}
	for i := range values {
		sub := binary.BigEndian.AppendUint64([]byte{1}, next)
		if err := s.h.put(sub, &values[i]); err != nil {
			return err
		}
		next++
	}
	return s.h.about(s.h.c.c.State.Put(s.h.state, []byte{0}, binary.AppendUvarint(nil, next)))
}

// next is the number of the next element. It stands in a row of its own, which goes
// with the last of the elements.
func (s *ListState[T]) next() (next uint64, err error) {
	if err := s.h.usable(); err != nil {
		return 0, err
	}
	_, err = s.h.c.c.State.Get(s.h.state, []byte{0}, func(stored []byte) error {
		n, k := binary.Uvarint(stored)
		if next = n; k <= 0 {
			return rowkey.ErrDamaged
		}
		return nil
	})
	return next, s.h.about(err)
}

// Get returns all values, in the order of coming.
func (s *ListState[T]) Get() ([]T, error) {
	if err := s.h.usable(); err != nil {
		return nil, err
	}
	var out []T
	err := s.h.c.c.State.Scan(s.h.state, func(sub, stored []byte) (bool, error) {
		if sub[0] == 0 {
			return true, nil
		}
		v, err := s.h.codec.decode(stored)
		out = append(out, v)
		return true, err
	})
	return out, s.h.about(err)
}

// Iterate visits the values until visit returns false. It may change the state.
func (s *ListState[T]) Iterate(visit func(v T) (bool, error)) error {
	all, err := s.Get()
	for _, v := range all {
		more, err := visit(v)
		if err != nil || !more {
			return err
		}
	}
	return err
}

// Update replaces the list.
func (s *ListState[T]) Update(values []T) error {
	if err := s.Clear(); err != nil {
		return err
	}
	return s.Append(values...)
}

// Clear forgets the list.
func (s *ListState[T]) Clear() error { return s.h.clear() }

// MapState holds a map for each key. K is a number, text, bool or time; see
// ValueState for V. Each entry is stored by itself, in the order of K.
type MapState[K comparable, V any] struct {
	h    handle[V]
	keys *mapKeys[K]
}

// mapKeys makes the sortable form of the keys of maps.
type mapKeys[K comparable] struct {
	codec *goCodec[K]
	enc   *rowkey.Encoder
	rows  rowkey.Rows
	b     array.Builder
}

// NewMapState declares a state in Open.
func NewMapState[K comparable, V any](c *ProcessorContext, name string, opts ...StateOption) *MapState[K, V] {
	s := &MapState[K, V]{keys: &mapKeys[K]{}}
	codec, err := newGoCodec[K]()
	if err == nil && codec.indexes[0] != nil {
		err = batch.UserErrorf("a struct is no key of a map")
	}
	if err == nil {
		s.keys.codec = codec
		s.keys.b = array.NewBuilder(memory.DefaultAllocator, codec.types[0])
		s.keys.enc, err = rowkey.NewEncoder(codec.types)
	}
	if err != nil {
		c.err = firstErr(c.err, fmt.Errorf("state %q: %w", name, err))
		return s
	}
	s.h = declare[V](c, name, logical.MapState, codec.fields, opts)
	return s
}

func (k *mapKeys[K]) encode(key K) ([]byte, error) {
	if err := appendAny(k.b, key); err != nil {
		return nil, err
	}
	arr := k.b.NewArray()
	defer arr.Release()
	if err := k.enc.Encode([]arrow.Array{arr}, 1, &k.rows); err != nil {
		return nil, err
	}
	return k.rows.Row(0), nil
}

func (k *mapKeys[K]) decode(sub []byte) (key K, err error) {
	if err := k.enc.Decode(sub, []array.Builder{k.b}); err != nil {
		return key, err
	}
	arr := k.b.NewArray()
	defer arr.Release()
	return key, setGoOf(&key, arr)
}

// Get returns the value of a key, and false if there is none.
func (s *MapState[K, V]) Get(key K) (v V, ok bool, err error) {
	sub, err := s.sub(key)
	if err != nil {
		return v, false, err
	}
	return s.h.get(sub)
}

// Contains reports whether a key is there.
func (s *MapState[K, V]) Contains(key K) (bool, error) {
	sub, err := s.sub(key)
	if err != nil {
		return false, err
	}
	ok, err := s.h.c.c.State.Get(s.h.state, sub, func([]byte) error { return nil })
	return ok, s.h.about(err)
}

// Put sets the value of a key.
func (s *MapState[K, V]) Put(key K, v V) error {
	sub, err := s.sub(key)
	if err != nil {
		return err
	}
	return s.h.put(sub, &v)
}

// Remove forgets a key.
func (s *MapState[K, V]) Remove(key K) error {
	sub, err := s.sub(key)
	if err != nil {
		return err
	}
	return s.h.delete(sub)
}

// Iterate visits the entries in the order of the keys until visit returns false. It
// may change the state: what is visited is what was there at the start.
func (s *MapState[K, V]) Iterate(visit func(key K, v V) (bool, error)) error {
	if err := s.h.usable(); err != nil {
		return err
	}
	var keys []K
	var values []V
	err := s.h.c.c.State.Scan(s.h.state, func(sub, stored []byte) (bool, error) {
		k, err := s.keys.decode(sub)
		if err != nil {
			return false, err
		}
		v, err := s.h.codec.decode(stored)
		keys, values = append(keys, k), append(values, v)
		return true, err
	})
	if err != nil {
		return s.h.about(err)
	}
	for i, k := range keys {
		if more, err := visit(k, values[i]); err != nil || !more {
			return err
		}
	}
	return nil
}

// Len is the number of entries; it goes over all of them.
func (s *MapState[K, V]) Len() (int, error) {
	subs, err := s.h.subs()
	return len(subs), err
}

// Clear forgets all entries.
func (s *MapState[K, V]) Clear() error { return s.h.clear() }

func (s *MapState[K, V]) sub(key K) ([]byte, error) {
	if err := s.h.usable(); err != nil {
		return nil, err
	}
	return s.keys.encode(key)
}
