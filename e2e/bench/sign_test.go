package bench_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

const (
	signedParts  = 10_000
	signedAtOnce = ballast.MaxPartsPerCall
)

// BenchmarkSignParts gets 10,000 distinct parts of a file signed over HTTP, a thousand in a call, one call after the
// other, in turns with the SDK's bare signer in a loop. The time is until the last byte of the last answer is there.
func BenchmarkSignParts(b *testing.B) {
	b.Log(machine(), "; ", moduleVersion("github.com/aws/aws-sdk-go-v2"))
	r := serve(b, testenv.MinIO(b), here)
	token := r.token(b)
	var t turns
	for b.Loop() {
		t.round(func() time.Duration { return signOverHTTP(b, r, token) }, func() time.Duration { return signBare(b) })
	}
	t.report(b, "10,000 parts signed over HTTP", "bare signer in a loop")
}

// signOverHTTP returns how long the calls take, without making up what they ask for.
func signOverHTTP(b *testing.B, r *registry, token string) time.Duration {
	b.Helper()
	u, err := r.api.CreateUpload(b.Context(), ballast.CreateUpload{Scope: ballast.Global, Name: must(ballast.ParseName("signed")), Version: version(), Attempt: uuid.NewString()})
	if err != nil {
		b.Fatal(err)
	}
	blob := ballast.BlobRequest{Digest: ballast.DigestOf([]byte(u.ID)), Size: signedParts * ballast.MinPartSize, Method: ballast.MethodMultipart, PartSize: ballast.MinPartSize}
	var bodies [][]byte
	for first := 1; first <= signedParts; first += signedAtOnce {
		blob.Parts = nil
		for n := first; n < first+signedAtOnce; n++ {
			blob.Parts = append(blob.Parts, ballast.PartDigest{Number: n, SHA256: ballast.DigestOf(fmt.Append(nil, u.ID, n)).Encoded()})
		}
		text, err := json.Marshal(ballast.BlobsRequest{Blobs: []ballast.BlobRequest{blob}})
		if err != nil {
			b.Fatal(err)
		}
		bodies = append(bodies, text)
	}
	var answers [][]byte
	began := time.Now()
	for _, body := range bodies {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+r.process.at+"/v1/uploads/"+u.ID+"/blobs", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatalf("%s %v %.300s", res.Status, err, text)
		}
		answers = append(answers, text)
	}
	took := time.Since(began)
	signatures := map[string]bool{}
	for _, text := range answers {
		var a ballast.BlobsResponse
		if err := json.Unmarshal(text, &a); err != nil {
			b.Fatal(err)
		}
		for _, p := range a.Blobs[0].Parts {
			signatures[p.Request.URL] = true
		}
	}
	if len(signatures) != signedParts {
		b.Fatalf("%d parts were signed", len(signatures))
	}
	if err := r.api.Abort(b.Context(), u.ID); err != nil {
		b.Fatal(err)
	}
	return took
}

// signBare signs as many parts of an object of such a key.
func signBare(b *testing.B) time.Duration {
	b.Helper()
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableHeaderHoisting, o.DisableURIPathEscaping = true, true })
	creds := aws.Credentials{AccessKeyID: "AKIDAKIDAKIDAKIDAKID", SecretAccessKey: rand.Text()}
	checksum, at := ballast.ChecksumHeader(ballast.EmptyDigest), time.Now()
	began := time.Now()
	for n := range signedParts {
		u := &url.URL{Scheme: "http", Host: "127.0.0.1:9000", Path: "/bucket/" + ballast.BlobKey(ballast.Global, ballast.EmptyDigest)}
		u.RawQuery = fmt.Sprintf("X-Amz-Expires=3600&partNumber=%d&uploadId=Mzk0MmQ5YzEtNjUxZC00MDg0LWIxZTQtNTVmZTI1YTY1ZDQ5", n)
		req := &http.Request{Method: http.MethodPut, URL: u, Host: u.Host, Header: http.Header{"X-Amz-Checksum-Sha256": {checksum}}, ContentLength: ballast.MinPartSize}
		if _, _, err := signer.PresignHTTP(b.Context(), creds, req, "UNSIGNED-PAYLOAD", "s3", "us-east-1", at); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

const (
	publishClients = 64
	publishesEach  = 8 // of a client, in a round
)

// BenchmarkPublish has 64 clients publish versions of one small file over HTTP, and shows beside it how many objects of the
// size of a manifest the store itself takes a second from as many clients: a publish writes three, the file, the manifest
// and the record.
func BenchmarkPublish(b *testing.B) {
	b.Log(machine())
	s := testenv.MinIO(b)
	r := serve(b, s, here)
	c := s.Client(b, s.Root)
	object := bytes.Repeat([]byte{'x'}, 500)
	const all = publishClients * publishesEach
	var t turns
	for b.Loop() {
		t.round(func() time.Duration {
			return together(b, func(ctx context.Context) error { return r.publish(ctx) })
		}, func() time.Duration {
			return together(b, func(ctx context.Context) error {
				_, err := c.PutObject(ctx, s.Bucket, "plain/"+rand.Text(), bytes.NewReader(object), int64(len(object)), minio.PutObjectOptions{})
				return err
			})
		})
	}
	b.Logf("publishes/s: median %.0f; PUT/s of the store: median %.0f", all/median(t.ours).Seconds(), all/median(t.bare).Seconds())
	t.report(b, fmt.Sprint(all, " publishes"), fmt.Sprint(all, " PUTs"))
}

// publish publishes a version of one file of a few bytes.
func (r *registry) publish(ctx context.Context) error {
	body := []byte("weights " + rand.Text())
	u, err := r.api.CreateUpload(ctx, ballast.CreateUpload{Scope: ballast.Global, Name: must(ballast.ParseName("m" + rand.Text())), Version: version(), Attempt: uuid.NewString()})
	if err != nil {
		return err
	}
	file := ballast.File{Path: "model.bin", Size: int64(len(body)), Digest: ballast.DigestOf(body)}
	a, err := r.api.Blobs(ctx, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: file.Digest, Size: file.Size}}})
	if err != nil {
		return err
	}
	to := a.Blobs[0].Request
	req, err := http.NewRequestWithContext(ctx, to.Method, to.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range to.Headers {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("PUT: %s %w", res.Status, err)
	}
	u, err = r.api.Commit(ctx, u.ID, ballast.CommitRequest{Files: []ballast.File{file}})
	if err == nil && u.Status != ballast.UploadDone {
		err = fmt.Errorf("%s is %s", u.ID, u.Status)
	}
	return err
}

// together has every client do something so many times at once, and returns how long that takes.
func together(b *testing.B, do func(context.Context) error) time.Duration {
	b.Helper()
	var left atomic.Int64
	left.Store(publishClients * publishesEach)
	g, ctx := errgroup.WithContext(b.Context())
	began := time.Now()
	for range publishClients {
		g.Go(func() error {
			for left.Add(-1) >= 0 {
				if err := do(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

// turns are what two took in the same rounds.
type turns struct{ ours, bare []time.Duration }

func (t *turns) round(ours, bare func() time.Duration) {
	if len(t.ours)%2 == 0 {
		t.ours, t.bare = append(t.ours, ours()), append(t.bare, bare())
		return
	}
	took := bare()
	t.ours, t.bare = append(t.ours, ours()), append(t.bare, took)
}

// report logs medians with the least and the most; the ratio is the median of the rounds' own.
func (t *turns) report(b *testing.B, ours, bare string) {
	b.Helper()
	var ratios []float64
	for i := range t.ours {
		ratios = append(ratios, t.ours[i].Seconds()/t.bare[i].Seconds())
	}
	s := spread(ratios)
	var out strings.Builder
	for name, all := range map[string][]time.Duration{ours: t.ours, bare: t.bare} {
		fmt.Fprintf(&out, "%s: median %s, least %s, most %s\n", name, median(all).Round(time.Millisecond), slices.Min(all).Round(time.Millisecond), slices.Max(all).Round(time.Millisecond))
	}
	b.Logf("\n%sratio: median %.2f, least %.2f, most %.2f; load average %s", out.String(), s[0], s[1], s[2], load())
	b.ReportMetric(s[0], "ratio")
}

func version() ballast.Version { return ballast.MajorVersion(1) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
