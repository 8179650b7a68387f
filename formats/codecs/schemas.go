package codecs

import (
	"context"
	"sync"

	"github.com/sluice-stream/sluice/formats/registry"
)

// maxParsed bounds the schemas that are kept parsed.
const maxParsed = 1000

// schemas keeps what was made of a registry's schemas, by their IDs. What an ID means
// never changes.
type schemas[T any] struct {
	mu struct {
		sync.Mutex
		made map[int32]T
	}
}

// get returns what is made of the schema with an ID.
func (k *schemas[T]) get(ctx context.Context, from *registry.Client, id int32, of func(context.Context, *registry.Schema) (T, error)) (T, error) {
	k.mu.Lock()
	v, ok := k.mu.made[id]
	k.mu.Unlock()
	if ok {
		return v, nil
	}
	got, err := from.ByID(ctx, id)
	if err != nil {
		return v, err
	}
	if v, err = of(ctx, got); err != nil {
		return v, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.made == nil || len(k.mu.made) >= maxParsed {
		k.mu.made = map[int32]T{}
	}
	k.mu.made[id] = v
	return v, nil
}
