package eval

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// memberSet tests values for membership in a list of constants.
type memberSet struct {
	ints    map[int64]struct{}
	strs    map[string]struct{}
	encoded map[string]struct{} // of other types, by their encoding
	hasNull bool
	negated bool
	width   int
}

func newMemberSet(e *expr.In) (*memberSet, error) {
	s := &memberSet{negated: e.Negated}
	switch e.Arg.Type().ID() {
	case arrow.STRING:
		s.strs = map[string]struct{}{}
	case arrow.INT32, arrow.DATE32, arrow.INTERVAL_MONTHS:
		s.ints, s.width = map[int64]struct{}{}, 32
	case arrow.INT64, arrow.TIMESTAMP, arrow.DURATION, arrow.TIME64:
		s.ints, s.width = map[int64]struct{}{}, 64
	default:
		s.encoded = map[string]struct{}{}
	}
	for _, l := range e.List {
		switch v := l.Value.(type) {
		case nil:
			s.hasNull = true
			continue
		case string:
			if s.strs != nil {
				s.strs[v] = struct{}{}
				continue
			}
		case int64:
			if s.ints != nil {
				s.ints[v] = struct{}{}
				continue
			}
		}
		arr, err := l.Array(memory.DefaultAllocator)
		if err != nil {
			return nil, err
		}
		s.encoded[string(vec.Encode(nil, arr, 0))] = struct{}{}
	}
	return s, nil
}

func (s *memberSet) has(a expr.Vec) func(i int) bool {
	switch {
	case s.strs != nil:
		v := vec.StringsOf(a.Arr)
		return func(i int) bool { _, ok := s.strs[v.Str(i)]; return ok }
	case s.width == 32:
		v := vec.Values[int32](a.Arr)
		return func(i int) bool { _, ok := s.ints[int64(v[i])]; return ok }
	case s.width == 64:
		v := vec.Values[int64](a.Arr)
		return func(i int) bool { _, ok := s.ints[v[i]]; return ok }
	}
	var key []byte
	return func(i int) bool {
		key = vec.Encode(key[:0], a.Arr, i)
		_, ok := s.encoded[string(key)]
		return ok
	}
}

// test computes the membership of n values.
func (s *memberSet) test(kc *expr.KernelContext, a expr.Vec, n int) expr.Vec {
	m := vec.StrictMask(kc.Alloc, []expr.Vec{a}, n)
	if m.AllNull() {
		m.Release()
		return expr.Vec{Arr: vec.NullArray(kc.Alloc, expr.TypeBool, n), Const: a.Const}
	}
	buf := vec.NewBits(kc.Alloc, n)
	out := buf.Bytes()
	has := s.has(a)
	for i := range n {
		if m.IsNull(i) {
			continue
		}
		found := has(i)
		if !found && s.hasNull {
			m.SetNull(i)
			continue
		}
		if found != s.negated {
			out[i>>3] |= 1 << (i & 7)
		}
	}
	return expr.Vec{Arr: m.Array(expr.TypeBool, buf), Const: a.Const}
}
