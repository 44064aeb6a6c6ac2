package ballast

import "strings"

// Role is what a principal may do in a scope. Each role may do all that the ones before it may.
type Role int

// The roles, weakest first. The zero value is no role.
const (
	NoRole     Role = iota
	Reader          // read
	Writer          // push, copy, import, edit metadata, move aliases
	Maintainer      // stage, promote, rollback, retire, restore, delete
	Admin           // tokens, quotas, audit, operations
)

var roleNames = []string{"", "reader", "writer", "maintainer", "admin"}

// ParseRole parses reader, writer, maintainer or admin.
func ParseRole(s string) (Role, error) {
	for r := Reader; r <= Admin; r++ {
		if roleNames[r] == s {
			return r, nil
		}
	}
	return NoRole, Errorf(CodeInvalid, "role %s: use reader, writer, maintainer or admin", quote(s))
}

// String returns the role's name: "" for anything but the four roles.
func (r Role) String() string {
	if r < NoRole || r > Admin {
		return ""
	}
	return roleNames[r]
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseRole does.
func (r *Role) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRole(string(text))
	return err
}

// MaxGrants is how many grants a token may have, whoever issued it.
const MaxGrants = 64

// Grant gives a role in a scope, for all names of it or for some. Its text form is scope=role or scope::names=role.
type Grant struct {
	Scope Scope `json:"scope"`
	Role  Role  `json:"role"`
	Names Names `json:"names,omitzero"` // left out: all of them
}

// ParseGrant parses scope=role, as in acme=writer, and scope::names=role, as in acme::llama-*=writer.
func ParseGrant(s string) (g Grant, err error) {
	where, role, ok := strings.Cut(s, "=")
	if !ok {
		return Grant{}, Errorf(CodeInvalid, "grant %s: write SCOPE=ROLE, as in acme=writer or global=reader, or SCOPE::NAMES=ROLE, as in acme::llama-*=writer", quote(s))
	}
	scope, names, confined := strings.Cut(where, "::")
	if !confined && strings.ContainsAny(where, "/*:") {
		return Grant{}, Errorf(CodeInvalid, "grant %s: a scope and names are joined by \"::\", as in acme::llama-*=writer", quote(s))
	}
	if g.Scope, err = ParseScope(scope); err == nil && confined {
		g.Names, err = ParseNames(names)
	}
	if err == nil {
		g.Role, err = ParseRole(role)
	}
	if err == nil {
		err = g.Check()
	}
	if err != nil {
		return Grant{}, err
	}
	return g, nil
}

// Check refuses a grant that lacks something, and one whose Names would promise what they do not do.
func (g Grant) Check() error {
	switch {
	case g.Scope.IsZero() || g.Role == NoRole:
		return Errorf(CodeInvalid, "grants: each needs a scope and a role")
	case g.Names.IsZero():
	case g.Role == Admin:
		return Errorf(CodeInvalid, "grant %s: an admin administers a whole scope; give a weaker role for some names, or admin for all", g)
	case g.Scope == Global && g.Role == Reader:
		return Errorf(CodeInvalid, "grant %s: whoever has a token reads all of global, so this would confine nothing; leave it out", g)
	}
	return nil
}

// String returns scope=role or scope::names=role.
func (g Grant) String() string {
	if g.Names.IsZero() {
		return g.Scope.String() + "=" + g.Role.String()
	}
	return g.Scope.String() + "::" + g.Names.String() + "=" + g.Role.String()
}

// Names are some names of a scope: those that begin with a prefix, or one. They are compared folded, as names are, and
// held so. The zero value stands for all names.
type Names struct{ s string }

// ParseNames parses a prefix and a star, as in llama-* or acme-labs/*, or one name.
func ParseNames(s string) (Names, error) {
	prefix, open := strings.CutSuffix(s, "*")
	if open && prefix == "" {
		return Names{}, Errorf(CodeInvalid, "names %s: for all names leave them out, as in acme=writer", quote(s))
	}
	_, err := ParseName(prefix)
	if open && err != nil { // it need not be a name, but the beginning of one
		_, err = ParseName(prefix + "x")
	}
	if err != nil {
		return Names{}, Errorf(CodeInvalid, "names %s: write the beginning of names and a *, as in llama-* or llama/*, or one name: %s", quote(s), AsError(err).Detail)
	}
	return Names{fold(s)}, nil
}

// IsZero reports whether n stands for all names.
func (n Names) IsZero() bool { return n.s == "" }

// String returns the text, folded: "" for all names.
func (n Names) String() string { return n.s }

// Prefix is what all of the names begin with, folded. exact says that it is the one name.
func (n Names) Prefix() (prefix string, exact bool) {
	prefix, open := strings.CutSuffix(n.s, "*")
	return prefix, !open && prefix != ""
}

// Has reports whether a name is one of these. The zero Name is so of all names alone.
func (n Names) Has(name Name) bool {
	return n.IsZero() || n.HasFolded(name.Fold())
}

// HasFolded is Has for a name that is folded already.
func (n Names) HasFolded(fold string) bool {
	prefix, exact := n.Prefix()
	return fold == prefix || !exact && strings.HasPrefix(fold, prefix)
}

// MarshalText implements encoding.TextMarshaler.
func (n Names) MarshalText() ([]byte, error) { return []byte(n.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseNames does.
func (n *Names) UnmarshalText(text []byte) (err error) {
	*n, err = ParseNames(string(text))
	return err
}
