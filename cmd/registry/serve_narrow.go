package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/ballast-registry/ballast/internal/objstore"
)

// Attributes of the log lines about who signs uploads.
const (
	attrReason = "reason"
	attrScope  = "scope"
)

// openBucket opens the store, tries it, and says in a line whether uploads are signed by sessions that end at a scope. Once
// they are, nothing else ever signs one.
func (s *serving) openBucket(ctx context.Context) (*objstore.S3, error) {
	reason, err := s.whyNotNarrow(ctx)
	if err != nil {
		return nil, err
	}
	s.store.PutNarrow, s.store.SessionFailed = reason == "", s.sessionFailed
	bucket, err := objstore.Open(ctx, s.store)
	if err != nil {
		return nil, err
	}
	s.where = bucket.Where()
	if err := s.probe(ctx, bucket); err != nil {
		return nil, err
	}
	if s.store.PutNarrow {
		s.log.InfoContext(ctx, "each upload is signed by a session that may write in its scope alone")
	} else {
		s.log.InfoContext(ctx, "uploads of all scopes are signed by one identity", slog.String(attrReason, reason))
	}
	return bucket, nil
}

// whyNotNarrow is "" where uploads are to be signed by sessions. Where the settings leave it open, the store decides.
func (s *serving) whyNotNarrow(ctx context.Context) (reason string, err error) {
	flags := &s.cmd.S3
	switch {
	case flags.embedded():
		return "the embedded store makes no sessions", nil
	case flags.PutNarrow == narrowOff:
		return "--s3-put-narrow is off", nil
	case flags.mustNarrow():
		return "", nil
	case flags.Endpoint == "":
		return "AWS needs --s3-put-role for sessions", nil
	case flags.PutProfile == "":
		return "there is no --s3-put-profile to make sessions of", nil
	}
	bucket, err := objstore.Open(ctx, s.store)
	switch {
	case errors.Is(err, objstore.ErrNoPolicy):
		return err.Error(), nil
	case err != nil:
		return "", err
	}
	refusal, err := bucket.TrySessions(ctx)
	if refusal == "" || err != nil {
		return "", err
	}
	return "asked for a session of --s3-put-profile, the store answered " + refusal, nil
}

// sessionFailed is told of each session that the store does not give while the service runs.
func (s *serving) sessionFailed(folder string, err error) {
	s.log.Warn("the store gives no new session for uploads; the last one goes on while it lives, and then uploads of the scope are refused",
		slog.String(attrScope, strings.TrimPrefix(folder, "tenants/")), slog.Any(attrError, err))
}
