package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// errOversize says that an object is larger than anything the registry writes under its key.
var errOversize = errors.New("engine: object larger than it can be")

// readAll reads a small object whole, at most limit bytes. Errors: errOversize.
func readAll(ctx context.Context, b objstore.Bucket, key string, limit int64) (body []byte, obj objstore.Object, err error) {
	r, obj, err := b.Get(ctx, key, objstore.ReadOptions{})
	if err != nil {
		return nil, obj, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if body, err = io.ReadAll(io.LimitReader(r, limit+1)); err == nil && int64(len(body)) > limit {
		err = fmt.Errorf("%w: %q has over %d bytes", errOversize, key, limit)
	}
	return body, obj, err
}

// scopesIn yields the scopes that have objects, without listing the objects: it jumps from one tenant to the next.
func scopesIn(ctx context.Context, b objstore.Bucket) iter.Seq2[ballast.Scope, error] {
	return func(yield func(ballast.Scope, error) bool) {
		if !yield(ballast.Global, nil) {
			return
		}
		after := ""
		for {
			tenant, err := nextTenant(ctx, b, after)
			if err != nil {
				yield(ballast.Scope{}, err)
				return
			}
			if tenant == "" {
				return
			}
			if scope, err := ballast.ParseScope(tenant); err == nil && !yield(scope, nil) {
				return
			}
			after = "tenants/" + tenant + "0" // the first text after everything that begins with "tenants/<tenant>/"
		}
	}
}

// nextTenant is the first tenant that has an object behind a key, "" at the end. What lies beside the folders of tenants is
// passed over: markers of folders, as consoles of stores leave them, hide nobody.
func nextTenant(ctx context.Context, b objstore.Bucket, after string) (string, error) {
	for obj, err := range b.List(ctx, "tenants/", after) {
		if err != nil {
			return "", err
		}
		if tenant, _, ok := strings.Cut(strings.TrimPrefix(obj.Key, "tenants/"), "/"); ok && tenant != "" {
			return tenant, nil
		}
	}
	return "", nil
}
