package objstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
)

// refreshPause is how long a refresh that was no use is not repeated. A role whose sessions are shorter than a URL's
// life, or an instance whose keys rotate on their own clock, would else be asked at every signature.
const refreshPause = time.Minute

// identity hands out credentials with enough life in them, and the last good ones while their source is out of order.
type identity struct {
	name     string
	cache    *aws.CredentialsCache
	instance bool // nothing was set, so the machine's metadata service is asked

	mu        sync.Mutex
	last      aws.Credentials
	refreshed time.Time
}

func newIdentity(name string, loaded aws.Config) *identity {
	cache, ok := loaded.Credentials.(*aws.CredentialsCache)
	if !ok {
		cache = aws.NewCredentialsCache(loaded.Credentials)
	}
	return &identity{name: name, cache: cache, instance: cache.IsCredentialsProvider((*ec2rolecreds.Provider)(nil))}
}

// Retrieve implements aws.CredentialsProvider for calls that are sent at once.
func (id *identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	return id.credentials(ctx, "", 0)
}

func (id *identity) called() string { return id.name }

// credentials implements signatory: the same ones for every key, and what there is where none live long enough.
func (id *identity) credentials(ctx context.Context, _ string, life time.Duration) (aws.Credentials, error) {
	held, err := id.retrieve(ctx)
	if err != nil || !id.dueForRefresh(held, life) {
		return held, err
	}
	id.cache.Invalidate()
	return id.retrieve(ctx)
}

func (id *identity) retrieve(ctx context.Context) (aws.Credentials, error) {
	creds, err := id.cache.Retrieve(ctx)
	id.mu.Lock()
	defer id.mu.Unlock()
	switch {
	case err == nil:
		id.last = creds
		return creds, nil
	case id.last.HasKeys() && !id.last.Expired():
		return id.last, nil
	}
	return aws.Credentials{}, fmt.Errorf("credentials of %s: %w", id.name, err)
}

// dueForRefresh also books the refresh, so that only one of many callers asks.
func (id *identity) dueForRefresh(held aws.Credentials, life time.Duration) bool {
	now := time.Now()
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
