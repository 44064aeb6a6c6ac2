package objstore

import (
	"context"
	"errors"
	"iter"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ballast-registry/ballast"
)

// CreateMultipart implements Bucket. It is sent once: a repeat could leave a second upload behind.
func (s *S3) CreateMultipart(ctx context.Context, key string) (string, error) {
	if err := s.check(key); err != nil {
		return "", err
	}
	out, err := s.once.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: s.full(key), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ContentType: contentType(key),
	})
	if err != nil {
		return "", s.wrap("create multipart", key, classify(ctx, err))
	}
	return aws.ToString(out.UploadId), nil
}

// ListParts implements Bucket. MinIO lists nothing after a number that is no part's, so an empty answer to a marker is
// checked against the list from its start.
func (s *S3) ListParts(ctx context.Context, key, id string, after int) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		if err := s.check(key); err != nil {
			yield(Part{}, err)
			return
		}
		found := false
		for p, err := range s.partsFrom(ctx, key, id, after) {
			if found = true; !yield(p, err) {
				return
			}
		}
		if found || after == 0 {
			return
		}
		for p, err := range s.partsFrom(ctx, key, id, 0) {
			if (err != nil || p.Number > after) && !yield(p, err) {
				return
			}
		}
	}
}

// partsFrom lists with the store's own idea of a marker. An error ends the sequence.
func (s *S3) partsFrom(ctx context.Context, key, id string, marker int) iter.Seq2[Part, error] {
	return func(yield func(Part, error) bool) {
		input := &s3.ListPartsInput{Bucket: &s.bucket, Key: s.full(key), UploadId: &id, MaxParts: s.pageSize()}
		if marker > 0 {
			input.PartNumberMarker = aws.String(strconv.Itoa(marker))
		}
		for pages := s3.NewListPartsPaginator(s.client, input); pages.HasMorePages(); {
			out, err := pages.NextPage(ctx)
			if err != nil {
				yield(Part{}, s.wrap("list parts", key, ofUpload(classify(ctx, err))))
				return
			}
			for _, p := range out.Parts {
				if !yield(partOf(p), nil) {
					return
				}
			}
		}
	}
}

func partOf(p types.Part) Part {
	return Part{
		Number: int(aws.ToInt32(p.PartNumber)), Size: aws.ToInt64(p.Size), ETag: aws.ToString(p.ETag),
		SHA256: decodeSHA256(aws.ToString(p.ChecksumSHA256)), Modified: aws.ToTime(p.LastModified),
	}
}

// CompleteMultipart implements Bucket.
func (s *S3) CompleteMultipart(ctx context.Context, key, id string, parts []Part) (Object, error) {
	if err := s.check(key); err != nil {
		return Object{}, err
	}
	named, size := make([]types.CompletedPart, len(parts)), int64(0)
	for i, p := range parts {
		named[i] = types.CompletedPart{PartNumber: aws.Int32(int32(p.Number)), ETag: aws.String(p.ETag)}
		if p.SHA256 != "" {
			named[i].ChecksumSHA256 = aws.String(ballast.ChecksumHeader(p.SHA256))
		}
		size += p.Size
	}
	out, err := s.once.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: s.full(key), UploadId: &id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: named},
	})
	if err != nil {
		return Object{}, s.wrap("complete multipart", key, ofUpload(classify(ctx, err)))
	}
	return Object{Key: key, Size: size, ETag: aws.ToString(out.ETag), VersionID: version(out.VersionId)}, nil
}

// AbortMultipart implements Bucket.
func (s *S3) AbortMultipart(ctx context.Context, key, id string) error {
	if err := s.check(key); err != nil {
		return err
	}
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: s.full(key), UploadId: &id})
	if err == nil {
		err = s.gone(ctx, key, id)
	}
	return s.wrap("abort multipart", key, ofUpload(classify(ctx, err)))
}

// gone asks, after an accepted abort, whether the upload is gone: MinIO accepts aborts of uploads that never were, so
// the abort's own answer never says it there. Only a definite answer counts.
func (s *S3) gone(ctx context.Context, key, id string) error {
	_, err := s.client.ListParts(ctx, &s3.ListPartsInput{Bucket: &s.bucket, Key: s.full(key), UploadId: &id, MaxParts: aws.Int32(1)})
	if errors.Is(ofUpload(classify(ctx, err)), ErrNoSuchUpload) {
		return err
	}
	return nil
}

// ofUpload: what a call on an upload does not find can only be the upload, whose key need not exist.
func ofUpload(err error) error {
	if errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNoSuchUpload) {
		return ErrNoSuchUpload
	}
	return err
}

// ListUploads implements Bucket.
func (s *S3) ListUploads(ctx context.Context, key string) (list []MultipartUpload, err error) {
	if err := s.check(key); err != nil {
		return nil, err
	}
	for u, err := range s.UploadsUnder(ctx, key) {
		if err != nil {
			return nil, err
		}
		if u.Key == key {
			list = append(list, u)
		}
	}
	return list, nil
}

// UploadsUnder implements Bucket.
func (s *S3) UploadsUnder(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error] {
	return func(yield func(MultipartUpload, error) bool) {
		input := &s3.ListMultipartUploadsInput{
			Bucket: &s.bucket, Prefix: s.full(prefix), EncodingType: types.EncodingTypeUrl, MaxUploads: s.pageSize(),
		}
		for pages := s3.NewListMultipartUploadsPaginator(s.client, input); pages.HasMorePages(); {
			out, err := pages.NextPage(ctx)
			if err != nil {
				yield(MultipartUpload{}, s.wrap("list uploads", prefix, classify(ctx, err)))
				return
			}
			for _, u := range out.Uploads {
				key, err := s.relative(aws.ToString(u.Key), out.EncodingType)
				err = s.wrap("list uploads", prefix, err)
				if !yield(MultipartUpload{Key: key, ID: aws.ToString(u.UploadId), Initiated: aws.ToTime(u.Initiated)}, err) || err != nil {
					return
				}
			}
		}
	}
}
