package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
)

const (
	copyPartSize  = 256 << 20 // bytes that the store copies in one request
	copiesAtOnce  = 4         // parts of one object
	abortDeadline = 30 * time.Second
)

// Copy implements Bucket. The parts carry no checksums: MinIO refuses to copy into an upload that asks for them.
func (s *S3) Copy(ctx context.Context, key string, source Source) (Object, error) {
	if err := errors.Join(s.check(key), s.checkSource(source)); err != nil {
		return Object{}, err
	}
	if source.ETag == "" || source.Size <= 0 {
		return Object{}, fmt.Errorf("objstore: copy to %q: its source %q has no ETag or no size", key, source.Key)
	}
	created, err := s.once.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: s.full(key), ContentType: contentType(key)})
	if err != nil {
		return Object{}, s.wrap("copy to", key, classify(ctx, err))
	}
	id := aws.ToString(created.UploadId)
	out, err := s.copyParts(ctx, key, id, source)
	if err != nil {
		// After an error that leaves the outcome open, the upload may be gone and the object there: Head decides.
		actx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortDeadline)
		defer cancel()
		_, _ = s.client.AbortMultipartUpload(actx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: s.full(key), UploadId: &id})
		return Object{}, s.wrap("copy to", key, classify(ctx, err))
	}
	return Object{Key: key, Size: source.Size, ETag: aws.ToString(out.ETag), VersionID: version(out.VersionId)}, nil
}

// copyParts copies the source part by part and completes the upload onto the empty key.
func (s *S3) copyParts(ctx context.Context, key, id string, source Source) (*s3.CompleteMultipartUploadOutput, error) {
	size := ballast.ClampPartSize(source.Size, s.copyPart)
	parts := make([]types.CompletedPart, ballast.PartCount(source.Size, size))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(copiesAtOnce)
	for i := range parts {
		group.Go(func() error {
			number := aws.Int32(int32(i + 1))
			input := &s3.UploadPartCopyInput{
				Bucket: &s.bucket, Key: s.full(key), UploadId: &id, PartNumber: number,
				CopySource: aws.String(s.copySource(source)), CopySourceIfMatch: &source.ETag,
			}
			if len(parts) > 1 { // S3 takes a range only of objects over 5 MiB
				begin := int64(i) * size
				input.CopySourceRange = aws.String(fmt.Sprintf("bytes=%d-%d", begin, begin+ballast.PartLength(source.Size, size, i+1)-1))
			}
			out, err := s.patient.UploadPartCopy(gctx, input)
			if err == nil && (out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "") {
				err = fmt.Errorf("objstore: the store copied part %d and named no ETag", i+1)
			}
			if err == nil {
				parts[i] = types.CompletedPart{PartNumber: number, ETag: out.CopyPartResult.ETag}
				source.copied(ballast.PartLength(source.Size, size, i+1))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return s.once.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: s.full(key), UploadId: &id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
}

func (s *S3) checkSource(source Source) error {
	if source.Bucket == "" {
		return s.check(source.Key)
	}
	return errors.Join(CheckBucket(source.Bucket), CheckKey(source.Key))
}

// copySource writes bucket, key and version the way the header wants them: percent-encoded, slashes kept. A plus sign is
// encoded too, for versitygw reads it as a space.
func (s *S3) copySource(source Source) string {
	where := s.bucket + "/" + *s.full(source.Key)
	if source.Bucket != "" {
		where = source.Bucket + "/" + source.Key
	}
	segments := strings.Split(where, "/")
	for i, segment := range segments {
		segments[i] = strings.ReplaceAll(url.QueryEscape(segment), "+", "%20")
	}
	text := strings.Join(segments, "/")
	if source.VersionID != "" {
		text += "?versionId=" + url.QueryEscape(source.VersionID)
	}
	return text
}
