package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// FlawKind is what is wrong with an item of the index.
type FlawKind string

// The kinds.
const (
	FlawUnreadable FlawKind = "unreadable" // its value is damaged, or its key has not the form of its kind
	FlawDangling   FlawKind = "dangling"   // it points at what is not there, or at what does not know it
	FlawUnlisted   FlawKind = "unlisted"   // what has to lead to it is not there
	FlawCounter    FlawKind = "counter"    // it counts something else than there is
)

// Flaw is one thing that an item of the index gets wrong, as seen in one snapshot: no change under way looks like one.
type Flaw struct {
	Kind     FlawKind
	Key      []byte // of the item
	Scope    ballast.Scope
	Version  string // key of the version that it is about, where there is one
	What     string
	Mendable bool // Mend makes it right from what the index holds otherwise

	mend func(Tx) error
}

// Inspect holds up to limit items behind a key to the rules of their kind, all in one snapshot, and returns how many
// it saw and the last key of them: nil once all were. The empty key is before all. What an item's rules cost beside it is a few reads;
// of a name it is one for each version.
func (x *Index) Inspect(ctx context.Context, after []byte, limit int) (flaws []Flaw, seen int, last []byte, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		flaws, seen, last = nil, 0, nil
		for item, err := range tx.Scan(nil, behind(after), false) {
			if len(item.Key) == 0 {
				return err
			}
			found, err := inspectItem(tx, item, err)
			if err != nil {
				return err
			}
			flaws = append(flaws, found...)
			if seen++; seen == limit {
				last = bytes.Clone(item.Key)
				break
			}
		}
		return nil
	})
	return flaws, seen, last, err
}

// Mend makes an item right that Inspect found wrong, by the same rules: what is right meanwhile is left alone. It returns
// what it mended.
func (x *Index) Mend(ctx context.Context, key []byte) (mended []Flaw, err error) {
	err = x.update(ctx, failpoint.Mend, func(tx Tx) error {
		mended = nil
		value, err := tx.Get(key)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		found, err := inspectItem(tx, Item{key, value}, err)
		if err != nil {
			return err
		}
		for _, f := range found {
			if f.mend == nil {
				continue
			}
			if err := f.mend(tx); err != nil {
				return err
			}
			mended = append(mended, f)
		}
		return nil
	})
	return mended, err
}

// inspector looks at one item.
type inspector struct {
	tx    Tx
	item  Item
	scope ballast.Scope
	about string
	found []Flaw
}

// inspectItem returns the flaws of an item; damaged is the error that its scan gave. Damage of another item that its rules
// have to read is that item's flaw and no error here.
func inspectItem(tx Tx, item Item, damaged error) ([]Flaw, error) {
	item.Key = bytes.Clone(item.Key)
	in := &inspector{tx: tx, item: item, scope: scopeOfKey(item.Key)}
	err := damaged
	if err == nil {
		err = in.look()
	}
	var other *elsewhere
	switch {
	case errors.As(err, &other):
		err = nil
	case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer):
		in.add(FlawUnreadable, nil, "%s cannot be read: %v", kindWord(item.Key[0]), err)
		err = nil
	}
	return in.found, err
}

// elsewhere wraps damage of an item that another one's rules read.
type elsewhere struct{ error }

func (e *elsewhere) Unwrap() error { return e.error }

func atAnother(err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) {
		return &elsewhere{err}
	}
	return err
}

func (in *inspector) add(kind FlawKind, mend func(Tx) error, format string, args ...any) {
	in.found = append(in.found, Flaw{
		Kind: kind, Key: in.item.Key, Scope: in.scope, Version: in.about, What: fmt.Sprintf(format, args...), Mendable: mend != nil, mend: mend,
	})
}

// dangling reports an item that is to be dropped.
func (in *inspector) dangling(format string, args ...any) {
	in.add(FlawDangling, func(tx Tx) error { return tx.Delete(in.item.Key) }, format, args...)
}

// listed checks that an item which leads to this one is there, or that it is not, and mends it.
func (in *inspector) listed(k []byte, want bool, format string, args ...any) error {
	there, err := exists(in.tx, k)
	switch {
	case err != nil:
		return atAnother(err)
	case there == want:
	case want:
		in.add(FlawUnlisted, func(tx Tx) error { return tx.Put(k, nil) }, format+" is not listed", args...)
	default: // what should not be there is that item's flaw
	}
	return nil
}

// there reads another item that this one is about.
func there[T any](in *inspector, k []byte) (v T, ok bool, err error) {
	v, ok, err = lookup[T](in.tx, k)
	return v, ok, atAnother(err)
}

// look applies the rules of the item's kind.
func (in *inspector) look() error {
	rules := map[byte]func() error{
		kindName: in.name, kindVersion: in.version, kindCandidate: in.candidate, kindByDigest: in.byDigest, kindByManifest: in.byManifest,
		kindByTime: in.byTime, kindRecord: in.record, kindAlias: in.alias, kindAliasOf: in.aliasOf, kindChild: in.child, kindProduction: in.production,
		kindHistory: readsAs[ballast.Promotion](in), kindUpload: in.upload, kindUploadTime: in.uploadTime, kindHold: in.hold, kindAttempt: in.attempt,
		kindVerifying: in.verifying, kindRelease: in.release, kindImport: in.anImport, kindImporting: in.importing, kindSource: in.source,
		kindBlob: in.blob, kindPin: in.pin, kindPinOf: in.pinOf, kindReference: in.reference, kindDeclared: in.declared,
		kindPart: in.ofBlob, kindChain: in.ofBlob, kindVerifyQueue: in.queued, kindReclaim: in.reclaiming, kindToken: readsAs[Token](in), kindTokenUse: in.tokenUse,
		kindTask: readsAs[Task](in), kindQuota: readsAs[Quota](in), kindUsage: readsAs[ballast.Usage](in), kindEvent: readsAs[Event](in),
	}
	if rule := rules[in.item.Key[0]]; rule != nil {
		return rule()
	}
	return nil
}

// readsAs only asks that the value can be read.
func readsAs[T any](in *inspector) func() error {
	return func() error {
		_, err := decode[T](in.item.Key, in.item.Value)
		return err
	}
}

// split cuts the item's key into n terminated parts and what follows, or says that it is damaged.
func (in *inspector) split(n int) ([]string, []byte, error) {
	if bytes.Count(in.item.Key[1:], []byte{0x00}) < n {
		return nil, nil, badKey(in.item.Key, errors.New("it has too few parts"))
	}
	p, rest := parts(in.item.Key, n)
	return p, rest, nil
}

// scopeOfKey is the scope in a key, zero where its kind has none.
func scopeOfKey(k []byte) ballast.Scope {
	if bytes.IndexByte([]byte(unscoped), k[0]) >= 0 {
		return ballast.Scope{}
	}
	text, _, _ := bytes.Cut(k[1:], []byte{0x00})
	scope, _ := ballast.ParseScope(string(text)) // zero when it is none
	return scope
}

// unscoped are the kinds whose keys do not begin with a scope.
const unscoped = "muUtfzIPqTxKe"

// kindWord says in words what a kind of key holds.
func kindWord(kind byte) string {
	switch kind {
	case kindName:
		return "what is kept of a name"
	case kindVersion:
		return "a version"
	case kindAlias:
		return "an alias"
	case kindUpload:
		return "an upload"
	case kindBlob:
		return "what is kept of a blob"
	case kindToken:
		return "a token"
	case kindRecord:
		return "a record that is to be written"
	case kindEvent:
		return "an event"
	}
	return fmt.Sprintf("an item of the kind %q", string(kind))
}
