package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// fill takes from the newest snapshot that can be used what records don't hold.
func (r *rebuild) fill(ctx context.Context) error {
	if err := dropCopies(r.Dir); err != nil { // of one that was cut off
		return err
	}
	keys, err := snapshotKeys(ctx, r.Bucket)
	if err != nil {
		return err
	}
	for _, key := range slices.Backward(keys) {
		used, err := r.fillFrom(ctx, key)
		if err != nil {
			return err
		}
		if used {
			r.report.Snapshot = key
			return nil
		}
	}
	return nil
}

// fillFrom reports whether a snapshot could be used. One that is damaged, forged or of a newer program is refused by name.
func (r *rebuild) fillFrom(ctx context.Context, key string) (used bool, err error) {
	r.say("reading "+key, 0)
	dir, err := os.MkdirTemp(r.Dir, copiesPattern)
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "index.db")
	err = failpoint.Do(ctx, failpoint.FetchSnapshot, func(ctx context.Context) error { return fetch(ctx, r.Bucket, key, file) })
	switch {
	case errors.Is(err, errTooLargeASnapshot):
		r.refuse(key, "it is larger than any snapshot")
		return false, nil
	case err != nil:
		return false, fmt.Errorf("engine: reading %s: %w", key, err)
	}
	from, sum, signed, err := index.OpenCopy(ctx, file, r.Now)
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		r.refuse(key, "it is no index, or damaged: "+strings.ReplaceAll(err.Error(), file, "it"))
		return false, nil
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	known, err := r.RecordKey.verifySnapshot(key, sum, signed)
	switch {
	case err != nil:
		r.refuse(key, strings.TrimPrefix(err.Error(), errSnapshot.Error()+": "))
		return false, nil
	case !known && !r.AcceptUnsigned:
		r.refuse(key, "it is signed with a key that is not here")
		return false, nil
	case !known:
		r.refuse(key, "nothing vouches for it; aliases, stages and descriptions were taken from it because of --accept-unsigned")
	}
	r.report.Filled, err = r.Index.FillFrom(ctx, from, r.KeepTokens && known, func(what string) {
		r.report.LeftOut = append(r.report.LeftOut, what)
	})
	return true, err
}

var errTooLargeASnapshot = errors.New("engine: too large a snapshot")

// fetch copies an object into a file, unless it is larger than any snapshot.
func fetch(ctx context.Context, b objstore.Bucket, key, file string) (err error) {
	body, obj, err := b.Get(ctx, key, objstore.ReadOptions{})
	if err != nil {
		return err
	}
	if obj.Size > ballast.MaxPutSize { // each was one PUT
		return errors.Join(errTooLargeASnapshot, body.Close())
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = io.Copy(f, body)
		err = errors.Join(err, f.Close())
	}
	return errors.Join(err, body.Close())
}
