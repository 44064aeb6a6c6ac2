package objstore

// SetPageSize makes listings page after n entries.
func SetPageSize(s *S3, n int32) { s.page = n }
