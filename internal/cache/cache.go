// Package cache keeps what was used last, within a bound. It knows nothing of what it keeps: whoever uses it has to put all
// that a value depends on into its key, or to look whether it still holds.
package cache

import (
	"container/list"
	"sync"
)

// Cache holds values by key, up to a sum of their costs, and forgets those used longest ago first. One value is kept
// whatever it costs. It may be used from any goroutine; the values are shared, so nobody may change them.
type Cache[K comparable, V any] struct {
	max int64

	mu    sync.Mutex
	cost  int64
	order list.List // of *entry[K, V], the last used first
	byKey map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
	cost  int64
}

// New returns an empty cache for costs of max together, in whatever unit.
func New[K comparable, V any](max int64) *Cache[K, V] {
	return &Cache[K, V]{max: max, byKey: map[K]*list.Element{}}
}

// Get returns the value under a key, if there is one.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*entry[K, V]).value, true
}

// Put keeps a value under a key in the place of what is there.
func (c *Cache[K, V]) Put(key K, value V, cost int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byKey[key]; ok {
		c.drop(el)
	}
	c.byKey[key] = c.order.PushFront(&entry[K, V]{key, value, cost})
	for c.cost += cost; c.cost > c.max && c.order.Len() > 1; {
		c.drop(c.order.Back())
	}
}

// Cost is the sum of the costs of what is kept.
func (c *Cache[K, V]) Cost() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cost
}

// drop needs mu.
func (c *Cache[K, V]) drop(el *list.Element) {
	e := c.order.Remove(el).(*entry[K, V])
	delete(c.byKey, e.key)
	c.cost -= e.cost
}
