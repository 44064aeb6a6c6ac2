package oidc

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// holder is whom claims of the issuer stand for. Errors: unauthenticated when the rules give it nothing.
func (i *issuer) holder(c claims) (Holder, error) {
	var grants []ballast.Grant
	for _, r := range i.Rules {
		for _, g := range r.grantsTo(c) {
			if !slices.Contains(grants, g) {
				grants = append(grants, g)
			}
		}
	}
	switch {
	case len(grants) == 0:
		return Holder{}, bad("the token is good, and no rule of this registry gives its holder anything; it has the claims %s: an operator adds a rule on some of them to the file of --oidc-rules", c.names())
	case len(grants) > ballast.MaxGrants:
		return Holder{}, bad("the rules of this registry give the token's holder more than %d grants: an operator makes them fewer", ballast.MaxGrants)
	}
	return Holder{ID: idOf(i.URL, c.text("sub")), Name: "oidc:" + i.nameOf(c), Grants: grants, Expires: c.expiry}, nil
}

// idOf is one text for an issuer and a subject: issuers hold no "#". A subject that is long, or not plain, stands as its
// hash behind a second one.
func idOf(issuer, subject string) string {
	id := "oidc:" + withoutScheme(issuer) + "#"
	if isPlain(subject) && !strings.Contains(subject, "#") && len(id)+len(subject) <= maxPlainID {
		return id + subject
	}
	sum := sha256.Sum256([]byte(subject))
	return id + "#" + hex.EncodeToString(sum[:16])
}

func withoutScheme(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return rest
}

// nameOf is what people call the holder.
func (i *issuer) nameOf(c claims) string {
	name := c.text("sub")
	if i.Name != "" {
		if called := textsOf(c.at(strings.Split(i.Name, "/"))); len(called) == 1 && called[0] != "" {
			name = called[0]
		}
	}
	name = strings.Map(func(r rune) rune {
		if r >= 0x7f || !isPlain(string(r)) {
			return '_'
		}
		return r
	}, name)
	return name[:min(len(name), maxName)]
}

// isPlain reports whether a text is of printable ASCII that neither a shell nor a page makes anything of.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"'`\\<>", c) >= 0 {
			return false
		}
	}
	return s != ""
}
