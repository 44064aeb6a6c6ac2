package index

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
)

// Import is what an upload knows whose files the registry takes from the object store itself.
type Import struct {
	Source   ballast.Source   `json:"source"` // written out, with the bucket: whoever reads it needs to know no scope
	Move     bool             `json:"move,omitempty"`
	Metadata ballast.Metadata `json:"metadata,omitzero"` // until the import is accepted
	// Expect is the digest of the version that had the label already when the import began. Such an import holds no label:
	// it only finds out whether its files are that version's.
	Expect digest.Digest `json:"expect,omitempty"`

	Listed      bool     `json:"listed,omitempty"` // the list of files is whole
	Files       int      `json:"files,omitempty"`  // since it was listed
	Bytes       int64    `json:"bytes,omitempty"`
	Hashed      int      `json:"hashed,omitempty"` // files of which the digest is known
	HashedBytes int64    `json:"hashed_bytes,omitempty"`
	Skipped     []string `json:"skipped,omitempty"` // the first ballast.MaxSkipped

	Moving bool           `json:"moving,omitempty"` // it is done, and its sources are to be removed
	Moved  int            `json:"moved,omitempty"`  // sources that are gone
	Left   int            `json:"left,omitempty"`   // sources that stay
	Kept   []ballast.Kept `json:"kept,omitempty"`   // the first ballast.MaxKept of them
}

// SourceFile is one file of an import: where it lies below the source, as it was listed, and its digest once it was hashed.
type SourceFile struct {
	Path   string        `json:"path"`
	Size   int64         `json:"size"`
	ETag   string        `json:"etag"`
	Digest digest.Digest `json:"digest,omitempty"`
	Number int           `json:"-"` // in the list, from 0
}

// MaxSources is the number of files of an import that surely fits one transaction: one takes 5 KiB at most.
const MaxSources = 150

func sourceKey(id string, n int) []byte { return pageKey(key(kindSource, id), n) }

// updateImport changes the import of an upload that is in one of the states. The import that change gets is its own.
func (x *Index) updateImport(ctx context.Context, step failpoint.Step, id string, in ballast.UploadStatus, change func(Tx, *Upload, *Import) error) (Upload, error) {
	return x.updateUpload(ctx, step, id, func(tx Tx, u *Upload) error {
		if u.Import == nil || u.Status != in {
			return ballast.Errorf(ballast.CodeLeaseLost, "import %s is %s", id, u.Status)
		}
		own := *u.Import
		u.Import = &own
		return change(tx, u, &own)
	})
}

// CreateImport stores a new import and holds its label, unless a version has that already whose files may turn out to be
// the same. At most limit are open in one scope. The same principal with the same attempt gets its open one back, and
// created is false.
//
// Errors: those of CreateUpload; rate_limited when limit are open.
func (x *Index) CreateImport(ctx context.Context, u Upload, limit int) (result Upload, created bool, err error) {
	err = x.update(ctx, failpoint.CreateImport, func(tx Tx) error {
		result, created = u, false
		own := *u.Import
		result.Import = &own
		attempt := key(kindAttempt, u.Principal, u.Attempt)
		if open, ok, err := lookup[string](tx, attempt); err != nil || ok {
			if err != nil {
				return err
			}
			result, err = openImport(tx, open)
			return err
		}
		open, err := keys(tx, key(kindImporting, u.Scope.String()), limit)
		if err != nil {
			return err
		}
		if len(open) >= limit {
			e := ballast.Errorf(ballast.CodeRateLimited, "%d imports into scope %s are under way, which is as many as may be; wait for one, or cancel one", limit, u.Scope)
			e.RetryAfter = importRetry
			return e
		}
		if !u.Version.IsZero() {
			if own.Expect, err = holdOrExpect(tx, u); err != nil {
				return err
			}
		}
		created = true
		result.Status, result.CreatedAt = ballast.UploadImporting, ballast.At(x.now())
		if err := opens(tx, &result); err != nil {
			return err
		}
		return errors.Join(put(tx, attempt, u.ID),
			putAll(tx, key(kindVerifying, u.ID), key(kindImport, u.Scope.String(), u.ID), key(kindImporting, u.Scope.String(), u.ID)),
			putUpload(tx, nil, result))
	})
	return result, created, err
}

// openImport returns the open import of an attempt, which is made of all that it was asked to do.
func openImport(tx Tx, id string) (Upload, error) {
	u, err := getUpload(tx, id)
	if err == nil && u.Import == nil {
		err = ballast.Errorf(ballast.CodeInvalid, "attempt: used for a push to %s, which has to end first", u.Target())
	}
	return u, err
}

// importRetry is how many seconds to wait before another import is asked for while there are too many.
const importRetry = 30

// holdOrExpect holds a label, or says which files are to be expected of an import because the label has them.
func holdOrExpect(tx Tx, u Upload) (digest.Digest, error) {
	err := holdLabel(tx, u)
	if e := ballast.AsError(err); ballast.CodeOf(err) == ballast.CodeAlreadyExists && e.Expected != "" {
		return e.Expected, nil
	}
	return "", err
}

// PutSources stores files of an import's list under their numbers, at most MaxSources. Errors: lease_lost when the import
// ended.
func (x *Index) PutSources(ctx context.Context, id string, files []SourceFile) error {
	_, err := x.updateImport(ctx, failpoint.PutSources, id, ballast.UploadImporting, func(tx Tx, _ *Upload, _ *Import) error {
		for _, f := range files {
			if err := put(tx, sourceKey(id, f.Number), f); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Listed says that the list of an import's files is whole, all of them stored. Errors: lease_lost when the import ended.
func (x *Index) Listed(ctx context.Context, id string, files int, bytes int64, skipped []string) error {
	_, err := x.updateImport(ctx, failpoint.Listed, id, ballast.UploadImporting, func(tx Tx, u *Upload, m *Import) error {
		m.Listed, m.Files, m.Bytes, m.Skipped = true, files, bytes, skipped
		if m.Expect != "" { // it makes no version
			return nil
		}
		return withAccount(tx, u.Scope, func(a *account) error { return a.reserve(tx, u, bytes) })
	})
	return err
}

// Sources returns the files of an import's list; of one that moves its sources, those that were not looked at yet.
func (x *Index) Sources(ctx context.Context, id string) (files []SourceFile, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		files = nil
		prefix := key(kindSource, id)
		for item, err := range tx.Scan(prefix, nil, false) {
			if err != nil {
				return err
			}
			f, err := decode[SourceFile](item.Key, item.Value)
			if err != nil {
				return err
			}
			f.Number = pageOf(item.Key, prefix)
			files = append(files, f)
		}
		return nil
	})
	return files, err
}

// DropSources drops up to MaxSources files of a list that was cut off before it was whole. more says that there are further
// ones. Errors: lease_lost when the import ended.
func (x *Index) DropSources(ctx context.Context, id string) (more bool, err error) {
	_, err = x.updateImport(ctx, failpoint.DropSources, id, ballast.UploadImporting, func(tx Tx, _ *Upload, _ *Import) error {
		more, err = dropSources(tx, id, MaxSources)
		return err
	})
	return more, err
}

func dropSources(tx Tx, id string, limit int) (more bool, err error) {
	found, err := keys(tx, key(kindSource, id), limit)
	if err != nil {
		return false, err
	}
	return len(found) == limit, deleteAll(tx, found...)
}

// HashedSources stores the digests of files of an import by their numbers, at most MaxSources. Errors: lease_lost when the
// import ended.
func (x *Index) HashedSources(ctx context.Context, id string, digests map[int]digest.Digest) error {
	_, err := x.updateImport(ctx, failpoint.HashedSources, id, ballast.UploadImporting, func(tx Tx, _ *Upload, m *Import) error {
		for n, d := range digests {
			f, err := get[SourceFile](tx, sourceKey(id, n))
			if err != nil {
				return err
			}
			if f.Digest != "" {
				continue
			}
			f.Digest, m.Hashed, m.HashedBytes = d, m.Hashed+1, m.HashedBytes+f.Size
			if err := put(tx, sourceKey(id, n), f); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Unchanged ends an import to a label that a version had before: done when its files are that version's. settled is false
// while that version is being published. Errors: already_exists with both digests; retired; lease_lost when the import
// ended.
func (x *Index) Unchanged(ctx context.Context, id string, manifest digest.Digest) (settled bool, err error) {
	_, err = x.updateImport(ctx, failpoint.Unchanged, id, ballast.UploadImporting, func(tx Tx, u *Upload, _ *Import) error {
		settled = false
		v, err := getVersion(tx, u.Scope, u.Name, u.Version)
		if err != nil {
			return err
		}
		if v.Status == ballast.StatusSealed && v.Digest == manifest {
			return nil
		}
		if v.Status == ballast.StatusReady && v.Digest == manifest {
			settled = true
			return x.settle(tx, u, ballast.UploadDone)
		}
		err = labelFree(tx, u.Scope, u.Name, u.Version)
		if e := ballast.AsError(err); ballast.CodeOf(err) == ballast.CodeAlreadyExists {
			e.Detail += "; the files of the source have digest " + manifest.String()
			e.Actual = manifest
		}
		return err
	})
	return settled, err
}

// MovedSources drops files from the list of an import that is done and moves them: those that are gone from the source, and
// those that stay there, with the reason. The last ends the import's work. Errors: lease_lost when it has ended before.
func (x *Index) MovedSources(ctx context.Context, id string, gone []int, kept map[int]ballast.Kept) error {
	_, err := x.updateImport(ctx, failpoint.MovedSources, id, ballast.UploadDone, func(tx Tx, u *Upload, m *Import) error {
		var dropped [][]byte
		count := func(n int, of *int) error {
			there, err := exists(tx, sourceKey(id, n))
			if there {
				*of++
				dropped = append(dropped, sourceKey(id, n))
			}
			return err
		}
		for _, n := range gone {
			if err := count(n, &m.Moved); err != nil {
				return err
			}
		}
		m.Kept = slices.Clone(m.Kept)
		for n, why := range kept {
			before := m.Left
			if err := count(n, &m.Left); err != nil {
				return err
			}
			if m.Left > before && len(m.Kept) < ballast.MaxKept {
				m.Kept = append(m.Kept, why)
			}
		}
		if err := deleteAll(tx, dropped...); err != nil {
			return err
		}
		none, err := empty(tx, key(kindSource, id))
		if err != nil || !none || !m.Moving {
			return err
		}
		m.Moving = false
		return tx.Delete(key(kindVerifying, id))
	})
	return err
}

// Imports lists the imports into a part of a scope below an id, the newest first, at most limit; "" begins at the newest.
// next is what to pass as below for those that follow, "" at the end.
func (x *Index) Imports(ctx context.Context, part Part, below string, limit int) (page []Upload, next string, err error) {
	err = x.skipping(ctx, x.store.View, func(tx Tx, skip skip) error {
		page, next = nil, ""
		prefix, last := key(kindImport, part.Scope.String()), ""
		var from []byte
		if below != "" {
			from = key(kindImport, part.Scope.String(), below)
		}
		for item, err := range tx.Scan(prefix, from, true) {
			id := partAfter(item.Key, prefix)
			if err == nil && id == below {
				continue
			}
			var u Upload
			if err == nil {
				u, err = getUpload(tx, id)
			}
			if err == nil && !part.has(u.Name.Fold()) {
				continue
			}
			if len(page) == limit {
				next = last
				break
			}
			last = id
			if err == nil {
				page = append(page, u)
			} else if err := skip(item.Key, err); err != nil {
				return err
			}
		}
		return nil
	})
	return page, next, err
}
