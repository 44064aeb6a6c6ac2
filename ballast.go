// Package ballast is the vocabulary that the registry's server and its clients share: scopes, names, versions,
// references, digests, manifests, uploads and errors, with their wire forms. It does no I/O.
//
// Values are parsed once, at the edge, into comparable types; a value of such a type is valid, its zero value is not.
package ballast

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Scope is a tenant or the global scope. The zero value is invalid, so that a forgotten scope never means global.
type Scope struct{ s string }

// Global is the scope that every principal may read.
var Global = Scope{"global"}

// Scopes, names and aliases are parsed at each request and in each stored version, so none of them is left to a regular expression.

func isLower(b byte) bool { return 'a' <= b && b <= 'z' }
func isDigit(b byte) bool { return '0' <= b && b <= '9' }
func isUpper(b byte) bool { return 'A' <= b && b <= 'Z' }

// isMadeOf reports whether s has 1 to most bytes, the first of which one rule lets pass and the others another.
func isMadeOf(s string, most int, first, rest func(byte) bool) bool {
	if s == "" || len(s) > most || !first(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !rest(s[i]) {
			return false
		}
	}
	return true
}

func isTenant(s string) bool {
	edge := func(b byte) bool { return isLower(b) || isDigit(b) }
	inner := func(b byte) bool { return edge(b) || b == '-' }
	return isMadeOf(s, 63, edge, inner) && edge(s[len(s)-1])
}

// ParseScope parses "global" or a tenant: a slug of 1 to 63 lower-case letters, digits and inner hyphens. A lower-case
// UUID fits; the nil UUID is refused.
func ParseScope(s string) (Scope, error) {
	if s == Global.s {
		return Global, nil
	}
	if !isTenant(s) {
		return Scope{}, Errorf(CodeInvalid, "scope %s: use \"global\" or a tenant of 1 to 63 lower-case letters, digits and inner hyphens", quote(s))
	}
	if s == uuid.Nil.String() {
		return Scope{}, Errorf(CodeInvalid, "scope %s: the nil UUID is no tenant", quote(s))
	}
	return Scope{s}, nil
}

// IsZero reports whether s is the invalid zero value.
func (s Scope) IsZero() bool { return s.s == "" }

// String returns "global" or the tenant's slug.
func (s Scope) String() string { return s.s }

// Path is the scope's folder in the bucket, without slashes at its ends: "global" or "tenants/<tenant>".
func (s Scope) Path() string {
	switch s {
	case Scope{}:
		panic("ballast: path of the zero Scope")
	case Global:
		return "global"
	}
	return "tenants/" + s.s
}

// MarshalText implements encoding.TextMarshaler.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseScope does.
func (s *Scope) UnmarshalText(text []byte) (err error) {
	*s, err = ParseScope(string(text))
	return err
}

// Name is a model's name in its scope: one or two segments joined by "/", unique per scope after case folding.
type Name struct{ s string }

func isSegment(s string) bool {
	first := func(b byte) bool { return isLower(b) || isDigit(b) || isUpper(b) || b == '_' }
	return isMadeOf(s, 96, first, func(b byte) bool { return first(b) || b == '.' || b == '-' })
}

// reservedSegments are words that routes and bucket folders use.
var reservedSegments = toSet(strings.Fields(`versions aliases uploads rollback events tokens admin files children promote
	retire resolve raw blob tree commit revision refs models api datasets spaces inbox staging blobs global v1 v2 healthz
	readyz metrics openapi.yaml production tensors`))

// ParseName parses a model's name. Each segment has 1 to 96 of [A-Za-z0-9._-] and begins with a letter, a digit or "_";
// "--", "..", a trailing "." or "-", an ending ".git" and the reserved words are refused. These are the rules of
// Hugging Face repository ids, so that every name can be served as one.
func ParseName(s string) (Name, error) {
	bad := func(why string) (Name, error) { return Name{}, Errorf(CodeInvalid, "name %s: %s", quote(s), why) }
	segments := strings.Split(s, "/")
	if len(segments) > 2 {
		return bad("at most two segments joined by one \"/\"; a scope is written before \"::\", as in acme::llama/tiny")
	}
	for _, seg := range segments {
		folded := fold(seg)
		switch {
		case !isSegment(seg):
			return bad("a segment is 1 to 96 of A-Z a-z 0-9 . _ - and begins with a letter, a digit or _")
		case strings.Contains(seg, "--") || strings.Contains(seg, ".."):
			return bad("no \"--\" and no \"..\"")
		case strings.HasSuffix(seg, ".") || strings.HasSuffix(seg, "-") || strings.HasSuffix(folded, ".git"):
			return bad("no segment ends in \".\", \"-\" or \".git\"")
		case reservedSegments[folded]:
			return bad(fmt.Sprintf("%q is reserved", folded))
		}
	}
	return Name{s}, nil
}

// IsZero reports whether n is the invalid zero value.
func (n Name) IsZero() bool { return n.s == "" }

// String returns the name as typed.
func (n Name) String() string { return n.s }

// Fold returns the lower-cased name, which is what must be unique in a scope.
func (n Name) Fold() string { return fold(n.s) }

// Base returns the last segment.
func (n Name) Base() string { return n.s[strings.LastIndexByte(n.s, '/')+1:] }

// MarshalText implements encoding.TextMarshaler.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseName does.
func (n *Name) UnmarshalText(text []byte) (err error) {
	*n, err = ParseName(string(text))
	return err
}

// fold lower-cases ASCII; names, versions and aliases hold nothing else.
func fold(s string) string { return strings.ToLower(s) }

func toSet(words []string) map[string]bool {
	set := make(map[string]bool, len(words))
	for _, w := range words {
		set[w] = true
	}
	return set
}

// quote shows untrusted text in a message, cut to a readable length.
func quote(s string) string {
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// Alias is a movable pointer to a version, written name@alias.
type Alias struct{ s string }

func isAlias(s string) bool {
	return isMadeOf(s, 63, isLower, func(b byte) bool { return isLower(b) || isDigit(b) || b == '.' || b == '_' || b == '-' })
}

// IsCommit reports whether s is 40 hex digits in lower case, which clients of Hugging Face take for a commit.
func IsCommit(s string) bool {
	hex := func(b byte) bool { return isDigit(b) || 'a' <= b && b <= 'f' }
	return len(s) == 40 && isMadeOf(s, 40, hex, hex)
}

var (
	reservedAlias  = toSet([]string{"latest", "main", "production"})
	errAliasFormat = "an alias is 1 to 63 of a-z 0-9 . _ - and begins with a letter; not a version, not 40 hex digits, not latest, main or production"
)

// ParseAlias parses an alias.
func ParseAlias(s string) (Alias, error) {
	if !isAlias(s) || IsCommit(s) || reservedAlias[s] {
		return Alias{}, Errorf(CodeInvalid, "alias %s: %s", quote(s), errAliasFormat)
	}
	return Alias{s}, nil
}

// ProductionAlias is what name@production means: the version in production. It moves by promotions alone, so ParseAlias
// refuses it and ParseRef knows it.
func ProductionAlias() Alias { return Alias{"production"} }

// IsZero reports whether a is the invalid zero value.
func (a Alias) IsZero() bool { return a.s == "" }

// String returns the alias.
func (a Alias) String() string { return a.s }

// MarshalText implements encoding.TextMarshaler.
func (a Alias) MarshalText() ([]byte, error) { return []byte(a.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseAlias does.
func (a *Alias) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAlias(string(text))
	return err
}

// Time is an instant in UTC that is written with microseconds, always in full, so that its text sorts as it is.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000000Z"

// At rounds t down to microseconds in UTC.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// MarshalJSON writes the fixed form; the zero time is null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.UTC().AppendFormat(make([]byte, 0, len(timeLayout)+2), `"`+timeLayout+`"`), nil
}

// UnmarshalJSON reads RFC 3339.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	var u time.Time
	if err := json.Unmarshal(b, &u); err != nil {
		return err
	}
	if year := u.UTC().Year(); year < 0 || year > 9999 { // its zone moved it out of what the fixed form can hold
		return Errorf(CodeInvalid, "time %s: in UTC its year is none of four digits", quote(string(b)))
	}
	*t = At(u)
	return nil
}
