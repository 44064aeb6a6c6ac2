package objstore

import v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

// SetPageSize makes listings page after n entries.
func SetPageSize(s *S3, n int32) { s.page = n }

// HoistHeaders gives s the SDK's signer as it comes, which moves x-amz- headers into the query.
func HoistHeaders(s *S3) { s.signer = v4.NewSigner() }
