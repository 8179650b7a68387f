package registry

import "container/list"

// lru keeps what was used last, up to a bound. Its owner locks it.
type lru[K comparable, V any] struct {
	most  int
	order *list.List // of pair, the last used first
	at    map[K]*list.Element
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](most int) lru[K, V] {
	return lru[K, V]{most: most, order: list.New(), at: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.at[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(pair[K, V]).value, true
}

func (l *lru[K, V]) put(k K, v V) {
	l.remove(k)
	l.at[k] = l.order.PushFront(pair[K, V]{k, v})
	for len(l.at) > l.most {
		last := l.order.Back()
		delete(l.at, last.Value.(pair[K, V]).key)
		l.order.Remove(last)
	}
}

func (l *lru[K, V]) remove(k K) {
	if e, ok := l.at[k]; ok {
		l.order.Remove(e)
		delete(l.at, k)
	}
}
