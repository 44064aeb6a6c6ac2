package ballast

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// Key identifies one version for good: tenant::name::version, or name::version in the global scope. Global is
// unqualified so that a reference to a global base model reads the same from every tenant. String is the one
// function that builds the text.
type Key struct {
	Scope   Scope
	Name    Name
	Version Version
}

// String returns the key's text.
func (k Key) String() string {
	s := k.Name.String() + "::" + k.Version.String()
	if k.Scope == Global {
		return s
	}
	return k.Scope.String() + "::" + s
}

// ParseKey parses tenant::name::version, global::name::version or name::version (global).
func ParseKey(s string) (Key, error) {
	r, err := ParseRef(s)
	if err != nil {
		return Key{}, err
	}
	if r.Scope.IsZero() || r.Version.IsZero() || strings.Contains(s[strings.LastIndex(s, "::")+2:], ":") {
		return Key{}, Errorf(CodeInvalid, "key %s: write tenant::name::version, or name::version for a global model", quote(s))
	}
	return Key{r.Scope, r.Name, r.Version}, nil
}

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseKey does.
func (k *Key) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}

// Ref is a reference to a version as people write it. At most one of Version, Alias and Digest is set; with none it
// means latest. A zero Scope means the caller's own scope, then global.
type Ref struct {
	Scope   Scope
	Name    Name
	Version Version
	Alias   Alias
	Digest  digest.Digest
}

// ParseRef parses
//
//	name   name:version   name@alias   name@production   name@sha256:…   name:latest
//
// each optionally behind scope::, and the keys tenant::name::version and name::version. Of two parts joined by "::"
// the second is taken for a version when it can be one: a::1 is version 1 of the global model a.
func ParseRef(s string) (Ref, error) {
	parts := strings.Split(s, "::")
	switch len(parts) {
	case 1:
		return parseLocalRef(Scope{}, s)
	case 2:
		if v, err := ParseVersion(parts[1]); err == nil {
			return keyRef(Global, parts[0], v)
		}
		scope, err := ParseScope(parts[0])
		if err != nil {
			return Ref{}, err
		}
		return parseLocalRef(scope, parts[1])
	case 3:
		scope, err := ParseScope(parts[0])
		if err != nil {
			return Ref{}, err
		}
		v, err := ParseVersion(parts[2])
		if err != nil {
			return Ref{}, err
		}
		return keyRef(scope, parts[1], v)
	}
	return Ref{}, Errorf(CodeInvalid, "reference %s: too many \"::\"", quote(s))
}

func keyRef(scope Scope, name string, v Version) (Ref, error) {
	n, err := ParseName(name)
	if err != nil {
		return Ref{}, err
	}
	return Ref{Scope: scope, Name: n, Version: v}, nil
}

func parseLocalRef(scope Scope, s string) (r Ref, err error) {
	r.Scope = scope
	name, selector := s, ""
	if i := strings.IndexAny(s, ":@"); i >= 0 {
		name, selector = s[:i], s[i+1:]
		if s[i] == '@' {
			selector = s[i:]
		}
		if selector == "" || selector == "@" {
			return Ref{}, Errorf(CodeInvalid, "reference %s: nothing after %q", quote(s), s[i:i+1])
		}
		if strings.HasPrefix(s[i:], ":@") {
			return Ref{}, Errorf(CodeInvalid, "reference %s: write name:version or name@alias", quote(s))
		}
	}
	if r.Name, err = ParseName(name); err != nil {
		return Ref{}, err
	}
	if r, err = r.withSelector(selector); err != nil && scope.IsZero() && s[len(name)] == ':' {
		return Ref{}, scopeHint(name, selector, err)
	}
	return r, err
}

// scopeHint adds to the refusal of name:rest that a scope takes two colons, where rest can be what follows one.
func scopeHint(name, rest string, refused error) error {
	scope, err := ParseScope(name)
	if err != nil {
		return refused
	}
	if _, err := parseLocalRef(scope, rest); err != nil {
		return refused
	}
	return Errorf(CodeInvalid, "%s; if %s is a scope, write %s::%s", AsError(refused).Detail, scope, scope, rest)
}

// withSelector fills in what follows the name: "", "latest", a version, "@alias", "@sha256:…" or "sha256:…".
func (r Ref) withSelector(sel string) (_ Ref, err error) {
	at, isAlias := strings.CutPrefix(sel, "@")
	switch {
	case sel == "" || sel == "latest" || at == "latest" && isAlias:
	case strings.HasPrefix(at, "sha256:"):
		r.Digest, err = ParseDigest(at)
	case isAlias && at == ProductionAlias().String():
		r.Alias = ProductionAlias()
	case isAlias:
		r.Alias, err = ParseAlias(at)
	default:
		r.Version, err = ParseVersion(sel)
	}
	if err != nil {
		return Ref{}, err
	}
	return r, nil
}

// ParseQualifiedName parses name or scope::name, as the {name} of a route holds it. The Scope is zero when none is given.
func ParseQualifiedName(s string) (Scope, Name, error) {
	var scope Scope
	name := s
	if before, after, ok := strings.Cut(s, "::"); ok {
		var err error
		if scope, err = ParseScope(before); err != nil {
			return Scope{}, Name{}, err
		}
		name = after
	}
	n, err := ParseName(name)
	return scope, n, err
}

// ParseRefIn parses a route's {name} and {ref}: name or scope::name, and a version, "latest", "@alias" or "sha256:…".
func ParseRefIn(name, ref string) (Ref, error) {
	scope, n, err := ParseQualifiedName(name)
	if err != nil {
		return Ref{}, err
	}
	return Ref{Scope: scope, Name: n}.withSelector(ref)
}

// IsLatest reports whether r names no particular version.
func (r Ref) IsLatest() bool { return r.Version.IsZero() && r.Alias.IsZero() && r.Digest == "" }

// Selector is the text of {ref} in a route: "latest", a version, "@alias" or "sha256:…".
func (r Ref) Selector() string {
	switch {
	case !r.Version.IsZero():
		return r.Version.String()
	case !r.Alias.IsZero():
		return "@" + r.Alias.String()
	case r.Digest != "":
		return r.Digest.String()
	}
	return "latest"
}

// QualifiedName is the text of {name} in a route: name, or scope::name when the reference names its scope.
func (r Ref) QualifiedName() string {
	if r.Scope.IsZero() {
		return r.Name.String()
	}
	return r.Scope.String() + "::" + r.Name.String()
}

// String returns a text that ParseRef reads back.
func (r Ref) String() string {
	switch {
	case r.IsLatest():
		// acme::5 reads as version 5 of the global model acme, so a name that can be a version needs more.
		if _, err := ParseVersion(r.Name.String()); err == nil && !r.Scope.IsZero() {
			return r.QualifiedName() + ":latest"
		}
		return r.QualifiedName()
	case !r.Version.IsZero() && !r.Scope.IsZero():
		return r.QualifiedName() + "::" + r.Version.String()
	case !r.Version.IsZero():
		return r.QualifiedName() + ":" + r.Version.String()
	case r.Digest != "":
		return r.QualifiedName() + "@" + r.Digest.String()
	}
	return r.QualifiedName() + "@" + r.Alias.String()
}
