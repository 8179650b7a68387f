package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// Objects is a folder of an object store.
type Objects interface {
	checkpoint.Storage
	// Get returns an object of at most limit bytes; os.ErrNotExist if there is none.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// Size returns an object's size; os.ErrNotExist if there is none.
	Size(ctx context.Context, name string) (int64, error)
}

// ErrDamaged is wrapped by the refusal of objects that have changed.
var ErrDamaged = errors.New("the checkpoint is damaged")

// Options say what is shown where. Dir, Journal and State must be set.
type Options struct {
	// Dir is the folder that the checkpoint is shown as. Below it, state is a folder
	// of the machine: the cache of the runs. It must be an absolute path.
	Dir     string
	Journal Objects
	State   Objects
	Disk    vfsx.FS // of the cache; default: the machine's
	// TriesMax is how often a change is put into the store, whose client has its own
	// tries each time; default 6. PauseMin is the wait after the first, which doubles;
	// default 500 ms. More outlives longer failures of the store, with the query
	// standing meanwhile.
	TriesMax int
	PauseMin time.Duration
	// RecordsMax is after how many changes all files are written as one object, so
	// that the next start has less to read; default 512.
	RecordsMax int
	// KeepMin is how long records stay that nobody needs any more; default 10 minutes.
	// A process that stood still for longer than half of it asks, after its next
	// record, whether that number was another's in the meantime (B2).
	KeepMin time.Duration
}

func (o Options) withDefaults() Options {
	if o.Disk == nil {
		o.Disk = vfsx.Machine
	}
	if o.TriesMax <= 0 {
		o.TriesMax = 6
	}
	if o.PauseMin <= 0 {
		o.PauseMin = 500 * time.Millisecond
	}
	if o.RecordsMax <= 0 {
		o.RecordsMax = 512
	}
	if o.KeepMin <= 0 {
		o.KeepMin = 10 * time.Minute
	}
	return o
}

// Place is a checkpoint in a bucket. It is a vfsx.FS for paths below its folder.
type Place struct {
	opt     Options
	dir     string
	writer  [16]byte
	ctx     context.Context
	cancel  context.CancelFunc
	unmount func()
	wg      sync.WaitGroup // of writing all files as one object

	// flushing is held while a record is put, or the journal read: one at a time.
	flushing sync.Mutex

	mu struct {
		sync.Mutex
		loaded    bool
		mem       *vfsx.MemFS // the small files, with what is pending
		seq       uint64      // number of the newest record that is in the store
		pending   []change    // not in the store yet
		bytes     int         // of pending
		broken    error       // B3
		owned     bool        // a Lock of this place is held
		takeOver  bool
		records   int // since all files were written as one object
		grown     int64
		whole     int64 // size of that object
		writing   bool  // it is being written
		closed    bool
		confirmed time.Time // since when, at least, the newest record is known to be ours
		wholes    []aged    // objects with all files, oldest first
	}
}

// aged is an object with all files, and since when this process knows it.
type aged struct {
	seq uint64
	at  time.Time
}

// Open mounts the checkpoint. Nothing is asked of the store before a file is.
func Open(opt Options) (*Place, error) {
	opt = opt.withDefaults()
	p := &Place{opt: opt, dir: filepath.Clean(opt.Dir)}
	if _, err := rand.Read(p.writer[:]); err != nil {
		return nil, fmt.Errorf("draw a writer's ID: %w", err)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	var err error
	if p.unmount, err = vfsx.Mount(p.dir, p); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

// Dir is the folder that the checkpoint is shown as.
func (p *Place) Dir() string { return p.dir }

// String names the place, without secrets.
func (p *Place) String() string { return p.opt.Journal.String() }

// TakeOver says what a Lock does that finds another process's: it takes the
// checkpoint over, so that the other one can change nothing any more, or it fails.
func (p *Place) TakeOver(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.takeOver = on
}

// Close ends the mount. What was not synced is lost, as on any disk.
func (p *Place) Close() error {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	p.unmount()
	return nil
}

// Storage is where the files of the state are durable.
func (p *Place) Storage() checkpoint.Storage { return guarded{p.opt.State, p} }

// guarded is the state's folder, from which only the owner deletes.
type guarded struct {
	Objects
	p *Place
}

// Owned asks whether another process has written to the journal.
func (g guarded) Owned(ctx context.Context) error { return g.p.owner(ctx) }

// owner returns ErrFenced unless this place holds the lock and nobody has written
// the number after its newest.
func (p *Place) owner(ctx context.Context) error {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	p.mu.Lock()
	seq, err, owned := p.mu.seq, p.mu.broken, p.mu.owned
	p.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !owned:
		return fmt.Errorf("%s is not open for writing: %w", p, batch.ErrFenced)
	}
	if err = p.newest(ctx, seq); errors.Is(err, batch.ErrFenced) {
		return p.stop(err)
	}
	return err
}

// newest returns ErrFenced if the journal goes on behind a number. Records may have
// been deleted, but not the newest object with all files, which holds them.
func (p *Place) newest(ctx context.Context, seq uint64) error {
	names, err := p.opt.Journal.List(ctx)
	if err == nil {
		_, err = p.opt.Journal.Size(ctx, recordName(seq+1)) // it may be too new for the list
		if err == nil {
			return p.fenced()
		}
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("ask whether %s is still ours: %w", p, err)
	}
	for _, n := range names {
		r, _ := numberOf(n, recordSuffix)
		w, _ := numberOf(n, wholeSuffix)
		if max(r, w) > seq {
			return p.fenced()
		}
	}
	return nil
}

// since is how long ago a moment was, by the clock that goes on while the machine
// sleeps or by the one that nobody sets, whichever says more.
func since(at time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

// stop keeps everything from being written from now on.
func (p *Place) stop(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.broken == nil {
		p.mu.broken = err
	}
	return err
}

func (p *Place) fenced() error {
	return fmt.Errorf("another process has taken over the checkpoint %s: %w", p, batch.ErrFenced)
}
