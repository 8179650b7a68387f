package worker

import "slices"

// Load is what a worker has to do at a moment.
type Load struct {
	Slots   int
	Running int // tasks that hold slots
	Waiting int // tasks that wait for one, begun or not
	Plans   int // deployed
	// Shards of state that plans have open, with their rows and bytes.
	Shards      int
	Rows, Bytes int64
}

// Load tells what the worker has to do.
func (w *Worker) Load() Load {
	w.mu.Lock()
	keys := make([]string, 0, len(w.mu.plans))
	for k, p := range w.mu.plans {
		if p.opened() {
			keys = append(keys, k)
		}
	}
	out := Load{Slots: w.slots.count, Plans: len(w.mu.plans)}
	w.mu.Unlock()
	slices.Sort(keys)
	out.Running, out.Waiting = w.slots.load()
	for _, k := range keys {
		for _, u := range w.StateUse(k) {
			out.Shards++
			out.Rows += u.Rows
			out.Bytes += u.Bytes
		}
	}
	return out
}

// opened reports whether a plan is ready, so that nobody has to wait for it.
func (p *plan) opened() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// load counts the tasks that hold slots, and those that wait for one.
func (s *slots) load() (running, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting = s.mu.queued
	for _, f := range s.mu.waiting {
		waiting += len(f.again)
	}
	return len(s.mu.running), waiting
}
