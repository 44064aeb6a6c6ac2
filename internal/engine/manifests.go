package engine

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// files returns the files of a manifest, sorted by path.
func (e *Engine) files(ctx context.Context, scope ballast.Scope, manifest digest.Digest) ([]ballast.File, error) {
	id := index.BlobID{Scope: scope, Digest: manifest}
	if files, ok := e.manifests.Get(id); ok {
		return files, nil
	}
	body, _, err := readAll(ctx, e.bucket, ballast.BlobKey(scope, manifest), ballast.MaxManifestBytes)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, ballast.Errorf(ballast.CodeIntegrity, "the manifest %s is missing from the bucket; the registry's operator has to run fsck", manifest)
	}
	if err != nil {
		return nil, storeError(err)
	}
	if actual := ballast.DigestOf(body); actual != manifest {
		err := ballast.Errorf(ballast.CodeIntegrity, "the manifest %s was changed in the bucket and now has the digest %s", manifest, actual)
		err.Expected, err.Actual = manifest, actual
		return nil, err
	}
	files, err := ballast.ParseManifest(body)
	if err != nil {
		return nil, err
	}
	e.manifests.Put(id, files, int64(len(body)))
	return files, nil
}
