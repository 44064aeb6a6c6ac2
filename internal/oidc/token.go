package oidc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/ballast-registry/ballast"
)

// header is what a token says of its signature.
type header struct {
	Algorithm, KeyID string
}

// types are what a token may call itself: a logout token, say, is none that anybody may come in with.
var types = []string{"", "jwt", "at+jwt", "application/at+jwt", "jose"}

// parse reads a token in its compact form without believing it.
func parse(token string) (header, claims, error) {
	var text [3][]byte
	for i, part := range strings.SplitN(token, ".", len(text)) {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") { // which the decoder skips
			return header{}, claims{}, bad("the token has the form of none: three parts in base64url with dots between them")
		}
		text[i] = b
	}
	head, err := decodeClaims(text[0])
	if err != nil {
		return header{}, claims{}, bad("the token's header cannot be read: it is not JSON, or says something twice")
	}
	h := header{head.text("alg"), head.text("kid")}
	if h.KeyID == "" {
		return header{}, claims{}, bad("the token does not say by which key it was signed (kid in its header)")
	}
	if !slices.Contains(types, strings.ToLower(head.text("typ"))) {
		return header{}, claims{}, bad("the token is of a type that nobody comes in with (typ in its header)")
	}
	said, err := decodeClaims(text[1])
	if err != nil {
		return header{}, claims{}, bad("the token's claims cannot be read: they are not JSON, or one is there twice")
	}
	return h, said, nil
}

// claims are what a token says.
type claims struct {
	all    map[string]any // numbers are json.Number
	expiry time.Time
}

// rawClaims takes claims as they were signed.
type rawClaims []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawClaims) UnmarshalJSON(b []byte) error {
	*r = bytes.Clone(b)
	return nil
}

// decodeClaims reads an object in which no key is there twice, at any depth.
func decodeClaims(b []byte) (claims, error) {
	var once map[string]json.RawMessage
	if err := ballast.StrictUnmarshal(b, &once); err != nil {
		return claims{}, err
	}
	if once == nil {
		return claims{}, errors.New("null is no object")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var c claims
	return c, dec.Decode(&c.all)
}

// read are the claims on which it depends whether a token is good.
var read = []string{"iss", "sub", "aud", "exp", "nbf", "iat"}

// strictClaims reads claims that mean the same to every reader: encoding/json, and with it go-oidc, takes "AUD" for "aud", and
// the last of the two.
func strictClaims(payload []byte) (claims, error) {
	c, err := decodeClaims(payload)
	if err != nil {
		return c, bad("the token's claims cannot be read: one is there twice")
	}
	for name := range c.all {
		for _, known := range read {
			if name != known && strings.EqualFold(name, known) {
				return c, bad("the token's claims can be read in two ways: one differs from %s by its letters' case alone", known)
			}
		}
	}
	if c.text("sub") == "" {
		return c, bad("the token does not say whose it is (sub)")
	}
	return c, nil
}

// text is a claim that is a text; "" otherwise.
func (c claims) text(name string) string {
	s, _ := c.all[name].(string)
	return s
}

// texts are those of a claim that is one, or a list of some.
func (c claims) texts(name string) []string { return textsOf(c.all[name]) }

// textsOf are the values of a claim that a rule can be held to: a text, a number, true or false, or those in a list. Of
// anything else there are none.
func textsOf(value any) (all []string) {
	switch v := value.(type) {
	case string:
		return []string{v}
	case json.Number:
		return []string{v.String()}
	case bool:
		if v {
			return []string{"true"}
		}
		return []string{"false"}
	case []any:
		for _, item := range v {
			if _, nested := item.([]any); !nested {
				all = append(all, textsOf(item)...)
			}
		}
	}
	return all
}

// at is the value below some names, one in the other; nil when there is none.
func (c claims) at(path []string) any {
	var value any = c.all
	for _, name := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[name]
	}
	return value
}

// names are those of the claims, sorted and fit to be shown.
func (c claims) names() string {
	const most = 40
	var all []string
	for name := range c.all {
		if !isPlain(name) || len(name) > maxName {
			name = "one with an odd name"
		}
		all = append(all, name)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > most {
		all = append(all[:most], "…")
	}
	return strings.Join(all, ", ")
}

func asExpired(err error, target **gooidc.TokenExpiredError) bool { return errors.As(err, target) }

// short is an error with no more of its text than a line of a log should hold.
func short(err error) error {
	const most = 300
	text := err.Error()
	if len(text) <= most {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:most], "") + "…")
}
