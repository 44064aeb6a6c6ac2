package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast/internal/objstore"
)

func fakeConfig(url string) objstore.Config {
	return objstore.Config{
		Endpoint: url, Bucket: "bucket", PathStyle: true,
		Service: objstore.Identity{Keys: objstore.Keys{ID: "id", Secret: "secret"}},
	}
}

// fake is a store that answers what the test says, without a network: in a synctest bubble its waits cost nothing.
func fake(t *testing.T, answer http.HandlerFunc) *objstore.S3 {
	cfg := fakeConfig("http://store.invalid")
	cfg.HTTPClient = answering(answer)
	return open(t, cfg)
}

func answering(answer http.HandlerFunc) *http.Client {
	return &http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			answer(w, r)
			resp := w.Result()
			resp.Request = r
			return resp, nil
		}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// served is a store behind a real connection.
func served(t *testing.T, answer http.HandlerFunc) *objstore.S3 {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return open(t, fakeConfig(server.URL))
}

func s3Error(code string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>m</Message></Error>`, code)
}

var sentinels = []error{
	objstore.ErrNotFound, objstore.ErrNoSuchUpload, objstore.ErrPrecondition, objstore.ErrInvalidPart,
	objstore.ErrUnreadable, objstore.ErrNoBucket, objstore.ErrDenied, objstore.ErrUnavailable, objstore.ErrUnknown, objstore.ErrBadKey,
}

// wantOnly says that err is exactly this sentinel.
func wantOnly(t *testing.T, what string, err, want error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
	}
	for _, s := range sentinels {
		if errors.Is(err, s) != (s == want) {
			t.Errorf("%s: %v; is %v: %t", what, err, s, errors.Is(err, s))
		}
	}
}

// TestAnswersOfGet: an unknown answer never reads as absent.
func TestAnswersOfGet(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   error
	}{
		{404, s3Error("NoSuchKey"), objstore.ErrNotFound},
		{404, s3Error("NoSuchVersion"), objstore.ErrNotFound},
		{404, s3Error("NoSuchBucket"), objstore.ErrNoBucket},
		{403, s3Error("InvalidObjectState"), objstore.ErrUnreadable},
		{404, "<html>not here</html>", objstore.ErrUnknown},
		{404, "", objstore.ErrUnknown},
		{403, s3Error("AccessDenied"), objstore.ErrDenied},
		{403, s3Error("RequestTimeTooSkewed"), objstore.ErrDenied},
		{401, "", objstore.ErrDenied},
		{400, s3Error("ExpiredToken"), objstore.ErrDenied},
		{400, s3Error("InvalidArgument"), objstore.ErrUnknown},
		{301, s3Error("PermanentRedirect"), objstore.ErrUnknown},
		{302, "", objstore.ErrUnknown},
		{410, "", objstore.ErrUnknown},
		{412, s3Error("PreconditionFailed"), objstore.ErrPrecondition},
		{416, s3Error("InvalidRange"), objstore.ErrUnknown},
		{501, s3Error("NotImplemented"), objstore.ErrUnknown},
	} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.status); io.WriteString(w, c.body) })
		_, _, err := s.Get(t.Context(), "k", objstore.ReadOptions{})
		wantOnly(t, fmt.Sprintf("%d %s", c.status, c.body), err, c.want)
	}
}

func TestAnswersOfHead(t *testing.T) {
	for _, c := range []struct {
		status, get int
		code        string // of the GET that looks closer at a 400
		want        error
	}{
		{404, 0, "", objstore.ErrNotFound},
		{403, 0, "", objstore.ErrDenied},
		{412, 0, "", objstore.ErrPrecondition},
		{400, 400, "InvalidRequest", objstore.ErrUnreadable},
		{400, 400, "ExpiredToken", objstore.ErrDenied},
		{400, 404, "NoSuchKey", objstore.ErrNotFound},
		{400, 206, "", objstore.ErrUnknown},
	} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(c.status)
				return
			}
			w.WriteHeader(c.get)
			io.WriteString(w, s3Error(c.code))
		})
		_, err := s.Head(t.Context(), "k")
		wantOnly(t, fmt.Sprintf("%d %s", c.status, c.code), err, c.want)
	}
}

// TestHeadReadsChecksums: only a checksum of the whole content is a digest.
func TestHeadReadsChecksums(t *testing.T) {
	const sum = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for _, c := range []struct {
		sum, kind, etag string
		want            bool
	}{
		{sum, "FULL_OBJECT", `"a"`, true},
		{sum, "FULL_OBJECT", `"a-2"`, true},
		{sum, "COMPOSITE", `"a"`, false},
		{sum + "-2", "COMPOSITE", `"a-2"`, false},
		{sum, "", `"a"`, true},
		{sum, "", `"a-2"`, false},
		{sum + "-2", "", `"a"`, false},
		{sum, "SOMETHING", `"a"`, false},
		{"", "FULL_OBJECT", `"a"`, false},
		{"AAAA", "FULL_OBJECT", `"a"`, false},
	} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Amz-Checksum-Mode") != "ENABLED" {
				t.Error("HEAD without checksum mode")
			}
			w.Header().Set("X-Amz-Checksum-Sha256", c.sum)
			w.Header().Set("X-Amz-Checksum-Type", c.kind)
			w.Header().Set("ETag", c.etag)
		})
		o, err := s.Head(t.Context(), "k")
		must(t, err)
		if got := o.SHA256 != ""; got != c.want {
			t.Errorf("%+v: digest %q", c, o.SHA256)
		}
	}
}

func TestHeadNamesOddities(t *testing.T) {
	for name, value := range map[string]string{
		"Content-Encoding": "gzip", "X-Amz-Meta-A": "b", "X-Amz-Missing-Meta": "1", "X-Amz-Website-Redirect-Location": "/x",
		"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256", "X-Amz-Delete-Marker": "true", "X-Amz-Archive-Status": "ARCHIVE_ACCESS",
	} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(name, value) })
		if o, err := s.Head(t.Context(), "k"); err != nil || len(o.Oddities) != 1 {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Amz-Storage-Class", "GLACIER")
	})
	if o, err := s.Head(t.Context(), "k"); err != nil || len(o.Oddities) != 0 || o.StorageClass != "GLACIER" {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestWhatIsRepeated: calls without harm are repeated, others go out once, whatever the store says.
func TestWhatIsRepeated(t *testing.T) { synctest.Test(t, testWhatIsRepeated) }

func testWhatIsRepeated(t *testing.T) {
	var requests atomic.Int32
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		if r.Method != http.MethodHead {
			io.WriteString(w, s3Error("SlowDown"))
		}
	})
	ctx, parts := t.Context(), []objstore.Part{{Number: 1, ETag: `"a"`}}
	for name, c := range map[string]struct {
		call   func() error
		repeat bool
	}{
		"head":            {func() error { _, err := s.Head(ctx, "k"); return err }, true},
		"get":             {func() error { _, _, err := s.Get(ctx, "k", objstore.ReadOptions{}); return err }, true},
		"delete":          {func() error { return s.Delete(ctx, "k") }, true},
		"put":             {func() error { _, err := s.Put(ctx, "k", nil, objstore.Condition{}); return err }, true},
		"put if absent":   {func() error { _, err := s.Put(ctx, "k", nil, objstore.Condition{IfAbsent: true}); return err }, false},
		"put if matching": {func() error { _, err := s.Put(ctx, "k", nil, objstore.Condition{IfMatch: `"a"`}); return err }, false},
		"complete":        {func() error { _, err := s.CompleteMultipart(ctx, "k", "u", parts); return err }, false},
		"create":          {func() error { _, err := s.CreateMultipart(ctx, "k"); return err }, false},
	} {
		requests.Store(0)
		wantOnly(t, name, c.call(), objstore.ErrUnavailable)
		if n := requests.Load(); (n > 1) != c.repeat || n > 4 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for header, want := range map[string]time.Duration{"12": 12 * time.Second, "9999": 20 * time.Second, "Thu, 01 Jan 1970 00:00:00 GMT": 0} {
		synctest.Test(t, func(t *testing.T) {
			var first time.Time
			s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
				if first.IsZero() {
					first = time.Now()
					w.Header().Set("Retry-After", header)
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			_, err := s.Head(t.Context(), "k")
			must(t, err)
			if waited := time.Since(first); waited < want || waited > want+20*time.Second {
				t.Errorf("Retry-After %s: waited %v", header, waited)
			}
		})
	}
}

// TestErrorInsideA200: a Complete may fail after its status went out.
func TestErrorInsideA200(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s3Error("InternalError")) })
	_, err := s.CompleteMultipart(t.Context(), "k", "u", []objstore.Part{{Number: 1, ETag: `"a"`}})
	wantOnly(t, "complete", err, objstore.ErrUnavailable)
}

func TestBodyThatEndsEarly(t *testing.T) {
	for _, encoding := range []string{"length", "cut"} {
		s := served(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "only this")
			if encoding == "cut" {
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		})
		r, _, err := s.Get(t.Context(), "k", objstore.ReadOptions{})
		must(t, err)
		got, err := io.ReadAll(r)
		r.Close()
		if string(got) != "only this" || !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("%s: %q, %v", encoding, got, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	release := make(chan struct{})
	s := served(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := s.Head(ctx, "k")
	wantOnly(t, "head", err, objstore.ErrUnavailable)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap the ctx's error", err)
	}
}

// TestOnlySHA256: no request of ours carries any other checksum, or the encoding that comes with one.
func TestOnlySHA256(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			all := strings.ToLower(name + "=" + strings.Join(values, ","))
			if strings.Contains(all, "crc") || strings.Contains(all, "aws-chunked") || strings.Contains(all, "trailer") || strings.Contains(all, "md5") {
				t.Errorf("%s %s carries %s", r.Method, r.URL, all)
			}
		}
		if r.Method == http.MethodPut && r.Header.Get("X-Amz-Checksum-Sha256") == "" {
			t.Error("PUT without a SHA-256")
		}
		if r.URL.Query().Has("uploads") {
			io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		}
	})
	_, err := s.Put(t.Context(), "k", []byte("x"), objstore.Condition{IfAbsent: true})
	must(t, err)
	_, err = s.CreateMultipart(t.Context(), "k")
	must(t, err)
	_, err = s.CompleteMultipart(t.Context(), "k", "u", []objstore.Part{{Number: 1, ETag: `"a"`}})
	_ = err // the empty answer is none
	must(t, s.Delete(t.Context(), "k"))
}
