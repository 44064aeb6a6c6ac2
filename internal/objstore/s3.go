package objstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// S3 is a Bucket and a Signer over anything that speaks S3.
type S3 struct {
	client  *s3.Client
	once    *s3.Client // for calls that are sent once and may take as long as they take
	patient *s3.Client // for calls that may be repeated and take as long as they take

	bucket, prefix  string // prefix is "" or ends in "/"
	region          string
	service         *identity
	putUser, get    *identity
	put             signatory // putUser, or its sessions
	public, private location
	where           ballast.StoreInfo
	signer          presigner
	gets            *cache.Cache[getOf, signedGet]
	now             func() time.Time
	page            int32 // entries of a listing's page; 0 leaves it to the store
	copyPart        int64 // bytes that Copy has the store copy in one request, or more for large objects
}

var (
	_ Bucket = (*S3)(nil)
	_ Signer = (*S3)(nil)
)

// Open prepares a client of a bucket, which must exist. It sends nothing.
func Open(ctx context.Context, cfg Config) (*S3, error) {
	cfg.Prefix = strings.Trim(cfg.Prefix, "/")
	if err := cfg.check(); err != nil {
		return nil, err
	}
	loaded, err := cfg.load(ctx, cfg.Service)
	if err != nil {
		return nil, err
	}
	s := &S3{
		bucket: cfg.Bucket, prefix: cfg.Prefix, region: loaded.Region,
		service: newIdentity(cfg.Service.String(), loaded),
		signer:  newV4Signer(), gets: cache.New[getOf, signedGet](maxGetBytes), now: cfg.Now, copyPart: copyPartSize,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.prefix != "" {
		s.prefix += "/"
	}
	if err := s.openSigners(ctx, cfg, loaded); err != nil {
		return nil, err
	}
	s.openClients(cfg, loaded)
	s.where = ballast.StoreInfo{
		Endpoint: strings.TrimSuffix(cmp.Or(cfg.PublicEndpoint, cfg.Endpoint), "/"), Region: s.region, Bucket: s.bucket, Prefix: s.prefix, PathStyle: cfg.PathStyle,
	}
	return s, nil
}

// Neighbour is another bucket of the same store, whole, with the service's identity. The registry takes from it what
// people have put there; nothing is signed for it. Errors: those of CheckBucket.
func (s *S3) Neighbour(bucket string) (Bucket, error) {
	if err := CheckBucket(bucket); err != nil {
		return nil, err
	}
	n := *s
	n.bucket, n.prefix = bucket, ""
	return &n, nil
}

// Where tells where the objects lie, as clients reach them.
func (s *S3) Where() ballast.StoreInfo { return s.where }

func (s *S3) openSigners(ctx context.Context, cfg Config, loaded aws.Config) (err error) {
	s.putUser, s.get = s.service, s.service
	for _, own := range []struct {
		id *Identity // which may be one for both
		to **identity
	}{{cfg.Put, &s.putUser}, {cfg.Get, &s.get}} {
		if own.id == nil {
			continue
		}
		loaded, err := cfg.load(ctx, *own.id)
		if err != nil {
			return err
		}
		*own.to = newIdentity(own.id.String(), loaded)
	}
	s.put = s.putUser
	if cfg.PutNarrow {
		if err := s.narrow(cfg, loaded); err != nil {
			return err
		}
	}
	if s.private, err = locate(ctx, cfg, s.region, cfg.Endpoint); err != nil {
		return err
	}
	s.public = s.private
	if cfg.PublicEndpoint != "" {
		s.public, err = locate(ctx, cfg, s.region, cfg.PublicEndpoint)
	}
	return err
}

func (s *S3) openClients(cfg Config, loaded aws.Config) {
	quick, patient := cfg.HTTPClient, cfg.HTTPClient
	if cfg.HTTPClient == nil {
		quick, patient = newHTTPClient(headerWait), newHTTPClient(0)
	}
	configure := func(client *http.Client, retryer aws.Retryer) *s3.Client {
		return s3.NewFromConfig(loaded, func(o *s3.Options) {
			o.Region = s.region
			o.Credentials = s.service
			o.HTTPClient = client
			o.Retryer = retryer
			o.UsePathStyle = cfg.PathStyle
			if cfg.Endpoint != "" {
				o.BaseEndpoint = aws.String(cfg.Endpoint)
			}
		})
	}
	s.client = configure(quick, newRetryer())
	s.once = configure(patient, aws.NopRetryer{})
	s.patient = configure(patient, newRetryer())
}

// headerWait bounds how long a store may think about a call that it answers at once.
const headerWait = time.Minute

func newHTTPClient(wait time.Duration) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: wait,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConns:          256,
			MaxIdleConnsPerHost:   64,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true, // an object's bytes are its bytes
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Put implements Bucket.
func (s *S3) Put(ctx context.Context, key string, body []byte, cond Condition) (Object, error) {
	if err := s.check(key); err != nil {
		return Object{}, err
	}
	if len(body) > MaxPut {
		return Object{}, fmt.Errorf("objstore: put %q: %d bytes are over the limit of %d", key, len(body), MaxPut)
	}
	if cond.IfAbsent && cond.IfMatch != "" {
		return Object{}, fmt.Errorf("objstore: put %q: a write has one condition at most", key)
	}
	sum := ballast.DigestOf(body)
	input := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.full(key), Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
		ChecksumSHA256: aws.String(ballast.ChecksumHeader(sum)), IfMatch: optional(cond.IfMatch), ContentType: contentType(key),
	}
	client := s.client
	if cond.IfAbsent {
		input.IfNoneMatch = aws.String("*")
	}
	if cond != (Condition{}) {
		client = s.once
	}
	out, err := client.PutObject(ctx, input)
	if err != nil {
		return Object{}, s.wrap("put", key, conditional(classify(ctx, err), cond))
	}
	return Object{
		Key: key, Size: int64(len(body)), ETag: aws.ToString(out.ETag), VersionID: version(out.VersionId), SHA256: sum,
	}, nil
}

// PutFile implements Bucket.
func (s *S3) PutFile(ctx context.Context, key string, file io.ReadSeeker, size int64, sum digest.Digest) (Object, error) {
	if err := s.check(key); err != nil {
		return Object{}, err
	}
	if size > ballast.MaxPutSize {
		return Object{}, fmt.Errorf("objstore: put %q: %d bytes are over the limit of %d", key, size, int64(ballast.MaxPutSize))
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.full(key), Body: file, ContentLength: aws.Int64(size),
		ChecksumSHA256: aws.String(ballast.ChecksumHeader(sum)), ContentType: contentType(key),
	})
	if err != nil {
		return Object{}, s.wrap("put", key, classify(ctx, err))
	}
	return Object{Key: key, Size: size, ETag: aws.ToString(out.ETag), VersionID: version(out.VersionId), SHA256: sum}, nil
}

// conditional: a store may say of If-Match on an absent key that the key is absent.
func conditional(err error, cond Condition) error {
	if cond.IfMatch != "" && errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrPrecondition, err)
	}
	return err
}

// contentType is for people who look at the bucket; nothing depends on it.
func contentType(key string) *string {
	if strings.HasSuffix(key, ".json") {
		return aws.String("application/json")
	}
	return aws.String("application/octet-stream")
}

// Get implements Bucket.
func (s *S3) Get(ctx context.Context, key string, opt ReadOptions) (io.ReadCloser, Object, error) {
	if err := s.check(key); err != nil {
		return nil, Object{}, err
	}
	input := &s3.GetObjectInput{Bucket: &s.bucket, Key: s.full(key), IfMatch: optional(opt.IfMatch), VersionId: optional(opt.VersionID)}
	switch {
	case opt.Offset < 0 || opt.Length < 0:
		return nil, Object{}, fmt.Errorf("objstore: get %q: range %d+%d", key, opt.Offset, opt.Length)
	case opt.Length > 0:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-%d", opt.Offset, opt.Offset+opt.Length-1))
	case opt.Offset > 0:
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", opt.Offset))
	}
	out, err := s.client.GetObject(ctx, input)
	if err != nil {
		return nil, Object{}, s.wrap("get", key, classify(ctx, err))
	}
	length := aws.ToInt64(out.ContentLength)
	o := Object{
		Key: key, Size: wholeSize(length, aws.ToString(out.ContentRange)), ETag: aws.ToString(out.ETag),
		VersionID: version(out.VersionId), Modified: aws.ToTime(out.LastModified), StorageClass: string(out.StorageClass),
	}
	return &exactReader{ctx: ctx, body: out.Body, left: length, key: key}, o, nil
}

// wholeSize is the object's size: of a range, what follows the slash in Content-Range.
func wholeSize(length int64, contentRange string) int64 {
	if _, total, ok := strings.Cut(contentRange, "/"); ok {
		if n, err := strconv.ParseUint(total, 10, 63); err == nil {
			return int64(n)
		}
	}
	return length
}

// exactReader ends in io.EOF only after the announced number of bytes.
type exactReader struct {
	ctx  context.Context
	body io.ReadCloser
	left int64
	key  string
}

func (r *exactReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("objstore: read %q: %w", r.key, classify(r.ctx, err))
	}
	return n, err
}

func (r *exactReader) Close() error { return r.body.Close() }

// Delete implements Bucket.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := s.check(key); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.full(key)})
	if err = classify(ctx, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return s.wrap("delete", key, err)
}

// DeleteMatch implements Bucket.
func (s *S3) DeleteMatch(ctx context.Context, key, etag string) error {
	if etag == "" {
		return fmt.Errorf("objstore: delete %q: without an ETag", key)
	}
	found, err := s.Head(ctx, key)
	switch {
	case err != nil:
		return err
	case found.ETag != etag:
		return fmt.Errorf("objstore: delete %q: %w: its ETag is %s", key, ErrPrecondition, found.ETag)
	}
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.full(key), IfMatch: &etag})
	return s.wrap("delete", key, classify(ctx, err))
}

// List implements Bucket.
func (s *S3) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		input := &s3.ListObjectsV2Input{
			Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix), EncodingType: types.EncodingTypeUrl, MaxKeys: s.pageSize(),
		}
		if after != "" {
			input.StartAfter = s.full(after)
		}
		for pages := s3.NewListObjectsV2Paginator(s.client, input); pages.HasMorePages(); {
			out, err := pages.NextPage(ctx)
			if err != nil {
				yield(Object{}, s.wrap("list", prefix, classify(ctx, err)))
				return
			}
			for _, item := range out.Contents {
				key, err := s.relative(aws.ToString(item.Key), out.EncodingType)
				if err == nil && key <= after && after != "" {
					continue // a store that reads StartAfter as a folder
				}
				o := Object{Key: key, Size: aws.ToInt64(item.Size), ETag: aws.ToString(item.ETag), Modified: aws.ToTime(item.LastModified), StorageClass: string(item.StorageClass)}
				if !yield(o, err) || err != nil {
					return
				}
			}
		}
	}
}

func (s *S3) pageSize() *int32 {
	if s.page == 0 {
		return nil
	}
	return &s.page
}

func (s *S3) full(key string) *string { return aws.String(s.prefix + key) }

func (s *S3) check(key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if len(s.prefix)+len(key) > maxKey {
		return fmt.Errorf("%w %.80q: with the prefix it is longer than %d bytes", ErrBadKey, key, maxKey)
	}
	return nil
}

func (s *S3) wrap(what, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("objstore: %s %q: %w", what, key, err)
}

func optional(v string) *string {
	if v == "" {
		return nil
	}
	return &v
}

// version drops the id of the one version that an unversioned or suspended bucket holds.
func version(id *string) string {
	if v := aws.ToString(id); v != "null" {
		return v
	}
	return ""
}
