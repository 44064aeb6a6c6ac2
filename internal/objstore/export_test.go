package objstore

import (
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

// SetCopyPartSize makes Copy use parts of n bytes.
func SetCopyPartSize(s *S3, n int64) { s.copyPart = n }
