package ballast_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

func TestParseDigest(t *testing.T) {
	hex := strings.TrimPrefix(someDigest, "sha256:")
	if d, err := ballast.ParseDigest(someDigest); err != nil || d != someDigest {
		t.Error(d, err)
	}
	if d, err := ballast.ParseSHA256(hex); err != nil || d != someDigest {
		t.Error(d, err)
	}
	for _, bad := range []string{"", hex[:63], hex + "0", strings.ToUpper(hex), "g" + hex[1:], hex[:63] + " ", hex[:63] + "\n", "ä" + hex[2:]} {
		if d, err := ballast.ParseSHA256(bad); ballast.CodeOf(err) != ballast.CodeInvalid || d != "" {
			t.Errorf("%q: got %q, %v", bad, d, err)
		}
		if d, err := ballast.ParseDigest("sha256:" + bad); ballast.CodeOf(err) != ballast.CodeInvalid || d != "" {
			t.Errorf("sha256:%q: got %q, %v", bad, d, err)
		}
	}
	for _, bad := range []string{hex, "SHA256:" + hex, "sha512:" + hex, ":" + hex, " " + someDigest} {
		if d, err := ballast.ParseDigest(bad); ballast.CodeOf(err) != ballast.CodeInvalid || d != "" {
			t.Errorf("%q: got %q, %v", bad, d, err)
		}
	}
}

func TestDigestForms(t *testing.T) {
	if ballast.DigestOf([]byte("test")) != someDigest || ballast.DigestOf(nil) != ballast.EmptyDigest {
		t.Error("wrong digests")
	}
	sum := sha256.Sum256([]byte("test"))
	if ballast.DigestSum(someDigest) != sum || ballast.DigestFromSum(sum) != someDigest {
		t.Error("the sum of a digest is another")
	}
	if got, want := ballast.ChecksumHeader(someDigest), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := ballast.BlobKey(scope("acme"), someDigest), "tenants/acme/blobs/sha256/9f/"+someDigest[7:]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := ballast.BlobKey(ballast.Global, someDigest), "global/blobs/sha256/9f/"+someDigest[7:]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
