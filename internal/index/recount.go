package index

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// recountBatch is how many scopes one transaction counts anew: it writes one key for each.
const recountBatch = 100

// recountAll counts what every scope uses, for an index that was written before that was counted. It is only right while
// nothing else is changed.
func (x *Index) recountAll(ctx context.Context) error {
	var scopes []ballast.Scope
	err := x.skipping(ctx, x.store.View, func(tx Tx, skip skip) (err error) {
		scopes, err = usedScopes(tx, skip)
		return err
	})
	if err != nil {
		return err
	}
	return x.recountScopes(ctx, scopes)
}

// mendUsage counts anew what is damaged of what was counted: everything else of a scope could still be used, and nothing
// new would get in nor end.
func (x *Index) mendUsage(ctx context.Context) error {
	var damaged []ballast.Scope
	err := x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		damaged = nil
		for item, err := range tx.Scan([]byte{kindUsage}, nil, false) {
			if err == nil {
				_, err = decode[ballast.Usage](item.Key, item.Value)
			}
			if err == nil {
				continue
			}
			if err := skip(item.Key, err); err != nil {
				return err
			}
			scope, bad := ballast.ParseScope(partAfter(item.Key, item.Key[:1]))
			if bad == nil && errors.Is(err, ErrCorrupt) {
				damaged = append(damaged, scope)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.recountScopes(ctx, damaged)
}

// recountScopes counts what scopes use, and keeps it.
func (x *Index) recountScopes(ctx context.Context, scopes []ballast.Scope) error {
	for batch := range slices.Chunk(scopes, recountBatch) {
		update := func(ctx context.Context, fn func(Tx) error) error { return x.update(ctx, failpoint.Migrate, fn) }
		err := x.skipping(ctx, update, func(tx Tx, skip skip) error {
			for _, scope := range batch {
				u, err := recount(tx, scope, skip)
				if err != nil {
					return err
				}
				if err := put(tx, usageKey(scope), u); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// usedScopes are those that have versions, blobs or uploads.
func usedScopes(tx Tx, skip skip) (scopes []ballast.Scope, err error) {
	seen := map[ballast.Scope]bool{}
	add := func(s ballast.Scope) {
		if !seen[s] {
			seen[s] = true
			scopes = append(scopes, s)
		}
	}
	for _, kind := range []byte{kindVersion, kindBlob} {
		var from []byte
		for {
			item, ok, err := first(tx.Scan([]byte{kind}, from, false))
			if len(item.Key) == 0 && (err != nil || !ok) {
				if err != nil {
					return nil, err
				}
				break
			}
			text, _, _ := strings.Cut(string(item.Key[1:]), "\x00")
			from = append([]byte{kind}, text+"\x01"...) // behind all of this scope
			scope, err := ballast.ParseScope(text)
			if err != nil {
				if err := skip(item.Key, badKey(item.Key, err)); err != nil {
					return nil, err
				}
				continue
			}
			add(scope)
		}
	}
	for one, err := range readable[Upload](tx.Scan([]byte{kindUpload}, nil, false), skip) {
		if err != nil {
			return nil, err
		}
		add(one.value.Scope)
	}
	return scopes, nil
}

// recount is what a scope uses, by everything that is counted. What cannot be read counts for nothing.
func recount(tx Tx, scope ballast.Scope, skip skip) (u ballast.Usage, err error) {
	for item, err := range tx.Scan(key(kindVersion, scope.String()), nil, false) {
		var v found
		if err == nil {
			v, err = openHead(item)
		}
		if err != nil {
			if err := skip(item.Key, err); err != nil {
				return u, err
			}
			continue
		}
		if v.Status != ballast.StatusDeleted && !v.refused() {
			u.Versions++
		}
	}
	for one, err := range readable[Upload](tx.Scan([]byte{kindUpload}, nil, false), skip) {
		if err != nil {
			return u, err
		}
		if o := one.value; o.Scope == scope && !o.Settled() {
			u.Uploads++
			u.ReservedBytes += o.Held.Bytes
			if o.Held.Version {
				u.ReservedVersions++
			}
		}
	}
	prefix := key(kindBlob, scope.String())
	for one, err := range readable[Blob](tx.Scan(prefix, nil, false), skip) {
		if err != nil {
			return u, err
		}
		d := digest.NewDigestFromEncoded(digest.SHA256, partAfter(one.key, prefix))
		pins, err := pinsBeside(tx, scope, d, "", one.value)
		if err != nil {
			if err := skip(one.key, err); err != nil {
				return u, err
			}
			continue
		}
		bytes, open, err := weigh(tx, scope, d, one.value, pins)
		if err != nil {
			return u, err
		}
		u.Bytes, u.UploadBytes = u.Bytes+bytes, u.UploadBytes+open
	}
	return u, nil
}
