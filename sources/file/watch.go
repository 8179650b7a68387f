package file

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watcher tells that files may have come: at once where the system tells of
// them, and on every poll interval in any case, since a network file system
// tells of nothing.
type watcher struct {
	changed chan struct{}
	done    chan struct{}
	joined  sync.WaitGroup
}

// maxWatches bounds the directories that are watched; more are polled only.
const maxWatches = 1024

func startWatch(t *table, poll time.Duration) *watcher {
	w := &watcher{changed: make(chan struct{}, 1), done: make(chan struct{})}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		events = nil // out of watches: polling does
	} else {
		addDirs(events, t)
	}
	w.joined.Add(1)
	go func() {
		defer w.joined.Done()
		w.run(events, max(poll, time.Millisecond))
	}()
	return w
}

func addDirs(events *fsnotify.Watcher, t *table) {
	root := t.path
	if i := strings.IndexAny(root, "*?["); i >= 0 {
		root = filepath.Dir(root[:i] + "x")
	}
	if info, err := os.Stat(root); err == nil && !info.IsDir() {
		root = filepath.Dir(root)
	}
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error { // what cannot be watched is polled
		if err != nil || !d.IsDir() {
			return nil
		}
		if path != root && hidden(d.Name()) {
			return filepath.SkipDir
		}
		if len(events.WatchList()) >= maxWatches || events.Add(path) != nil {
			return filepath.SkipAll
		}
		return nil
	})
}

func (w *watcher) run(events *fsnotify.Watcher, poll time.Duration) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var came <-chan fsnotify.Event
	var errs <-chan error
	if events != nil {
		defer events.Close()
		came, errs = events.Events, events.Errors
	}
	for {
		select {
		case <-w.done:
			return
		case <-tick.C:
			w.notify()
		case e, ok := <-came:
			if !ok {
				came = nil
				continue
			}
			if hidden(filepath.Base(e.Name)) || !e.Has(fsnotify.Create|fsnotify.Write|fsnotify.Rename) {
				continue
			}
			if e.Has(fsnotify.Create) && len(events.WatchList()) < maxWatches {
				if info, err := os.Stat(e.Name); err == nil && info.IsDir() {
					_ = events.Add(e.Name) // else it is polled
				}
			}
			w.notify()
		case _, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			w.notify() // events were lost: look
		}
	}
}

// notify puts a value into the channel if it has none.
func (w *watcher) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watcher) stop() {
	close(w.done)
	w.joined.Wait()
}
