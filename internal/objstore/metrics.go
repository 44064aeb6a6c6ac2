package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
)

// Instrument returns what gives a bucket back with its calls timed in a histogram of reg, ballast_store_call_seconds, by op
// and outcome. A Get lasts until its body begins; a listing counts once, without the time its reader takes.
func Instrument(reg prometheus.Registerer) (func(Bucket) Bucket, error) {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "ballast_store_call_seconds",
		Help:    "Duration of the service's own calls to the object store, retries included.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9), // 1 ms … 65 s
	}, []string{"op", "outcome"})
	if err := reg.Register(seconds); err != nil {
		return nil, fmt.Errorf("objstore: metrics: %w", err)
	}
	return func(b Bucket) Bucket { return &timed{b, seconds} }, nil
}

type timed struct {
	next    Bucket
	seconds *prometheus.HistogramVec
}

// outcome names an error in one word of a closed set.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return "ended"
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrNoSuchUpload):
		return "not_found"
	case errors.Is(err, ErrPrecondition):
		return "precondition"
	case errors.Is(err, ErrDenied):
		return "denied"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return "other"
}

func (t *timed) observe(op string, start time.Time, err error) {
	t.seconds.WithLabelValues(op, outcome(err)).Observe(time.Since(start).Seconds())
}

func (t *timed) Put(ctx context.Context, key string, body []byte, cond Condition) (Object, error) {
	start := time.Now()
	o, err := t.next.Put(ctx, key, body, cond)
	t.observe("put", start, err)
	return o, err
}

func (t *timed) PutFile(ctx context.Context, key string, file io.ReadSeeker, size int64, sum digest.Digest) (Object, error) {
	start := time.Now()
	o, err := t.next.PutFile(ctx, key, file, size, sum)
	t.observe("put_file", start, err)
	return o, err
}

func (t *timed) Get(ctx context.Context, key string, opt ReadOptions) (io.ReadCloser, Object, error) {
	start := time.Now()
	r, o, err := t.next.Get(ctx, key, opt)
	t.observe("get", start, err)
	return r, o, err
}

func (t *timed) Head(ctx context.Context, key string) (Object, error) {
	start := time.Now()
	o, err := t.next.Head(ctx, key)
	t.observe("head", start, err)
	return o, err
}

func (t *timed) Delete(ctx context.Context, key string) error {
	start := time.Now()
	err := t.next.Delete(ctx, key)
	t.observe("delete", start, err)
	return err
}

func (t *timed) DeleteMatch(ctx context.Context, key, etag string) error {
	start := time.Now()
	err := t.next.DeleteMatch(ctx, key, etag)
	t.observe("delete_match", start, err)
	return err
}

func (t *timed) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return timedSeq(t, "list", t.next.List(ctx, prefix, after))
}

func (t *timed) CreateMultipart(ctx context.Context, key string) (string, error) {
	start := time.Now()
	id, err := t.next.CreateMultipart(ctx, key)
	t.observe("create_multipart", start, err)
	return id, err
}

func (t *timed) Copy(ctx context.Context, key string, source Source) (Object, error) {
	start := time.Now()
	o, err := t.next.Copy(ctx, key, source)
	t.observe("copy", start, err)
	return o, err
}

func (t *timed) ListParts(ctx context.Context, key, id string, after int) iter.Seq2[Part, error] {
	return timedSeq(t, "list_parts", t.next.ListParts(ctx, key, id, after))
}

func (t *timed) CompleteMultipart(ctx context.Context, key, id string, parts []Part) (Object, error) {
	start := time.Now()
	o, err := t.next.CompleteMultipart(ctx, key, id, parts)
	t.observe("complete_multipart", start, err)
	return o, err
}

func (t *timed) AbortMultipart(ctx context.Context, key, id string) error {
	start := time.Now()
	err := t.next.AbortMultipart(ctx, key, id)
	t.observe("abort_multipart", start, err)
	return err
}

func (t *timed) ListUploads(ctx context.Context, key string) ([]MultipartUpload, error) {
	start := time.Now()
	list, err := t.next.ListUploads(ctx, key)
	t.observe("list_uploads", start, err)
	return list, err
}

func (t *timed) UploadsUnder(ctx context.Context, prefix string) iter.Seq2[MultipartUpload, error] {
	return timedSeq(t, "list_uploads", t.next.UploadsUnder(ctx, prefix))
}

// timedSeq moves the start forward by what the reader takes for each value.
func timedSeq[T any](t *timed, op string, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		start, last := time.Now(), error(nil)
		defer func() { t.observe(op, start, last) }()
		for v, err := range seq {
			last = err
			given := time.Now()
			more := yield(v, err)
			start = start.Add(time.Since(given))
			if !more {
				return
			}
		}
	}
}
