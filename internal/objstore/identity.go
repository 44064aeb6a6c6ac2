package objstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// refreshPause is how long a refresh that was no use is not repeated. A role whose sessions are shorter than a URL's
// life, or an instance whose keys rotate on their own clock, would else be asked at every signature.
const refreshPause = time.Minute

// identity hands out credentials with enough life in them.
type identity struct {
	name  string
	cache *aws.CredentialsCache
	now   func() time.Time

	mu        sync.Mutex
	refreshed time.Time
}

func newIdentity(name string, loaded aws.Config) *identity {
	cache, ok := loaded.Credentials.(*aws.CredentialsCache)
	if !ok {
		cache = aws.NewCredentialsCache(loaded.Credentials)
	}
	return &identity{name: name, cache: cache, now: time.Now}
}

// credentials returns some that live for at least life where the provider has such, else what there is.
func (id *identity) credentials(ctx context.Context, life time.Duration) (aws.Credentials, error) {
	held, err := id.cache.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("credentials of %s: %w", id.name, err)
	}
	if !id.dueForRefresh(held, life) {
		return held, nil
	}
	id.cache.Invalidate()
	fresh, err := id.cache.Retrieve(ctx)
	if err != nil {
		return held, nil // still valid; the next signature after the pause tries again
	}
	return fresh, nil
}

func (id *identity) dueForRefresh(held aws.Credentials, life time.Duration) bool {
	now := id.now()
	if !held.CanExpire || !held.Expires.Before(now.Add(life)) {
		return false
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if now.Sub(id.refreshed) < refreshPause {
		return false
	}
	id.refreshed = now
	return true
}
