package objstore

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// Foreign is a bucket that is none of a registry's, as the user of this machine reads it: with the credentials, the region
// and the endpoint that AWS's own programs would use. Keys are whole. What Bucket says of consistency, retries, context
// and concurrency holds for it.
type Foreign struct {
	s3 S3
	// Credentials names where the credentials came from, for messages.
	Credentials string
}

// OpenForeign prepares a client of a bucket by AWS's default chain: variables, shared files, web identity, container,
// instance; AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url of a profile for another store than AWS, whose buckets
// are addressed by path. Without a region it is us-east-1. httpClient may be nil.
// Errors: those of CheckBucket; ErrDenied when there are no credentials.
func OpenForeign(ctx context.Context, bucket string, httpClient *http.Client) (*Foreign, error) {
	if err := CheckBucket(bucket); err != nil {
		return nil, err
	}
	loaded, err := config.LoadDefaultConfig(ctx,
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithLogger(logging.Nop{}),
	)
	if err != nil {
		return nil, fmt.Errorf("objstore: the settings for AWS: %w", err)
	}
	if loaded.Region == "" {
		loaded.Region = "us-east-1"
	}
	asked, cancel := context.WithTimeout(ctx, instanceWait)
	defer cancel()
	keys, err := loaded.Credentials.Retrieve(asked)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: no credentials: %w", ErrDenied, err)
	}
	if httpClient == nil {
		httpClient = newHTTPClient(headerWait)
	}
	f := &Foreign{s3: S3{bucket: bucket, region: loaded.Region}, Credentials: keys.Source}
	f.s3.client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.HTTPClient, o.Retryer = httpClient, newRetryer()
		o.UsePathStyle = o.UsePathStyle || o.BaseEndpoint != nil
	})
	return f, nil
}

// List is Bucket.List.
func (f *Foreign) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return f.s3.List(ctx, prefix, "")
}

// Get is Bucket.Get of an object that still has this ETag. Length 0 reads to the end.
// Errors: ErrPrecondition when the object is another, ErrNotFound when it is gone.
func (f *Foreign) Get(ctx context.Context, key, etag string, offset, length int64) (io.ReadCloser, error) {
	body, _, err := f.s3.Get(ctx, key, ReadOptions{Offset: offset, Length: length, IfMatch: etag})
	return body, err
}
