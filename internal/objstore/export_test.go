package objstore

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// SetPageSize makes listings page after n entries.
func SetPageSize(s *S3, n int32) { s.page = n }

// Unsign makes s sign requests without a header; with hoist it goes into the query instead.
func Unsign(s *S3, header string, hoist bool) { s.signer = unsigner{s.signer, header, hoist} }

type unsigner struct {
	presigner
	header string
	hoist  bool
}

func (u unsigner) PresignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) (string, http.Header, error) {
	if u.hoist {
		q := r.URL.Query()
		q.Set(u.header, r.Header.Get(u.header))
		r.URL.RawQuery = q.Encode()
	}
	r.Header = r.Header.Clone()
	r.Header.Del(u.header)
	if u.header == "Content-Length" {
		r.ContentLength = 0
	}
	return u.presigner.PresignHTTP(ctx, creds, r, payloadHash, service, region, at, opts...)
}

// SetCopyPartSize makes Copy use parts of n bytes.
func SetCopyPartSize(s *S3, n int64) { s.copyPart = n }
