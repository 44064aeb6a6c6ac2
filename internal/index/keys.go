package index

import (
	"encoding/binary"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// A key is one byte of kind and parts that each end in 0x00. Parts are scopes, folded names, hex digests and ids, none
// of which can hold a 0x00; a version's Order, which can, always stands last and unterminated.
const (
	kindMeta        = 'm' // name → meta values
	kindName        = 'n' // scope, name → Name
	kindVersion     = 'v' // scope, name, order → Version
	kindCandidate   = 'l' // scope, name, release first, order → nothing: what latest chooses from
	kindByDigest    = 'd' // scope, name, digest, order → nothing
	kindByManifest  = 'M' // scope, digest, name, order → nothing: manifest → versions
	kindReference   = 'r' // scope, blob, manifest → nothing: blob → manifest
	kindAlias       = 'a' // scope, name, alias → Alias
	kindAliasOf     = 'A' // scope, name, alias, order → nothing; see aliasOfKey
	kindUpload      = 'u' // id → Upload
	kindUploadTime  = 'U' // time, id → nothing: when to reap or forget an upload
	kindHold        = 'k' // scope, name, order → upload id: labels held by open uploads
	kindAttempt     = 't' // principal, attempt → upload id
	kindVerifying   = 'f' // id → nothing: accepted commits and imports to finish
	kindRelease     = 'z' // id → nothing: settled uploads whose pins still go
	kindImport      = 'i' // scope, id → nothing: uploads that are imports
	kindImporting   = 'j' // scope, id → nothing: those of them that are not settled
	kindSource      = 'I' // id, number → SourceFile: the files of an import
	kindBlob        = 'b' // scope, digest → Blob
	kindPin         = 'p' // scope, digest, upload → pin
	kindPinOf       = 'P' // upload, digest → nothing
	kindDeclared    = 'q' // upload, digest, page → part digests as the upload declared them
	kindPart        = 'h' // scope, digest, page → part digests of the blob
	kindChain       = 'C' // scope, digest, page → states of SHA-256 between the blob's links
	kindVerifyQueue = 'w' // scope, digest → VerifyJob
	kindReclaim     = 'g' // scope, digest → nothing: blobs in deleting or aborting
	kindRecord      = 's' // scope, name, order → bytes of the record that a sealed version waits for
	kindToken       = 'T' // id → Token
	kindTokenUse    = 'x' // id → TokenUse
	kindTask        = 'K' // task → Task: those that were added
	kindQuota       = 'Q' // scope, or "*" → Quota
	kindUsage       = 'B' // scope → ballast.Usage
	kindProduction  = 'o' // scope, name → Production: the version in production
	kindHistory     = 'H' // scope, name, number → Promotion: what was in production, and why
	kindChild       = 'c' // scope, name, order in hex of the base; scope, name, order of the child → nothing
	kindEvent       = 'e' // number → Event
	kindByTime      = 'y' // scope; instant, name, order → nothing: versions by their registration; see byTimeKey
)

// orderBytes is what the order of a release takes at the end of a key.
const orderBytes = 25

func key(kind byte, parts ...string) []byte {
	size := 1 + orderBytes
	for _, p := range parts {
		size += len(p) + 1
	}
	k := append(make([]byte, 0, size), kind)
	for _, p := range parts {
		k = append(append(k, p...), 0x00)
	}
	return k
}

func scopedName(kind byte, scope ballast.Scope, name ballast.Name) []byte {
	return key(kind, scope.String(), name.Fold())
}

func versionKey(kind byte, scope ballast.Scope, name ballast.Name, v ballast.Version) []byte {
	return append(scopedName(kind, scope, name), v.Order()...)
}

// candidateKey sorts releases above pre-releases, each by precedence, so that the last key is latest.
func candidateKey(scope ballast.Scope, name ballast.Name, v ballast.Version) []byte {
	class := byte(0x01)
	if v.IsRelease() {
		class = 0x02
	}
	return append(append(scopedName(kindCandidate, scope, name), class), v.Order()...)
}

func byDigestKey(scope ballast.Scope, name ballast.Name, d digest.Digest, v ballast.Version) []byte {
	return append(key(kindByDigest, scope.String(), name.Fold(), d.Encoded()), v.Order()...)
}

func byManifestKey(scope ballast.Scope, d digest.Digest, name ballast.Name, v ballast.Version) []byte {
	return append(key(kindByManifest, scope.String(), d.Encoded(), name.Fold()), v.Order()...)
}

func blobKey(kind byte, scope ballast.Scope, d digest.Digest) []byte {
	return key(kind, scope.String(), d.Encoded())
}

func pinKey(scope ballast.Scope, d digest.Digest, upload string) []byte {
	return key(kindPin, scope.String(), d.Encoded(), upload)
}

func timeKey(kind byte, at time.Time, id string) []byte {
	k := binary.BigEndian.AppendUint64([]byte{kind}, uint64(at.UnixMicro()))
	return append(k, id...)
}

// pageKey appends a page number to a key prefix.
func pageKey(prefix []byte, page int) []byte {
	return binary.BigEndian.AppendUint32(prefix[:len(prefix):len(prefix)], uint32(page))
}

// pageOf is the number that pageKey appended to prefix.
func pageOf(k, prefix []byte) int { return int(binary.BigEndian.Uint32(k[len(prefix):])) }

// partAfter returns what follows prefix in a key, less the terminator of its end.
func partAfter(k, prefix []byte) string {
	rest := k[len(prefix):]
	if n := len(rest); n > 0 && rest[n-1] == 0x00 {
		rest = rest[:n-1]
	}
	return string(rest)
}
