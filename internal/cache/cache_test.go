package cache_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast/internal/cache"
)

// TestCache holds a cache to the plainest form of the same: a list, the last used first.
func TestCache(t *testing.T) {
	type item struct{ key, value, cost int }
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		c := cache.New[int, int](int64(limit))
		var model []item
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := rapid.IntRange(0, 6).Draw(t, "key")
			at := -1
			for i, m := range model {
				if m.key == key {
					at = i
				}
			}
			if rapid.Bool().Draw(t, "put") {
				added := item{key, rapid.Int().Draw(t, "value"), rapid.IntRange(1, 25).Draw(t, "cost")}
				c.Put(added.key, added.value, int64(added.cost))
				if at >= 0 {
					model = append(model[:at:at], model[at+1:]...)
				}
				model = append([]item{added}, model...)
			} else {
				got, ok := c.Get(key)
				if ok != (at >= 0) || ok && got != model[at].value {
					t.Fatalf("get %d: %d, %v; the model has %v", key, got, ok, model)
				}
				if ok {
					found := model[at]
					model = append([]item{found}, append(model[:at:at], model[at+1:]...)...)
				}
			}
			total := 0
			for i, m := range model {
				if total += m.cost; total > limit && i > 0 {
					total -= m.cost
					model = model[:i]
					break
				}
			}
			if int64(total) != c.Cost() {
				t.Fatalf("cost %d, want %d", c.Cost(), total)
			}
		}
	})
}
