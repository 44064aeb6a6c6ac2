package engine

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/index"
)

// auditedSigner notes each request that it signs in the record of the request that it is for. All signatures are its: so
// none is handed out that the audit has no line of.
type auditedSigner struct{ fencedSigner }

func (s auditedSigner) SignPut(ctx context.Context, key string, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	req, err := s.fencedSigner.SignPut(ctx, key, content, size, ttl)
	if err == nil {
		a := audit.Of(ctx)
		a.Signed(ballast.AuditWrite)
		a.Hands(size)
	}
	return req, err
}

func (s auditedSigner) SignPart(ctx context.Context, key, uploadID string, number int, content digest.Digest, size int64, ttl time.Duration) (ballast.SignedRequest, error) {
	req, err := s.fencedSigner.SignPart(ctx, key, uploadID, number, content, size, ttl)
	if err == nil {
		a := audit.Of(ctx)
		a.Signed(ballast.AuditWrite)
		a.Hands(size)
	}
	return req, err
}

func (s auditedSigner) SignGet(ctx context.Context, key, versionID string, ttl time.Duration) (ballast.SignedRequest, error) {
	req, err := s.fencedSigner.SignGet(ctx, key, versionID, ttl)
	if err == nil {
		audit.Of(ctx).Signed(ballast.AuditRead)
	}
	return req, err
}

// asks notes which model is asked for. A scope that the principal may not read is not noted: its admin would learn who asks,
// and a line of a stranger is not the admin's to see.
func (p Principal) asks(ctx context.Context, ref ballast.Ref) {
	scope := p.Home()
	if p.sees(ref.Scope, ref.Name) {
		scope = ref.Scope
	}
	audit.Of(ctx).Names(scope, ref.Name)
}

// noteUpload notes what an upload is to become, and the blob if it is one.
func noteUpload(ctx context.Context, u index.Upload, req ballast.BlobsRequest) {
	a := audit.Of(ctx)
	if a == nil {
		return
	}
	a.Names(u.Scope, u.Name)
	if !u.Version.IsZero() {
		a.Found(u.Scope, ballast.Key{Scope: u.Scope, Name: u.Name, Version: u.Version}.String())
	}
	if len(req.Blobs) != 1 {
		return
	}
	if d, err := ballast.ParseDigest(req.Blobs[0].Digest.String()); err == nil {
		a.Blob(d)
	}
}
