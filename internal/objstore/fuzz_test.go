package objstore

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ballast-registry/ballast"
)

// FuzzCheckKey: no store can read a key that passes as another one.
func FuzzCheckKey(f *testing.F) {
	for _, s := range []string{"a", "a/b", "a//b", "/a", "a/", "a/../b", "./a", "a\x00b", "a\x7fb", "\xff", "", strings.Repeat("a", 1025), "tenants/acme/blobs/sha256/ab/ab", "..a/b.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if err := CheckKey(key); err != nil {
			if len(err.Error()) > 1000 {
				t.Errorf("a key of %d bytes is refused with %d bytes", len(key), len(err.Error()))
			}
			return
		}
		if path.Clean("/"+key) != "/"+key || !utf8.ValidString(key) || len(key) > maxKey || strings.ContainsAny(key, "\x00\n\r\x7f") {
			t.Errorf("%q passes as a key", key)
		}
		// What is listed as encoded comes back as it was, and only from below the prefix.
		s := &S3{prefix: "p/"}
		if got, err := s.relative(url.QueryEscape("p/"+key), types.EncodingTypeUrl); err != nil || got != key {
			t.Errorf("%q is listed as %q, %v", key, got, err)
		}
	})
}

// FuzzRelative: a listed key is one below the prefix, or refused.
func FuzzRelative(f *testing.F) {
	for _, s := range []string{"p/a", "p%2Fa", "p/%zz", "q/a", "p", "", "p/%00", "p/a+b"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, listed string, encoded bool) {
		encoding := types.EncodingType("")
		want := listed
		if encoded {
			encoding = types.EncodingTypeUrl
			want, _ = url.QueryUnescape(listed)
		}
		s := &S3{prefix: "p/"}
		if got, err := s.relative(listed, encoding); err == nil && "p/"+got != want {
			t.Errorf("%q is listed and read as %q", listed, got)
		}
	})
}

// FuzzRetryAfter: what a store asks for is a wait that the driver can bound.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"0", "3", "65535", "65536", "-1", "1.5", "1e3", "NaN", "", "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 1926 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		d := retryAfter(http.Header{"Retry-After": {value}}, now)
		at, err := http.ParseTime(strings.TrimSpace(value))
		if d < 0 && (err != nil || !at.Before(now)) || d > 1<<16*time.Second && err != nil {
			t.Errorf("Retry-After %q is %s", value, d)
		}
		if wait := max(time.Second, min(d, maxBackoff)); wait < time.Second || wait > maxBackoff {
			t.Errorf("Retry-After %q makes the driver wait for %s", value, wait)
		}
	})
}

// FuzzWholeSize: no Content-Range makes an object of less than nothing.
func FuzzWholeSize(f *testing.F) {
	for _, s := range []string{"bytes 0-0/7", "bytes 0-0/*", "bytes 0-0/-7", "bytes 0-0/9223372036854775808", "/", "", "bytes 5-9/10/11", "bytes */+7"} {
		f.Add(int64(1), s)
	}
	f.Fuzz(func(t *testing.T, length int64, contentRange string) {
		if got := wholeSize(length, contentRange); got != length && got < 0 {
			t.Errorf("%d bytes of %q are of an object of %d", length, contentRange, got)
		}
	})
}

// FuzzChecksumHeader: a checksum is that of 32 bytes in its one spelling, or none.
func FuzzChecksumHeader(f *testing.F) {
	good := ballast.ChecksumHeader(ballast.DigestOf(nil))
	for _, s := range []string{good, good[:43], good + "=", good + "-3", strings.Replace(good, "=", "", 1), "", strings.ToLower(good), "\n" + good, good[:42] + "V="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d := decodeSHA256(value); d != "" && ballast.ChecksumHeader(d) != value {
			t.Errorf("%q is the checksum of %s, which is written %q", value, d, ballast.ChecksumHeader(d))
		}
	})
}
