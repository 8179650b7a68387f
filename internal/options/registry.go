package options

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
)

// Registry holds what can be named in SQL, such as connectors, by name.
type Registry[T any] struct {
	kind   string
	byName map[string]T
}

// NewRegistry makes a registry of items; kind is what errors call one.
func NewRegistry[T any](kind string, name func(T) string, items ...T) *Registry[T] {
	r := &Registry[T]{kind: kind, byName: map[string]T{}}
	for _, it := range items {
		r.byName[name(it)] = it
	}
	return r
}

// Lookup returns the item of that name, or an error with the nearest name.
func (r *Registry[T]) Lookup(name string) (T, error) {
	it, ok := r.byName[name]
	if !ok {
		return it, batch.UserErrorf("unknown %s %q%s", r.kind, name, Suggest(name, r.Names()))
	}
	return it, nil
}

// Names lists the items in order.
func (r *Registry[T]) Names() []string {
	names := make([]string, 0, len(r.byName))
	for n := range r.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
