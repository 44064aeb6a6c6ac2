package objstore

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

func (u unsigner) presign(creds aws.Credentials, r request, at time.Time) (string, map[string]string) {
	var left []field
	for _, h := range r.header {
		switch {
		case h.name != u.header:
			left = append(left, h)
		case u.hoist:
			r.query = append(r.query, h)
		}
	}
	r.header = left
	return u.presigner.presign(creds, r, at)
}

// SessionKeys are those of the session that signs uploads into a scope's folder.
func SessionKeys(ctx context.Context, s *S3, folder string) (Keys, error) {
	creds, err := s.put.(*sessions).session(ctx, folder)
	return Keys{creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken}, err
}

// Chunked is a body in a mode in which MinIO accepts a signature of zeros, and its headers.
func Chunked(content []byte) ([]byte, http.Header) { return chunked(content, "x-amz-checksum-crc32") }

// SetCopyPartSize makes Copy use parts of n bytes.
func SetCopyPartSize(s *S3, n int64) { s.copyPart = n }

// Touches reports whether a lifecycle rule for a prefix can meet what a registry below home keeps.
func Touches(prefix, home string) bool { return touches(prefix, home, keptAreas) }
