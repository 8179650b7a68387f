package run

import (
	"bytes"
	"context"
	"errors"
	"sort"
)

// Slice is the part of a file that belongs to some key groups: the rows whose
// first byte is in [First, End). A file may be shared by several shards after
// the number of partitions has changed.
type Slice struct {
	File       *File
	First, End int
}

// Empty reports whether the file has nothing for the key groups. Such a slice
// must not be part of a Level: it would be in nobody's order.
func (s *Slice) Empty() bool {
	return s.First >= s.End || int(s.File.High[0]) < s.First || int(s.File.Low[0]) >= s.End
}

// low is the least key that the slice may hold.
func (s *Slice) low() []byte {
	if int(s.File.Low[0]) < s.First {
		return []byte{byte(s.First)}
	}
	return s.File.Low
}

// below reports whether every row of the slice is below a key.
func (s *Slice) below(key []byte) bool {
	return bytes.Compare(s.File.High, key) < 0 || s.End <= int(key[0])
}

// holds reports whether a key may be in the slice.
func (s *Slice) holds(key []byte) bool {
	return int(key[0]) >= s.First && int(key[0]) < s.End && bytes.Compare(key, s.File.Low) >= 0 && bytes.Compare(key, s.File.High) <= 0
}

// Level is a run: slices in key order that do not overlap, none of them empty.
type Level []Slice

// find returns the first slice that may hold rows at or above a key.
func (l Level) find(key []byte) int {
	return sort.Search(len(l), func(i int) bool { return !l[i].below(key) })
}

// Stack is runs over each other, the oldest first (R3).
type Stack []Level

// openMax is from how many iterators on a Lookup closes those that it is not at: each
// holds blocks that the cache cannot let go, some 20 KiB.
const openMax = 128

// Lookup finds rows of a stack by their keys. It is used by one goroutine, and
// fast for keys that come in order.
type Lookup struct {
	ctx    context.Context
	levels []finder // the newest first
	iters  map[*File]*Iter
	last   []byte
	asked  bool

	cache *Cache // of the files; nil without one
}

type finder struct {
	level Level
	at    int // of the slice that the last key belonged to
	it    *Iter
	fresh bool // it has not been asked since keys began to come in order
	lost  bool // the slice has to be looked for: keys went back
	bare  bool // its filters are not asked
	once  bool // what is read for it does not stay in the cache
	rows  int64
	bytes int64 // of its tables
}

// Lookup starts looking; ctx is asked now and then.
func (s Stack) Lookup(ctx context.Context) *Lookup {
	l := &Lookup{ctx: ctx, levels: make([]finder, len(s)), iters: map[*File]*Iter{}}
	for i, level := range s {
		l.levels[len(s)-1-i] = finder{level: level, at: -1, lost: true}
	}
	for n, level := range s {
		for i := range level {
			l.levels[len(s)-1-n].rows += level[i].File.Rows
			l.levels[len(s)-1-n].bytes += level[i].File.Table
			l.cache = level[i].File.cache
		}
	}
	return l
}

// denseKeys is from how many keys a file on its filter is worth reading for them,
// denseRows up to how many rows a key it is asked. Up to fewKeys the filters of small
// runs are asked, too: most keys are in none of them, and a batch of a hundred keys
// that looked into the blocks of twenty spent more time there than in the large ones.
const (
	denseKeys = 16
	denseRows = 16
	fewKeys   = 512
)

// Expect says that so many keys are asked for next, in order, and whether most of them
// are thought to be there, which decides whether filters are asked. Where every block
// has some of the keys anyway, to look for a key where the last one was costs less than
// its filter. The oldest run holds most rows, and has most of the keys that are there:
// its filters would say so of each. And a filter is one block of a hundred times the
// size of others: where not all of them fit into the cache, a few keys of each file of
// the oldest run are looked for without, whether they are there or not.
//
// Many keys go through runs from front to back. If those do not fit into the cache
// they leave it as it is: it would hold nothing of theirs when the next ones come.
func (l *Lookup) Expect(n int, there bool) error {
	changed, size := false, int64(0)
	crowded := l.cache == nil || l.cache.crowded()
	for i := range l.levels {
		f := &l.levels[i]
		oldest := i == len(l.levels)-1
		bare := n > fewKeys && int64(n)*denseRows >= f.rows || oldest && (there || crowded && n < denseKeys*len(f.level))
		changed = changed || bare != f.bare
		if f.bare = bare; bare {
			size += f.bytes * unpacked
		}
	}
	for i := range l.levels {
		f := &l.levels[i]
		once := f.bare && n > fewKeys && l.cache != nil && size > l.cache.Size()/2
		changed = changed || once != f.once
		f.once = once
	}
	if !changed {
		return nil
	}
	return l.Close()
}

// unpacked is how many bytes of blocks in memory one of a table makes.
const unpacked = 2

// Get returns the value of a key's newest row, unless that is a deleted one. The
// value is valid until the next call.
func (l *Lookup) Get(key []byte) (value []byte, ok bool, err error) {
	if len(key) == 0 {
		return nil, false, nil
	}
	onward := l.asked && bytes.Compare(l.last, key) <= 0
	l.last, l.asked = append(l.last[:0], key...), true
	if !onward {
		for i := range l.levels { // also those that are not asked for this key
			l.levels[i].lost = true
		}
	}
	for i := range l.levels {
		f := &l.levels[i]
		if f.lost || f.at < len(f.level) && f.level[f.at].below(key) {
			if at := f.level.find(key); at != f.at {
				if err := l.leave(f); err != nil {
					return nil, false, err
				}
				f.at = at
			}
			f.fresh, f.lost = f.fresh || f.lost, false
		}
		if f.at >= len(f.level) || !f.level[f.at].holds(key) {
			continue
		}
		if f.it == nil {
			if f.it, err = l.iter(f.level[f.at].File, f); err != nil {
				return nil, false, err
			}
			f.fresh = true
		}
		value, deleted, ok, err := f.it.get(key, onward && !f.fresh)
		f.fresh = false
		if err != nil {
			return nil, false, err
		}
		if ok {
			return value, !deleted, nil
		}
	}
	return nil, false, nil
}

// leave goes away from a level's file. What was read of it for once is let go.
func (l *Lookup) leave(f *finder) error {
	it := f.it
	f.it = nil
	if it == nil || !f.once {
		return nil
	}
	delete(l.iters, it.f)
	return it.close()
}

// iter returns the iterator over a file of a level.
func (l *Lookup) iter(f *File, of *finder) (*Iter, error) {
	if it := l.iters[f]; it != nil {
		return it, nil
	}
	if err := l.ctx.Err(); err != nil {
		return nil, context.Cause(l.ctx)
	}
	if len(l.iters) >= openMax {
		if err := l.shed(); err != nil {
			return nil, err
		}
	}
	var it *Iter
	var err error
	if of.once {
		it, err = f.once()
	} else {
		it, err = f.Iter(!of.bare)
	}
	if err != nil {
		return nil, err
	}
	l.iters[f] = it
	return it, nil
}

// shed frees the iterators over files that no level is at.
func (l *Lookup) shed() error {
	at := make(map[*Iter]bool, len(l.levels))
	for i := range l.levels {
		if it := l.levels[i].it; it != nil {
			at[it] = true
		}
	}
	var errs []error
	for f, it := range l.iters {
		if !at[it] {
			errs = append(errs, it.close())
			delete(l.iters, f)
		}
	}
	return errors.Join(errs...)
}

// Close frees the iterators. The Lookup may be used again.
func (l *Lookup) Close() error {
	var errs []error
	for _, it := range l.iters {
		errs = append(errs, it.close())
	}
	clear(l.iters)
	for i := range l.levels {
		l.levels[i].it, l.levels[i].at, l.levels[i].lost = nil, -1, true
	}
	return errors.Join(errs...)
}

// Rows goes through the rows of a stack in key order, of each key the newest.
// It is used by one goroutine.
type Rows struct {
	heap []*levelRows // a heap by key, then the newest first
	top  *levelRows   // the current row
	skip []byte       // scratch: the key that was current
}

type levelRows struct {
	level Level
	at    int
	it    *Iter
	age   int // 0 is the newest
	once  bool
}

// Rows starts before the first row.
func (s Stack) Rows() *Rows { return s.rows(false) }

// All is Rows for reading all of them: nothing of that stays in the cache.
func (s Stack) All() *Rows { return s.rows(true) }

func (s Stack) rows(once bool) *Rows {
	r := &Rows{}
	for i := range s {
		level := s[len(s)-1-i]
		r.heap = append(r.heap, &levelRows{level: level, age: i, once: once})
	}
	return r
}

// Seek goes to the first row whose key is not below start, and reports whether
// there is one. It is called once, first.
func (r *Rows) Seek(start []byte) (bool, error) {
	all := r.heap
	r.heap = r.heap[:0:len(all)]
	for i, l := range all {
		ok, err := l.seek(start)
		if err == nil && ok {
			r.push(l)
			continue
		}
		if e := l.close(); err == nil {
			err = e
		}
		if err != nil {
			r.heap = append(r.heap, all[i+1:]...)
			return false, err
		}
	}
	return r.settle()
}

// Next goes on to the next key.
func (r *Rows) Next() (bool, error) {
	r.skip = append(r.skip[:0], r.top.it.key...)
	for len(r.heap) > 0 && string(r.heap[0].it.key) == string(r.skip) {
		ok, err := r.heap[0].next()
		if err != nil {
			return false, err
		}
		if ok {
			r.down(0)
			continue
		}
		gone := r.heap[0]
		n := len(r.heap) - 1
		r.heap[0] = r.heap[n]
		r.heap = r.heap[:n]
		if n > 0 {
			r.down(0)
		}
		if err := gone.close(); err != nil {
			return false, err
		}
	}
	return r.settle()
}

func (r *Rows) settle() (bool, error) {
	if len(r.heap) == 0 {
		r.top = nil
		return false, nil
	}
	r.top = r.heap[0]
	return true, nil
}

// Key, Value and Deleted are of the current row, valid until Next.
func (r *Rows) Key() []byte   { return r.top.it.key }
func (r *Rows) Value() []byte { return r.top.it.value }
func (r *Rows) Deleted() bool { return r.top.it.deleted }

// Close frees the iterators.
func (r *Rows) Close() error {
	var errs []error
	for _, l := range r.heap {
		errs = append(errs, l.close())
	}
	r.heap, r.top = nil, nil
	return errors.Join(errs...)
}

func (r *Rows) less(a, b *levelRows) bool {
	c := bytes.Compare(a.it.key, b.it.key)
	return c < 0 || c == 0 && a.age < b.age
}

func (r *Rows) push(l *levelRows) {
	r.heap = append(r.heap, l)
	for i := len(r.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !r.less(r.heap[i], r.heap[up]) {
			return
		}
		r.heap[i], r.heap[up] = r.heap[up], r.heap[i]
		i = up
	}
}

func (r *Rows) down(i int) {
	for {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(r.heap) && r.less(r.heap[c], r.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		r.heap[i], r.heap[least] = r.heap[least], r.heap[i]
		i = least
	}
}

// seek goes to the first row at or above a key.
func (l *levelRows) seek(start []byte) (bool, error) {
	if len(start) > 0 {
		l.at = l.level.find(start)
	}
	return l.open(start)
}

// open goes to the first row of the slice at l.at or a later one.
func (l *levelRows) open(start []byte) (bool, error) {
	for ; l.at < len(l.level); l.at++ {
		s := &l.level[l.at]
		var err error
		if l.it, err = l.iter(s.File); err != nil {
			return false, err
		}
		from := start
		if low := s.low(); bytes.Compare(from, low) < 0 {
			from = low
		}
		ok, err := l.it.seek(from)
		if err != nil {
			return false, err
		}
		if ok && int(l.it.key[0]) < s.End {
			return true, nil
		}
		if err := l.close(); err != nil {
			return false, err
		}
	}
	return false, nil
}

func (l *levelRows) iter(f *File) (*Iter, error) {
	if l.once {
		return f.once()
	}
	return f.Iter(false)
}

func (l *levelRows) next() (bool, error) {
	ok, err := l.it.next()
	if err != nil {
		return false, err
	}
	if ok && int(l.it.key[0]) < l.level[l.at].End {
		return true, nil
	}
	if err := l.close(); err != nil {
		return false, err
	}
	l.at++
	return l.open(nil)
}

func (l *levelRows) close() error {
	if l.it == nil {
		return nil
	}
	it := l.it
	l.it = nil
	return it.close()
}
