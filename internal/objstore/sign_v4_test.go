package objstore

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
	"pgregory.net/rapid"
)

// sdkSigner is the SDK's signer as a presigner.
type sdkSigner struct{ *v4.Signer }

func newSDKSigner() sdkSigner {
	return sdkSigner{v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableHeaderHoisting = true
		o.DisableURIPathEscaping = true // S3 signs the path as it is sent
	})}
}

func (s sdkSigner) presign(creds aws.Credentials, r request, at time.Time) (string, map[string]string) {
	u, err := url.Parse(r.at.url.Scheme + "://" + r.at.url.Host + r.path)
	if err != nil {
		panic(err)
	}
	query := url.Values{"X-Amz-Expires": {strconv.FormatInt(r.seconds, 10)}}
	for _, q := range r.query {
		query.Add(q.name, q.value)
	}
	u.RawQuery = query.Encode()
	req := (&http.Request{Method: r.method, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(context.Background())
	for _, h := range r.header {
		if h.name == "content-length" {
			req.ContentLength, _ = strconv.ParseInt(h.value, 10, 64)
			continue
		}
		req.Header.Set(h.name, h.value)
	}
	signed, header, err := s.PresignHTTP(req.Context(), creds, req, unsignedPayload, "s3", r.region, at)
	if err != nil {
		panic(err)
	}
	headers := map[string]string{}
	for name, values := range header {
		if name != "Host" {
			headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	return signed, headers
}

func drawRequest(t *rapid.T) (aws.Credentials, request, time.Time) {
	text := func(label, alphabet string, least, most int) string {
		return rapid.StringOfN(rapid.RuneFrom([]rune(alphabet)), least, most, -1).Draw(t, label)
	}
	const wild = "abzAZ09-_.~ /+=&?#%!*'()@:;,$\"<>[]{}|\\^`é日\u00a0\n"
	creds := aws.Credentials{AccessKeyID: text("id", "AKIDZ0123/+", 1, 20), SecretAccessKey: text("secret", wild, 1, 40), SessionToken: text("session", "abcAZ09+/=", 0, 400)}
	endpoint := rapid.SampledFrom([]string{
		"http://store:9000", "https://files.example", "http://localhost:80", "https://files.example:443", "https://files.example:80", "http://[::1]:9000", "https://[::1]:443", "http://store/base/p%20q",
	}).Draw(t, "endpoint")
	at, err := locate(context.Background(), Config{Bucket: "bucket-1", PathStyle: rapid.Bool().Draw(t, "path style")}, "us-east-1", endpoint)
	if err != nil {
		t.Skip(err) // no bucket below an address
	}
	r := request{
		method: rapid.SampledFrom([]string{"GET", "PUT", "HEAD"}).Draw(t, "method"), region: rapid.SampledFrom([]string{"us-east-1", "eu-west-1", "x"}).Draw(t, "region"), at: at,
		path: at.path("pre/" + text("key", wild, 1, 60)), seconds: rapid.Int64Range(1, 604800).Draw(t, "seconds"),
	}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"partNumber", "uploadId", "versionId", "response-content-type", "A", "x-id", "Y"}), rapid.ID).Draw(t, "query") {
		r.query = append(r.query, field{name, text("value", wild, 0, 40)})
	}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"x-amz-checksum-sha256", "if-none-match", "content-type", "a", "zz"}), rapid.ID).Draw(t, "header") {
		r.header = append(r.header, field{name, text("value", "abzAZ09+/=*\";", 1, 44)})
	}
	if n := rapid.Int64Range(0, 5<<30).Draw(t, "size"); n > 0 {
		r.header = append(r.header, field{"content-length", strconv.FormatInt(n, 10)})
	}
	day := rapid.Int64Range(0, 40000).Draw(t, "day")
	return creds, r, time.Unix(day*86400+rapid.Int64Range(0, 86399).Draw(t, "second"), 0)
}

// TestV4SignsAsTheSDK: whatever is signed, our signer and the SDK's give the same URL and the same headers.
func TestV4SignsAsTheSDK(t *testing.T) {
	ours := newV4Signer() // one, so that its keys are those of the requests before
	rapid.Check(t, func(t *rapid.T) {
		creds, r, at := drawRequest(t)
		got, headers := ours.presign(creds, r, at)
		want, wantHeaders := newSDKSigner().presign(creds, r, at)
		if got != want {
			t.Fatalf("signed\n%s, the SDK\n%s", got, want)
		}
		if len(headers) != len(wantHeaders) {
			t.Fatalf("headers %v, the SDK %v", headers, wantHeaders)
		}
		for name, value := range wantHeaders {
			if headers[name] != value {
				t.Fatalf("headers %v, the SDK %v", headers, wantHeaders)
			}
		}
	})
}

// TestPathIsEscapedAsTheSDK: an object's path is what the SDK sends.
func TestPathIsEscapedAsTheSDK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		l := location{url: url.URL{Scheme: "http", Host: "h", Path: "/b"}}
		if got, want := l.path(key), "/b/"+httpbinding.EscapePath(key, false); got != want {
			t.Fatalf("%q: %s, the SDK %s", key, got, want)
		}
	})
}

// Control: what the comparison is for is seen. Each change to a signer that is easily made changes the URL.
func TestV4ControlsAreSeen(t *testing.T) {
	creds := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "t"}
	at := time.Date(2026, 1, 2, 23, 59, 59, 0, time.UTC)
	l := location{url: url.URL{Scheme: "http", Host: "h:9000"}, host: "h:9000"}
	r := request{method: "PUT", region: "r", at: l, path: "/b/k", query: []field{{"uploadId", "u"}}, header: []field{{checksumHeader, "x="}}, seconds: 60}
	want, _ := newSDKSigner().presign(creds, r, at)
	s := newV4Signer()
	if got, _ := s.presign(creds, r, at); got != want {
		t.Fatalf("%s, the SDK %s", got, want)
	}
	secret := creds
	secret.SecretAccessKey = "another" // under the same id, whose key is known by now
	for what, sign := range map[string]func() (string, map[string]string){
		"another secret": func() (string, map[string]string) { return s.presign(secret, r, at) },
		"the next day":   func() (string, map[string]string) { return s.presign(creds, r, at.Add(time.Second)) },
	} {
		if got, _ := sign(); got[strings.LastIndex(got, "="):] == want[strings.LastIndex(want, "="):] {
			t.Errorf("%s has the same signature", what)
		}
	}
	if got, _ := s.presign(secret, r, at); got != first(newSDKSigner().presign(secret, r, at)) {
		t.Error("a key was taken for another secret's")
	}
}

func first(signed string, _ map[string]string) string { return signed }

// BenchmarkSign signs parts: as the registry does, with all its checks, and with the SDK's bare signer.
func BenchmarkSign(b *testing.B) {
	s, err := Open(b.Context(), Config{Endpoint: "http://store:9000", Bucket: "models", PathStyle: true, Service: Identity{Keys: Keys{ID: "AKID", Secret: "secret"}}})
	if err != nil {
		b.Fatal(err)
	}
	const key = "global/blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	r := signPart(key, "Mzk0MmQ5YzEtNjUxZC00MDg0", 1, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 64<<20)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.presign(b.Context(), s.put, s.public, r, time.Hour); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("SDK", func(b *testing.B) {
		b.ReportAllocs()
		sdk, creds := newSDKSigner(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}
		for b.Loop() {
			sdk.presign(creds, request{method: r.method, region: s.region, at: s.public, path: s.public.path(r.key), query: r.query, header: r.header, seconds: 3600}, s.now())
		}
	})
	b.Run("held GET", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.SignGet(b.Context(), key, "", time.Hour); err != nil {
				b.Fatal(err)
			}
		}
	})
}
