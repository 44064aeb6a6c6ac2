package ballast

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/opencontainers/go-digest"
)

// EmptyDigest is the SHA-256 of no bytes.
const EmptyDigest = digest.Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

// ParseDigest parses sha256:<64 lower-case hex digits>, the only algorithm the registry knows.
func ParseDigest(s string) (digest.Digest, error) {
	hexPart, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return "", Errorf(CodeInvalid, "digest %s: write sha256:<64 lower-case hex digits>", quote(s))
	}
	return ParseSHA256(hexPart)
}

// ParseSHA256 parses 64 lower-case hex digits, as fields named sha256 carry them.
func ParseSHA256(s string) (digest.Digest, error) {
	if len(s) != 2*sha256.Size || strings.ToLower(s) != s {
		return "", Errorf(CodeInvalid, "sha256 %s: write 64 lower-case hex digits", quote(s))
	}
	if _, err := hex.DecodeString(s); err != nil {
		return "", Errorf(CodeInvalid, "sha256 %s: write 64 lower-case hex digits", quote(s))
	}
	return digest.Digest("sha256:" + s), nil
}

// DigestOf returns the digest of b.
func DigestOf(b []byte) digest.Digest { return DigestFromSum(sha256.Sum256(b)) }

// DigestFromSum wraps a SHA-256.
func DigestFromSum(sum [sha256.Size]byte) digest.Digest {
	return digest.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// DigestSum returns the 32 bytes of a valid digest.
func DigestSum(d digest.Digest) (sum [sha256.Size]byte) {
	if n, err := hex.Decode(sum[:], []byte(d.Encoded())); err != nil || n != len(sum) {
		panic("ballast: not a sha256 digest: " + string(d))
	}
	return sum
}

// ChecksumHeader is the value of x-amz-checksum-sha256 for d: base64 of the 32 bytes.
func ChecksumHeader(d digest.Digest) string {
	sum := DigestSum(d)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// BlobKey is the object key, relative to the registry's prefix, of a blob in a scope. The two digits after sha256/ let
// a listing go 256 ways in parallel.
func BlobKey(scope Scope, d digest.Digest) string {
	h := d.Encoded()
	return scope.Path() + "/blobs/sha256/" + h[:2] + "/" + h
}
