package objstore

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Head implements Bucket.
func (s *S3) Head(ctx context.Context, key string) (Object, error) {
	if err := s.check(key); err != nil {
		return Object{}, err
	}
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.full(key), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		return Object{}, s.wrap("head", key, s.whyNoHead(ctx, key, err))
	}
	return Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), VersionID: version(out.VersionId),
		Modified: aws.ToTime(out.LastModified), SHA256: fullSHA256(out), StorageClass: string(out.StorageClass), Oddities: oddities(out),
	}, nil
}

// whyNoHead tells an object that needs a key of somebody's from a request that was wrong otherwise, such as one with
// an expired token. Both are a bare 400 to HEAD, which has no body to say more; to GET they are not.
func (s *S3) whyNoHead(ctx context.Context, key string, err error) error {
	if statusOf(err) != http.StatusBadRequest {
		return classify(ctx, err)
	}
	out, getErr := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.full(key), Range: aws.String("bytes=0-0")})
	switch {
	case getErr == nil:
		out.Body.Close()
		return classify(ctx, err) // HEAD alone is refused: not understood
	case code(getErr) == "InvalidRequest" || code(getErr) == "InvalidArgument":
		return fmt.Errorf("%w: %w", ErrUnreadable, getErr)
	}
	return classify(ctx, getErr)
}

// fullSHA256 is the checksum of the whole content. A checksum of checksums is none: it has the type COMPOSITE or, where
// a store names no type, a "-N" behind it or behind the ETag.
func fullSHA256(out *s3.HeadObjectOutput) digest.Digest {
	value := aws.ToString(out.ChecksumSHA256)
	switch out.ChecksumType {
	case types.ChecksumTypeFullObject:
	case "":
		if strings.Contains(aws.ToString(out.ETag), "-") || aws.ToInt32(out.PartsCount) > 0 {
			return ""
		}
	default:
		return ""
	}
	return decodeSHA256(value)
}

// decodeSHA256 reads the value of x-amz-checksum-sha256; "" when it is none. The decoder passes over line ends and loose
// bits, so only the one spelling of a checksum counts.
func decodeSHA256(value string) digest.Digest {
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(raw) != 32 {
		return ""
	}
	d := ballast.DigestFromSum([32]byte(raw))
	if ballast.ChecksumHeader(d) != value {
		return ""
	}
	return d
}

// oddities names what makes an object other than plain bytes.
func oddities(out *s3.HeadObjectOutput) (list []string) {
	if v := aws.ToString(out.ContentEncoding); v != "" {
		list = append(list, "Content-Encoding "+v)
	}
	if len(out.Metadata) > 0 || aws.ToInt32(out.MissingMeta) > 0 {
		list = append(list, "user metadata")
	}
	if aws.ToString(out.WebsiteRedirectLocation) != "" {
		list = append(list, "a website redirect")
	}
	if aws.ToString(out.SSECustomerAlgorithm) != "" {
		list = append(list, "encryption with a client's key")
	}
	if aws.ToBool(out.DeleteMarker) {
		list = append(list, "a delete marker")
	}
	if out.ArchiveStatus != "" {
		list = append(list, "an archive tier")
	}
	return list
}

// relative turns a listed key into one relative to the registry's prefix.
func (s *S3) relative(key string, encoding types.EncodingType) (string, error) {
	if encoding == types.EncodingTypeUrl {
		plain, err := url.QueryUnescape(key)
		if err != nil {
			return "", fmt.Errorf("objstore: listed key %q: %w", key, err)
		}
		key = plain
	}
	rest, ok := strings.CutPrefix(key, s.prefix)
	if !ok {
		return "", fmt.Errorf("objstore: the store listed %q outside of the prefix %q", key, s.prefix)
	}
	return rest, nil
}
