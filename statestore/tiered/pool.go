package tiered

import (
	"sync"
	"sync/atomic"

	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/statestore/run"
)

// PoolOptions configure a Pool. The zero value has no limits.
type PoolOptions struct {
	// Budget is that of the process. What state takes in memory, and the cache of
	// blocks, count in it.
	Budget *memory.Budget
	// Share is a part of a budget that the pool keeps to in place of the whole; nil: Budget.
	Share *memory.Tracker
	// HotBytesMax is how much of it rows in memory may take; default two fifths of
	// the budget's limit, less what the cache has above an eighth, without a limit no
	// end. Less reads more from disk.
	HotBytesMax int64
	// CacheBytes is the size of the cache of blocks, which is made when a run is
	// read first; default an eighth of the limit, at most 1 GiB, and up to twice that
	// while the indexes and filters of the open files need it.
	CacheBytes int64
}

// Pool is the room in memory that the stores of a process share.
type Pool struct {
	opt    PoolOptions
	budget *memory.Tracker // of the options; nil for none

	hot atomic.Int64 // bytes of rows in memory, of all stores
	// others is what batches have lately needed besides rows and blocks.
	others atomic.Int64
	cached atomic.Int64 // the size of the cache
	least  atomic.Int64 // what it has at least

	cacheMin int64 // a smaller one is not made

	mu struct {
		sync.Mutex
		cache   *run.Cache
		tracker *memory.Tracker
		stores  map[*Store]struct{}
	}
}

// Parts of the room for rows, in percent: above wakePercent stores begin to push
// rows out until leftPercent is left; above hardPercent a batch does so itself.
const (
	wakePercent = 80
	leftPercent = 40
	hardPercent = 125
)

const (
	cacheBytesMin = 1 << 20
	cacheBytesMax = 1 << 30
	cacheBytes    = 256 << 20 // without a limit
)

// NewPool makes a pool.
func NewPool(opt PoolOptions) *Pool {
	p := &Pool{opt: opt, budget: opt.Share, cacheMin: cacheBytesMin}
	if p.budget == nil && opt.Budget != nil {
		p.budget = &opt.Budget.Tracker
	}
	p.mu.stores = map[*Store]struct{}{}
	return p
}

// Close frees the cache. The stores are closed before.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.cache != nil {
		p.mu.cache.Close()
		p.mu.cache = nil
	}
	if p.mu.tracker != nil {
		p.mu.tracker.Close()
		p.mu.tracker = nil
	}
}

// Hot is how many bytes of rows are in memory.
func (p *Pool) Hot() int64 { return p.hot.Load() }

// hotMax is the room for rows in memory, 0 for no end.
func (p *Pool) hotMax() int64 {
	if p.opt.HotBytesMax > 0 {
		return p.opt.HotBytesMax
	}
	if p.budget == nil {
		return 0
	}
	room := p.budget.Limit() / 5 * 2
	if more := p.cached.Load() - p.least.Load(); more > 0 {
		room -= more
	}
	return room
}

// above reports whether rows take more than a part of their room, with more to come.
func (p *Pool) above(percent, more int64) bool {
	room := p.hotMax()
	return room > 0 && p.hot.Load()+more > room/100*percent
}

// crowded reports whether rows should go: they take most of their room, or the
// process is short of memory.
func (p *Pool) crowded() bool { return p.above(wakePercent, 0) || p.short() }

// short reports whether the process is short of memory and rows take more than
// their least share of it.
func (p *Pool) short() bool {
	return p.budget != nil && p.budget.UnderPressure() && p.above(leftPercent/2, 0)
}

// late reports whether a batch should not begin before rows have gone: those who
// push them out do not keep up, or what batches need besides rows has no room.
func (p *Pool) late() bool {
	if p.above(100, 0) || p.short() {
		return true
	}
	if p.budget == nil || p.budget.Limit() == 0 {
		return false
	}
	others := p.others.Load()
	return p.hot.Load()+others+others/4+p.cached.Load() > p.budget.Limit()/10*9 && p.above(leftPercent/2, 0)
}

// noteOthers looks at what a batch needs besides rows and blocks. What was needed
// once is forgotten over some batches.
func (p *Pool) noteOthers(sealed bool) {
	if p.budget == nil {
		return
	}
	before := p.others.Load()
	now := p.budget.Used() - p.hot.Load() - p.cached.Load()
	if sealed {
		now = max(now, before-before/16)
	}
	if now > before || sealed {
		p.others.Store(now) // it is an estimate: another one's may be lost
	}
}

// blocks returns the cache, which the first one who reads a run makes.
func (p *Pool) blocks() *run.Cache {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.cache != nil {
		return p.mu.cache
	}
	size, most := p.opt.CacheBytes, int64(0)
	if size <= 0 {
		size = cacheBytes
		if p.budget != nil && p.budget.Limit() > 0 {
			size = p.budget.Limit() / 8
			most = 2 * size
		}
	}
	size = min(max(size, p.cacheMin), cacheBytesMax)
	if p.budget != nil {
		p.mu.tracker = p.budget.Child("blocks of state", 0)
		// A process that is short of memory now has a small cache for good: it
		// would be short with a large one, too.
		for p.mu.tracker.Reserve(size) != nil && size > p.cacheMin {
			size = max(size/2, p.cacheMin)
		}
	}
	p.cached.Store(size)
	p.least.Store(size)
	p.mu.cache = run.NewCache(max(size, most))
	p.mu.cache.Resize(size)
	return p.mu.cache
}

// fit gives the cache what the indexes and filters of the open files need, and room
// for blocks of rows beside them, in steps; rows have less room then. A key that is
// looked for needs those of each run. Where one of them is not in memory, a filter of
// hundreds of kilobytes is read and checked for a single bit of it.
func (p *Pool) fit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.mu.cache
	if c == nil || p.mu.tracker == nil {
		return
	}
	const steps = 8 // from the least to the most
	least := p.least.Load()
	step := max(least/steps, 1)
	want := min(max(least, (c.Held()+least/2+step-1)/step*step), c.Max())
	now := p.cached.Load()
	switch {
	case want > now:
		if p.mu.tracker.Reserve(want-now) != nil {
			return // it is tried again with the next files
		}
	case want < now:
		p.mu.tracker.Release(now - want)
	default:
		return
	}
	c.Resize(want)
	p.cached.Store(want)
}

func (p *Pool) join(s *Store) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.stores[s] = struct{}{}
}

func (p *Pool) leave(s *Store) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.stores, s)
}

// wake asks all stores to push rows out.
func (p *Pool) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.mu.stores {
		s.evictions.ask()
	}
}
