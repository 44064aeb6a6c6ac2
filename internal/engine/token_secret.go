package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"
)

// A token is bal_<id>_<secret>: 10 characters of id, 40 of secret, and 6 of checksum at the secret's end, all base62.
// The checksum is the CRC-32 (IEEE) of everything before it, so that a scanner can tell a leaked token from noise and a
// mistyped one is refused without a look-up. The secret's 238 random bits need no slow hash: SHA-256 is stored.
const (
	tokenPrefix   = "bal_"
	tokenIDLen    = 10
	tokenSecret   = 40
	tokenChecksum = 6
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

func newToken() (id, token string, err error) {
	if id, err = randomText(tokenIDLen); err != nil {
		return "", "", err
	}
	token, err = newSecret(id)
	return id, token, err
}

// newSecret returns another token of an id.
func newSecret(id string) (token string, err error) {
	secret, err := randomText(tokenSecret)
	if err != nil {
		return "", err
	}
	body := tokenPrefix + id + "_" + secret
	return body + checksum(body), nil
}

func randomText(n int) (string, error) {
	var b strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(base62))))
		if err != nil {
			return "", err
		}
		b.WriteByte(base62[i.Int64()])
	}
	return b.String(), nil
}

func checksum(body string) string {
	n := crc32.ChecksumIEEE([]byte(body))
	out := make([]byte, tokenChecksum)
	for i := range out {
		out[tokenChecksum-1-i] = base62[n%62]
		n /= 62
	}
	return string(out)
}

// tokenID returns the id of a well-formed token.
func tokenID(token string) (string, bool) {
	id, secret, ok := strings.Cut(strings.TrimPrefix(token, tokenPrefix), "_")
	if !ok || !strings.HasPrefix(token, tokenPrefix) || len(id) != tokenIDLen || len(secret) != tokenSecret+tokenChecksum || !isBase62(id) || !isBase62(secret) {
		return "", false
	}
	body := token[:len(token)-tokenChecksum]
	return id, checksum(body) == token[len(body):]
}

func isBase62(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return true
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
