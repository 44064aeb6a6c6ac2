package main

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// s3Origin is a place in a bucket that this machine reads with the user's own credentials.
type s3Origin struct {
	source ballast.Source
	bucket *objstore.Foreign
	// places are those that the registry itself imports from: who is refused here may have meant one of them.
	places []ballast.Source
	key    string // one object, or a folder that ends in "/", or "" for the whole bucket
}

var _ client.Origin = (*s3Origin)(nil)

// openS3 finds out whether a source is an object or a folder.
func openS3(ctx context.Context, source ballast.Source, places []ballast.Source) (*s3Origin, error) {
	o := &s3Origin{source: source, places: places, key: source.Key()}
	if o.key != "" {
		if err := objstore.CheckKey(strings.TrimSuffix(o.key, "/")); err != nil {
			return nil, ballast.Errorf(ballast.CodeInvalid, "source %s: %w", source, err)
		}
	}
	var err error
	if o.bucket, err = objstore.OpenForeign(ctx, source.Bucket(), nil); err != nil {
		return nil, o.refused(err)
	}
	if o.key == "" || strings.HasSuffix(o.key, "/") {
		return o, nil
	}
	exact := false
	for obj, err := range o.bucket.List(ctx, o.key) {
		if err != nil {
			return nil, o.refused(err)
		}
		exact = obj.Key == o.key // which sorts before all that begin with it
		break
	}
	if !exact {
		o.key += "/"
	}
	return o, nil
}

// String implements client.Origin.
func (o *s3Origin) String() string { return o.source.String() }

// Files implements client.Origin.
func (o *s3Origin) Files(ctx context.Context) iter.Seq2[client.OriginFile, error] {
	folder := o.key
	if folder != "" && !strings.HasSuffix(folder, "/") {
		folder = folder[:strings.LastIndexByte(folder, '/')+1]
	}
	return func(yield func(client.OriginFile, error) bool) {
		for obj, err := range o.bucket.List(ctx, o.key) {
			if err != nil {
				yield(client.OriginFile{}, o.refused(err))
				return
			}
			if !strings.HasSuffix(o.key, "/") && o.key != "" && obj.Key != o.key {
				return // one object
			}
			path := strings.TrimPrefix(obj.Key, folder)
			if obj.Size == 0 && (path == "" || strings.HasSuffix(path, "/")) {
				continue // what consoles show a folder by
			}
			if obj.ETag == "" {
				yield(client.OriginFile{}, ballast.Errorf(ballast.CodeUnavailable, "%s: the store lists %q without an ETag, by which it would be known when it is read", o, obj.Key))
				return
			}
			if !yield(client.OriginFile{Path: path, Size: obj.Size, Version: obj.ETag}, nil) {
				return
			}
		}
	}
}

// Open implements client.Origin: the object must have the ETag that was listed.
func (o *s3Origin) Open(ctx context.Context, f client.OriginFile, offset, length int64) (io.ReadCloser, error) {
	key := o.key
	if key == "" || strings.HasSuffix(key, "/") {
		key += f.Path
	}
	body, err := o.bucket.Get(ctx, key, f.Version, offset, length)
	if err != nil {
		return nil, o.refused(err)
	}
	return body, nil
}

// refused says what an answer of the store means.
func (o *s3Origin) refused(err error) error {
	hint := "is AWS_ENDPOINT_URL_S3 set, if it is not AWS?"
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, objstore.ErrPrecondition) || errors.Is(err, objstore.ErrNotFound):
		return ballast.Errorf(ballast.CodePrecondition, "it was replaced or removed at %s while it was read; let its writer finish, and import again", o).Because(err)
	case errors.Is(err, objstore.ErrUnreadable):
		return ballast.Errorf(ballast.CodePrecondition, "it lies in an archive at %s, or is encrypted with its owner's key; put it there as a plain object, and import again", o).Because(err)
	case errors.Is(err, objstore.ErrDenied) && o.bucket == nil:
		return ballast.Errorf(ballast.CodeDenied, "%s lies outside of the places that the registry imports from (%s), so that this machine has to read it, and finds no credentials for it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", o, joinTexts(o.places)).Because(err)
	case errors.Is(err, objstore.ErrDenied):
		return ballast.Errorf(ballast.CodeDenied, "%s: the store refuses the credentials of this machine (%s), which need s3:ListBucket and s3:GetObject there; the registry itself imports only from %s", o, o.bucket.Credentials, joinTexts(o.places)).Because(err)
	case errors.Is(err, objstore.ErrNoBucket):
		return ballast.Errorf(ballast.CodeNotFound, "%s: there is no such bucket; %s", o, hint).Because(err)
	case errors.Is(err, objstore.ErrUnavailable):
		return ballast.Errorf(ballast.CodeUnavailable, "%s: no answer from the store, or that it is busy", o).Because(err)
	case errors.Is(err, objstore.ErrUnknown):
		return ballast.Errorf(ballast.CodePrecondition, "%s: the store gives an answer that is not S3's; check its region, AWS_REGION, and %s", o, hint).Because(err)
	}
	return ballast.Errorf(ballast.CodeInvalid, "%s: %w", o, err)
}
