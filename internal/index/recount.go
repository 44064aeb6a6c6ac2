package index

import (
	"bytes"
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

// recountScopes counts what scopes use, and keeps it. It is only right while nothing else is changed.
func (x *Index) recountScopes(ctx context.Context, scopes []ballast.Scope) error {
	for batch := range slices.Chunk(scopes, recountBatch) {
		counted := make([]ballast.Usage, len(batch))
		for i, scope := range batch {
			var err error
			if counted[i], err = x.recount(ctx, scope); err != nil {
				return err
			}
		}
		err := x.update(ctx, failpoint.Migrate, func(tx Tx) error {
			for i, scope := range batch {
				if err := put(tx, usageKey(scope), counted[i]); err != nil {
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

// recountPage is how many items a count takes from one snapshot while nothing else is changed.
const recountPage = 1000

// recount is what a scope uses, by everything that is counted. What cannot be read counts for nothing and is reported.
func (x *Index) recount(ctx context.Context, scope ballast.Scope) (ballast.Usage, error) {
	c := count{scope: scope}
	for !c.over() {
		var next count
		err := x.skipping(ctx, x.store.View, func(tx Tx, skip skip) (err error) {
			next, err = c.on(tx, skip, recountPage)
			return err
		})
		if err != nil {
			return c.used, err
		}
		c = next
	}
	return c.used, nil
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

// countedKinds are the kinds of items that count for what a scope uses, in the order in which they are looked at.
const countedKinds = string(kindVersion) + string(kindUpload) + string(kindBlob)

// count is how far a count of what a scope uses has come. It goes on from snapshot to snapshot.
type count struct {
	scope ballast.Scope
	used  ballast.Usage // by the items so far
	kind  int           // which of countedKinds is looked at
	after []byte        // its last item so far; nil before the first
}

func (c count) over() bool { return c.kind == len(countedKinds) }

// on counts up to limit items more. What cannot be read counts for nothing where skip lets it pass.
func (c count) on(tx Tx, skip skip, limit int) (count, error) {
	c.after = bytes.Clone(c.after) // it is written over
	for ; !c.over(); c.kind, c.after = c.kind+1, nil {
		prefix := key(countedKinds[c.kind], c.scope.String())
		if countedKinds[c.kind] == kindUpload {
			prefix = prefix[:1] // they are those of all scopes
		}
		for item, err := range tx.Scan(prefix, behind(c.after), false) {
			if len(item.Key) == 0 {
				return c, err
			}
			if limit == 0 {
				return c, nil
			}
			limit--
			c.after = append(c.after[:0], item.Key...)
			if err == nil {
				err = c.add(tx, item)
			}
			if err != nil {
				if err := skip(item.Key, err); err != nil {
					return c, err
				}
			}
		}
	}
	return c, nil
}

// add counts one item.
func (c *count) add(tx Tx, item Item) error {
	switch countedKinds[c.kind] {
	case kindVersion:
		v, err := openHead(item)
		if err == nil && v.Status != ballast.StatusDeleted && !v.refused() {
			c.used.Versions++
		}
		return err
	case kindUpload:
		u, err := decode[Upload](item.Key, item.Value)
		if err != nil || u.Scope != c.scope || u.Settled() {
			return err
		}
		c.used.Uploads++
		c.used.ReservedBytes += u.Held.Bytes
		if u.Held.Version {
			c.used.ReservedVersions++
		}
		return nil
	}
	b, err := decode[Blob](item.Key, item.Value)
	if err != nil {
		return err
	}
	d := digest.NewDigestFromEncoded(digest.SHA256, partAfter(item.Key, key(kindBlob, c.scope.String())))
	pins, err := pinsBeside(tx, c.scope, d, "", b)
	if err != nil {
		return err
	}
	all, open, err := weigh(tx, c.scope, d, b, pins)
	if err != nil {
		return err
	}
	c.used.Bytes, c.used.UploadBytes = c.used.Bytes+all, c.used.UploadBytes+open
	return nil
}

// ErrMoved says that the index was changed while something was read that takes several snapshots.
var ErrMoved = errors.New("index: changed meanwhile")

// CountUsage returns what a scope uses by the counter and what it uses when everything is counted anew: all blobs and
// versions of the scope and all uploads, limit of them in one snapshot. Errors: ErrMoved when that takes several and
// anything at all was changed between them; ErrCorrupt when something that counts cannot be read.
func (x *Index) CountUsage(ctx context.Context, scope ballast.Scope, limit int) (kept, counted ballast.Usage, err error) {
	began, quiet := x.store.still()
	c := count{scope: scope}
	for alone := true; !c.over(); alone = false {
		var next count
		err := x.store.View(ctx, func(tx Tx) (err error) {
			if kept, _, err = lookup[ballast.Usage](tx, usageKey(scope)); err != nil {
				return err
			}
			next, err = c.on(tx, func(_ []byte, err error) error { return err }, limit)
			return err
		})
		if err != nil {
			return kept, counted, err
		}
		c = next
		if now, _ := x.store.still(); (!quiet || now != began) && !(alone && c.over()) {
			return kept, counted, ErrMoved
		}
	}
	return kept, c.used, nil
}

// CorrectUsage takes from the counter of a scope by how much it was wrong when CountUsage looked. Every other transaction
// changes the counter by what it changes in what is counted, so that it stays wrong by the same until somebody corrects it:
// one at a time may. No item is read but the counter.
func (x *Index) CorrectUsage(ctx context.Context, scope ballast.Scope, kept, counted ballast.Usage) error {
	return x.update(ctx, failpoint.Recount, func(tx Tx) error {
		return withAccount(tx, scope, func(a *account) error {
			a.now.Bytes += counted.Bytes - kept.Bytes
			a.now.UploadBytes += counted.UploadBytes - kept.UploadBytes
			a.now.ReservedBytes += counted.ReservedBytes - kept.ReservedBytes
			a.now.Versions += counted.Versions - kept.Versions
			a.now.Uploads += counted.Uploads - kept.Uploads
			a.now.ReservedVersions += counted.ReservedVersions - kept.ReservedVersions
			return nil
		})
	})
}
