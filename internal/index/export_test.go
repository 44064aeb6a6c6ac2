package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// BareDB is the database under the Store, and its bucket of items.
func BareDB(b *Bolt) (db *bbolt.DB, bucket []byte) { return b.db, boltDataBucket }

// SetStatus puts a version in a state, as the transactions that retire, delete and rebuild do it.
func (x *Index) SetStatus(ctx context.Context, k ballast.Key, to ballast.Status) error {
	return x.store.Update(ctx, func(tx Tx) error {
		v, err := getVersion(tx, k.Scope, k.Name, k.Version)
		if err != nil {
			return err
		}
		name, err := get[Name](tx, scopedName(kindName, k.Scope, k.Name))
		if err != nil {
			return err
		}
		if v.Status == ballast.StatusReady {
			name.Ready--
			if err := tx.Delete(candidateKey(k.Scope, k.Name, k.Version)); err != nil {
				return err
			}
		}
		v.Status = to
		if err := put(tx, scopedName(kindName, k.Scope, k.Name), name); err != nil {
			return err
		}
		return put(tx, versionKey(kindVersion, k.Scope, k.Name, k.Version), v)
	})
}

// Archive takes a version out of what latest chooses from, as a stage does it.
func (x *Index) Archive(ctx context.Context, k ballast.Key) error {
	return x.store.Update(ctx, func(tx Tx) error { return tx.Delete(candidateKey(k.Scope, k.Name, k.Version)) })
}

// ScanAtMost bounds what one page of a filtered list looks at.
func (x *Index) ScanAtMost(n int) { x.scan = n }

// Entomb marks a blob as unused since a time, whether it is or not.
func (x *Index) Entomb(ctx context.Context, id BlobID, since time.Time) error {
	return x.store.Update(ctx, func(tx Tx) error {
		k := blobKey(kindBlob, id.Scope, id.Digest)
		b, err := get[Blob](tx, k)
		if err != nil {
			return err
		}
		b.Tombstone = ballast.At(since)
		return put(tx, k, b)
	})
}

// PutUnknown stores under a key what a newer program would.
func (x *Index) PutUnknown(ctx context.Context, key []byte) error {
	return x.store.Update(ctx, func(tx Tx) error { return tx.Put(key, []byte(`{"schema":2,"value":{}}`)) })
}

// PutRaw stores what an earlier program would.
func (x *Index) PutRaw(ctx context.Context, key, value []byte) error {
	return x.store.Update(ctx, func(tx Tx) error { return tx.Put(key, value) })
}

// Raw is what is stored under a key.
func (x *Index) Raw(ctx context.Context, key []byte) (value []byte, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		b, err := tx.Get(key)
		value = bytes.Clone(b)
		return err
	})
	return value, err
}

// Keys counts the keys of a kind.
func (x *Index) Keys(ctx context.Context, kind byte) (n int, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		found, err := keys(tx, []byte{kind}, math.MaxInt)
		n = len(found)
		return err
	})
	return n, err
}

// Kinds of keys that tests count.
const (
	KindPin      = kindPin
	KindPinOf    = kindPinOf
	KindDeclared = kindDeclared
	KindPart     = kindPart
	KindChain    = kindChain
	KindHold     = kindHold
	KindAttempt  = kindAttempt
	KindRecord   = kindRecord
	KindUpload   = kindUpload
	KindTime     = kindUploadTime

	KindImport    = kindImport
	KindImporting = kindImporting
	KindSource    = kindSource
)

// Keys that tests damage.

func NameKey(scope ballast.Scope, name ballast.Name) []byte { return scopedName(kindName, scope, name) }
func VersionKey(k ballast.Key) []byte                       { return versionKey(kindVersion, k.Scope, k.Name, k.Version) }
func CandidateKey(k ballast.Key) []byte                     { return candidateKey(k.Scope, k.Name, k.Version) }
func TokenKey(id string) []byte                             { return key(kindToken, id) }
func UsageKey(scope ballast.Scope) []byte                   { return usageKey(scope) }
func UploadKey(id string) []byte                            { return key(kindUpload, id) }
func VerifyingKey(id string) []byte                         { return key(kindVerifying, id) }
func JobKey(id BlobID) []byte                               { return blobKey(kindVerifyQueue, id.Scope, id.Digest) }
func ReclaimKey(id BlobID) []byte                           { return blobKey(kindReclaim, id.Scope, id.Digest) }
func EventKey(number int64) []byte                          { return eventKey(number) }
func BlobKey(id BlobID) []byte                              { return blobKey(kindBlob, id.Scope, id.Digest) }
func PinKey(id BlobID, upload string) []byte                { return pinKey(id.Scope, id.Digest, upload) }
func AliasKey(k ballast.Key, a ballast.Alias) []byte        { return aliasKey(k.Scope, k.Name, a) }
func AliasOfKey(k ballast.Key, a ballast.Alias) []byte {
	return aliasOfKey(k.Scope, k.Name, k.Version, a.String())
}
func ByDigestKey(k ballast.Key, d digest.Digest) []byte {
	return byDigestKey(k.Scope, k.Name, d, k.Version)
}

// Bare is an Index on a store as it is, without migrations.
func Bare(s Store) *Index { return newIndex(s) }

// Busy makes x remember no answers, as if an Update ran all the time.
func Busy(x *Index) { x.store.moves.Add(1) }

// Forgetful is an Index that remembers nothing, neither answers nor what it decoded.
func Forgetful(x *Index) {
	Busy(x)
	x.decoded = cache.New[string, decodedItem](0)
}

// Migrations are the names in the ledger.
func (x *Index) Migrations(ctx context.Context) (ledger []string, err error) {
	err = x.store.View(ctx, func(tx Tx) (err error) {
		ledger, err = get[[]string](tx, metaMigrations)
		return err
	})
	return ledger, err
}

// SetMigrations replaces the ledger.
func (x *Index) SetMigrations(ctx context.Context, ledger ...string) error {
	return x.store.Update(ctx, func(tx Tx) error { return put(tx, metaMigrations, ledger) })
}

// Recount counts what a scope uses anew.
func (x *Index) Recount(ctx context.Context, scope ballast.Scope) (ballast.Usage, error) {
	return x.recount(ctx, scope)
}

// ForgetUsage drops what is counted, as if the index had been written before it was.
func (x *Index) ForgetUsage(ctx context.Context) error {
	return x.store.Update(ctx, func(tx Tx) error {
		counted, err := keys(tx, []byte{kindUsage}, 0)
		return errors.Join(err, deleteAll(tx, counted...))
	})
}

// Rewrite replaces text in a stored value, where it must occur once.
func (x *Index) Rewrite(ctx context.Context, key []byte, from, to string) error {
	return x.store.Update(ctx, func(tx Tx) error {
		b, err := tx.Get(key)
		if err != nil {
			return err
		}
		if bytes.Count(b, []byte(from)) != 1 {
			return fmt.Errorf("%s does not occur once in %s", from, b)
		}
		return tx.Put(key, bytes.Replace(b, []byte(from), []byte(to), 1))
	})
}

// DropHeads stores all versions and aliases as they were before values had heads, and returns how many had one.
func (x *Index) DropHeads(ctx context.Context) (n int) {
	err := x.store.Update(ctx, func(tx Tx) error {
		n = 0
		for _, kind := range []byte{kindVersion, kindAlias} {
			for item, err := range tx.Scan([]byte{kind}, nil, false) {
				if err != nil {
					return err
				}
				head, json, err := splitHead(item.Value)
				if err != nil {
					return err
				}
				if head != nil {
					n++
				}
				if err := tx.Put(item.Key, json); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return n
}

// SwapHeads gives each of two values the head of the other.
func (x *Index) SwapHeads(ctx context.Context, a, b []byte) error {
	return x.store.Update(ctx, func(tx Tx) error {
		one, err := tx.Get(a)
		if err != nil {
			return err
		}
		two, err := tx.Get(b)
		if err != nil {
			return err
		}
		_, oneJSON, _ := splitHead(one)
		_, twoJSON, _ := splitHead(two)
		onesHead, twosHead := one[:len(one)-len(oneJSON)], two[:len(two)-len(twoJSON)]
		return errors.Join(tx.Put(a, slices.Concat(twosHead, oneJSON)), tx.Put(b, slices.Concat(onesHead, twoJSON)))
	})
}

// OpenHead reads the head of a stored version.
func OpenHead(b []byte) (Head, error) {
	f, err := openHead(Item{Key: []byte{kindVersion}, Value: b})
	return f.Head, err
}
