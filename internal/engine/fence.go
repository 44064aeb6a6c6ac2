package engine

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// fencedBucket is a bucket that takes no write unless owner.json was just seen to be ours.
type fencedBucket struct {
	objstore.Bucket
	owner *owner
}

func (f fencedBucket) Put(ctx context.Context, key string, body []byte, cond objstore.Condition) (objstore.Object, error) {
	if err := f.owner.check(ctx); err != nil {
		return objstore.Object{}, err
	}
	return f.Bucket.Put(ctx, key, body, cond)
}

func (f fencedBucket) PutFile(ctx context.Context, key string, file io.ReadSeeker, size int64, sum digest.Digest) (o objstore.Object, err error) {
	if err := f.owner.check(ctx); err != nil {
		return objstore.Object{}, err
	}
	err = failpoint.Do(ctx, failpoint.PutSnapshot, func(ctx context.Context) (err error) {
		o, err = f.Bucket.PutFile(ctx, key, file, size, sum)
		return err
	})
	return o, err
}

func (f fencedBucket) Delete(ctx context.Context, key string) error {
	if err := f.owner.check(ctx); err != nil {
		return err
	}
	return failpoint.Do(ctx, failpoint.DeleteObject, func(ctx context.Context) error { return f.Bucket.Delete(ctx, key) })
}

func (f fencedBucket) DeleteMatch(ctx context.Context, key, etag string) error {
	if err := f.owner.check(ctx); err != nil {
		return err
	}
	return failpoint.Do(ctx, failpoint.DeleteSource, func(ctx context.Context) error { return f.Bucket.DeleteMatch(ctx, key, etag) })
}

func (f fencedBucket) CreateMultipart(ctx context.Context, key string) (id string, err error) {
	if err := f.owner.check(ctx); err != nil {
		return "", err
	}
	err = failpoint.Do(ctx, failpoint.CreateMultipart, func(ctx context.Context) (err error) {
		id, err = f.Bucket.CreateMultipart(ctx, key)
		return err
	})
	return id, err
}

func (f fencedBucket) CompleteMultipart(ctx context.Context, key, id string, parts []objstore.Part) (o objstore.Object, err error) {
	if err := f.owner.check(ctx); err != nil {
		return objstore.Object{}, err
	}
	err = failpoint.Do(ctx, failpoint.CompleteMultipart, func(ctx context.Context) (err error) {
		o, err = f.Bucket.CompleteMultipart(ctx, key, id, parts)
		return err
	})
	return o, err
}

func (f fencedBucket) Copy(ctx context.Context, key string, source objstore.Source) (o objstore.Object, err error) {
	if err := f.owner.check(ctx); err != nil {
		return objstore.Object{}, err
	}
	err = failpoint.Do(ctx, failpoint.CopyObject, func(ctx context.Context) (err error) {
		o, err = f.Bucket.Copy(ctx, key, source)
		return err
	})
	return o, err
}

func (f fencedBucket) AbortMultipart(ctx context.Context, key, id string) error {
	if err := f.owner.check(ctx); err != nil {
		return err
	}
	return failpoint.Do(ctx, failpoint.AbortMultipart, func(ctx context.Context) error { return f.Bucket.AbortMultipart(ctx, key, id) })
}

// fencedSigner is a signer that signs nothing unless owner.json was just seen to be ours.
type fencedSigner struct {
	signer objstore.Signer
	owner  *owner
}

func (f fencedSigner) SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	if err := f.owner.check(ctx); err != nil {
		return ballast.SignedRequest{}, err
	}
	return f.signer.SignPut(ctx, key, content, size, ttl)
}

func (f fencedSigner) SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	if err := f.owner.check(ctx); err != nil {
		return ballast.SignedRequest{}, err
	}
	return f.signer.SignPart(ctx, key, uploadID, number, content, size, ttl)
}

func (f fencedSigner) SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error) {
	if err := f.owner.check(ctx); err != nil {
		return ballast.SignedRequest{}, err
	}
	return f.signer.SignGet(ctx, key, versionID, ttl)
}
