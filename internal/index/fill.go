package index

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Filled counts what a rebuilt index took from a copy.
type Filled struct {
	Versions   int `json:"versions"` // whose descriptions and stages were taken
	Aliases    int `json:"aliases"`
	Production int `json:"production"` // names with a history of production
	Quotas     int `json:"quotas"`
	Tasks      int `json:"tasks"`
	Tokens     int `json:"tokens"`
}

// filler takes from a copy what records don't hold. Each item is looked at as if it were set anew: what does not fit what
// the records say is left out. A copy never makes a version ready; where it knows of more records than the bucket has, the
// version is refused.
type filler struct {
	x      *Index
	now    ballast.Time
	keep   bool // tokens as they are
	filled Filled
	leave  func(what string)
}

// pages of a copy that one transaction takes.
const (
	fillItems = 100
	fillBytes = 256 << 10
)

// FillFrom fills a half-built index from a copy. leave hears what was left out, and why. Unless keepTokens is set, tokens
// come without their rights: they have expired.
func (x *Index) FillFrom(ctx context.Context, from *Index, keepTokens bool, leave func(what string)) (Filled, error) {
	f := &filler{x: x, now: ballast.At(x.now()), keep: keepTokens, leave: leave}
	for _, part := range []struct {
		kind byte
		take func(Tx, Item) (string, error)
		n    *int
	}{
		{kindTask, f.task, &f.filled.Tasks}, {kindQuota, f.quota, &f.filled.Quotas},
		{kindHistory, f.named, nil}, {kindProduction, f.named, &f.filled.Production},
		{kindVersion, f.version, &f.filled.Versions}, {kindName, f.name, nil}, {kindAlias, f.alias, &f.filled.Aliases},
		{kindBlob, f.blob, nil}, {kindPart, f.page, nil}, {kindChain, f.page, nil},
		{kindToken, f.token, &f.filled.Tokens},
	} {
		n, err := f.all(ctx, from, part.kind, part.take)
		if err != nil {
			return f.filled, err
		}
		if part.n != nil {
			*part.n = n
		}
	}
	_, err := f.all(ctx, x, kindProduction, f.cleared)
	return f.filled, err
}

// errLeft says that an item is left out without a word.
var errLeft = errors.New("index: left out")

// all goes through the items of a kind in from, page by page. take says why it leaves one out.
func (f *filler) all(ctx context.Context, from *Index, kind byte, take func(Tx, Item) (string, error)) (taken int, err error) {
	var after []byte
	for {
		var page []Item
		err := from.store.View(ctx, func(tx Tx) error {
			page = nil
			size := 0
			for item, err := range tx.Scan([]byte{kind}, behind(after), false) {
				if err != nil {
					return err
				}
				page = append(page, Item{bytes.Clone(item.Key), bytes.Clone(item.Value)})
				if size += len(item.Value); len(page) == fillItems || size > fillBytes {
					break
				}
			}
			return nil
		})
		if err != nil || len(page) == 0 {
			return taken, err
		}
		var left []string
		var n int
		err = f.x.update(ctx, failpoint.RebuildFill, func(tx Tx) error {
			left, n = nil, 0
			for _, item := range page {
				why, err := take(tx, item)
				switch {
				case errors.Is(err, errLeft):
				case err != nil:
					return err
				case why != "":
					left = append(left, why)
				default:
					n++
				}
			}
			return nil
		})
		if err != nil {
			return taken, err
		}
		taken += n
		for _, why := range left {
			f.leave(why)
		}
		after = page[len(page)-1].Key
	}
}

func (f *filler) task(tx Tx, item Item) (string, error) {
	t, err := decode[Task](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	all, err := keys(tx, []byte{kindTask}, ballast.MaxTasks)
	if err != nil {
		return "", err
	}
	if err := ballast.CheckTask(t.Task); err != nil || len(all) == ballast.MaxTasks || !bytes.Equal(item.Key, key(kindTask, t.Task)) {
		return fmt.Sprintf("task %q", t.Task), nil
	}
	return "", put(tx, item.Key, t)
}

func (f *filler) quota(tx Tx, item Item) (string, error) {
	q, err := decode[Quota](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	scope, err := quotaScope(partAfter(item.Key, item.Key[:1]))
	if err == nil {
		err = q.Limits.Check()
	}
	if err != nil {
		return fmt.Sprintf("the quota of %q: %v", partAfter(item.Key, item.Key[:1]), err), nil
	}
	return "", put(tx, quotaKey(scope), q)
}

// named takes what belongs to a name that there is: its history, and what is in production.
func (f *filler) named(tx Tx, item Item) (string, error) {
	scope, name, err := nameOf(item.Key)
	if err != nil {
		return err.Error(), nil
	}
	if known, err := exists(tx, scopedName(kindName, scope, name)); err != nil || !known {
		return fmt.Sprintf("the history of production of %s: there is no such name", ballast.Ref{Scope: scope, Name: name}), err
	}
	if item.Key[0] == kindHistory {
		how, err := decode[ballast.Promotion](item.Key, item.Value)
		if err != nil {
			return "", err
		}
		return "", put(tx, promotionKey(scope, name, how.Number), how)
	}
	p, err := decode[Production](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	return "", put(tx, scopedName(kindProduction, scope, name), p)
}

// nameOf reads scope and name in a key.
func nameOf(k []byte) (scope ballast.Scope, name ballast.Name, err error) {
	p, _ := parts(k, 2)
	if scope, err = ballast.ParseScope(p[0]); err == nil {
		name, err = ballast.ParseName(p[1])
	}
	if err != nil {
		err = badKey(k, err)
	}
	return scope, name, err
}

// version takes what people said of a version. What it is, and in what state, the records say.
func (f *filler) version(tx Tx, item Item) (string, error) {
	theirs, err := decode[Version](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	k := versionKey(kindVersion, theirs.Scope, theirs.Name, theirs.Version)
	if !bytes.Equal(k, item.Key) {
		return fmt.Sprintf("%s: it lies under the key of another version", theirs.Key()), nil
	}
	if theirs.Status == ballast.StatusSealed || theirs.Refused != "" {
		return "", errLeft // nothing was said of it yet, or nothing was believed
	}
	ours, known, err := lookup[Version](tx, k)
	switch {
	case err != nil:
		return "", err
	case known && ours.Refused != "":
		return "", errLeft
	case !known || theirs.Records > ours.Records:
		why := fmt.Sprintf("the bucket has %d of its %d records", ours.Records, theirs.Records)
		if known {
			if err := rebuiltKeys(tx, ours, tx.Delete); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%s: %s; it is refused", theirs.Key(), why), putRefused(tx, theirs.Key(), theirs.Records, why)
	case theirs.Digest != ours.Digest || !theirs.CreatedAt.Equal(ours.CreatedAt.Time) || theirs.Metadata.BaseModel != ours.Metadata.BaseModel:
		return fmt.Sprintf("%s: it speaks of another version than the records", theirs.Key()), nil
	}
	ours.Stage, ours.Upload = theirs.Stage, theirs.Upload
	if err := f.stage(tx, &ours); err != nil {
		return "", err
	}
	ours.Revision = max(ours.Revision, theirs.Revision+int64(ours.Records-theirs.Records))
	if theirs.Records == ours.Records { // else the last record is the newer one
		said := theirs.Metadata
		if err := said.Check(); err != nil {
			return fmt.Sprintf("%s: %v", theirs.Key(), err), nil
		}
		ours.Metadata = theirs.Metadata
		if theirs.UpdatedAt.After(ours.UpdatedAt.Time) {
			ours.UpdatedAt = theirs.UpdatedAt
		}
	}
	return "", putVersion(tx, ours)
}

// stage keeps to one that a version may have: that of production has who is in production alone, and a version that
// has ended is not there.
func (f *filler) stage(tx Tx, v *Version) error {
	if v.Stage != ballast.StageProduction {
		if _, err := ballast.ParseStage(string(v.Stage)); err != nil {
			v.Stage = ballast.StageNone
		}
		return nil
	}
	p, _, err := lookup[Production](tx, scopedName(kindProduction, v.Scope, v.Name))
	switch {
	case err != nil:
		return err
	case v.Status != ballast.StatusLost:
		v.Stage = ballast.StageArchived
	case p.Version.Fold() != v.Version.Fold():
		v.Stage = ballast.StageStaged
	}
	return nil
}

// cleared takes out of production what does not stand there any more.
func (f *filler) cleared(tx Tx, item Item) (string, error) {
	p, err := decode[Production](item.Key, item.Value)
	if err != nil || p.Version.IsZero() {
		return "", err
	}
	scope, name, err := nameOf(item.Key)
	if err != nil {
		return "", err
	}
	v, there, err := lookup[Version](tx, versionKey(kindVersion, scope, name, p.Version))
	if err != nil || there && v.Stage == ballast.StageProduction {
		return "", err
	}
	return fmt.Sprintf("%s: %s was in production and is not any more", ballast.Ref{Scope: scope, Name: name}, p.Version),
		note(tx, scope, name, p, ballast.Promotion{Kind: ballast.Cleared, From: p.Version, By: rebuiltBy, At: f.now})
}

// rebuiltBy is who changed what a rebuild had to change.
const rebuiltBy = "ballast rebuild"

func (f *filler) name(tx Tx, item Item) (string, error) {
	theirs, err := decode[Name](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	ours, known, err := lookup[Name](tx, item.Key)
	if err != nil || !known || !theirs.Updated.After(ours.Updated.Time) {
		return "", errors.Join(err, errLeft)
	}
	ours.Updated = theirs.Updated
	return "", put(tx, item.Key, ours)
}

func (f *filler) alias(tx Tx, item Item) (string, error) {
	a, err := decode[Alias](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	scope, name, err := nameOf(item.Key)
	if err != nil {
		return err.Error(), nil
	}
	text := partAfter(item.Key, scopedName(kindAlias, scope, name))
	alias, err := ballast.ParseAlias(text)
	if err != nil {
		return fmt.Sprintf("alias %q of %s: %v", text, ballast.Ref{Scope: scope, Name: name}, err), nil
	}
	v, there, err := lookup[Version](tx, versionKey(kindVersion, scope, name, a.Version))
	switch {
	case err != nil:
		return "", err
	case !there || v.Status == ballast.StatusDeleted || v.Refused != "":
		return fmt.Sprintf("alias %s: %s is not there", ballast.Ref{Scope: scope, Name: name, Alias: alias}, a.Version), nil
	}
	switch err := roomForAlias(tx, scope, name); {
	case ballast.CodeOf(err) == ballast.CodeTooLarge:
		return fmt.Sprintf("alias %s: %v", ballast.Ref{Scope: scope, Name: name, Alias: alias}, err), nil
	case err != nil:
		return "", err
	}
	return "", errors.Join(put(tx, aliasKey(scope, name, alias), a), tx.Put(aliasOfKey(scope, name, v.Version, alias.String()), nil))
}

// blob takes what helps who pulls a blob, if it is the same object still: part digests and a chain, which prove themselves.
func (f *filler) blob(tx Tx, item Item) (string, error) {
	theirs, err := decode[Blob](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	ours, known, err := lookup[Blob](tx, item.Key)
	if err != nil || !known || theirs.State != BlobVerified || ours.State != BlobVerified || ours.Size != theirs.Size || ours.ETag != theirs.ETag {
		return "", errors.Join(err, errLeft)
	}
	ours.Method, ours.PartSize, ours.LinkSize, ours.Assurance = theirs.Method, theirs.PartSize, theirs.LinkSize, theirs.Assurance
	return "", put(tx, item.Key, ours)
}

// page takes a page of part digests or of a chain, of a blob that says it has some of this size.
func (f *filler) page(tx Tx, item Item) (string, error) {
	p, _ := parts(item.Key, 2)
	b, known, err := lookup[Blob](tx, key(kindBlob, p[0], p[1]))
	if err != nil || !known || b.State != BlobVerified || len(item.Value) < 8 {
		return "", errors.Join(err, errLeft)
	}
	size := b.PartSize
	if item.Key[0] == kindChain {
		size = b.LinkSize
	}
	if size == 0 || int64(binary.BigEndian.Uint64(item.Value)) != size {
		return "", errLeft
	}
	return "", tx.Put(item.Key, item.Value)
}

// token takes a token, without its rights unless they are kept.
func (f *filler) token(tx Tx, item Item) (string, error) {
	t, err := decode[Token](item.Key, item.Value)
	if err != nil {
		return "", err
	}
	bad := slices.ContainsFunc(t.Grants, func(g ballast.Grant) bool { return g.Check() != nil })
	if bad || len(t.Grants) == 0 || len(t.Hash) != sha256.Size || len(t.Replaced) > MaxReplaced || !bytes.Equal(item.Key, key(kindToken, t.ID)) {
		return fmt.Sprintf("token %q: it is none that could be made", t.ID), nil
	}
	if !f.keep && !t.Expired(f.now.Time) {
		t.ExpiresAt = f.now
	}
	return "", put(tx, item.Key, t)
}
