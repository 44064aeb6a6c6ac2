package engine

import (
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// Principal is who asks: a token's holder and what it was granted. The first grant's scope is the principal's own.
type Principal struct {
	ID        string // of the token, or of who holds one of another issuer: printable ASCII, 255 bytes at most
	Name      string
	Grants    []ballast.Grant
	ExpiresAt ballast.Time // of the token; zero: never
}

// Home is the principal's own scope: where it writes when it names none, and what it sees before global.
func (p Principal) Home() ballast.Scope {
	if len(p.Grants) == 0 {
		return ballast.Scope{}
	}
	return p.Grants[0].Scope
}

// Turn is whose turn a principal takes of what goes round by scope. Who has a token for global does not wait for those without.
func (p Principal) Turn() ballast.Scope {
	if p.IsAnonymous() {
		return ballast.Scope{}
	}
	return p.Home()
}

// Role is the principal's role in a scope as a whole: the strongest granted for all of its names. Everybody reads global.
func (p Principal) Role(scope ballast.Scope) ballast.Role { return p.RoleOf(scope, ballast.Name{}) }

// RoleOf is the principal's role for one name of a scope: the strongest granted for all names or for some that the name is
// one of. This is the only place where a grant's names count.
func (p Principal) RoleOf(scope ballast.Scope, name ballast.Name) ballast.Role {
	role := ballast.NoRole
	if scope == ballast.Global && len(p.Grants) > 0 {
		role = ballast.Reader
	}
	for _, g := range p.Grants {
		if g.Scope == scope && g.Names.Has(name) {
			role = max(role, g.Role)
		}
	}
	return role
}

func (p Principal) administersGlobal() bool { return p.Role(ballast.Global) >= ballast.Admin }

// sees reports whether a name of a scope is there for the principal.
func (p Principal) sees(scope ballast.Scope, name ballast.Name) bool {
	return p.RoleOf(scope, name) >= ballast.Reader
}

// part is what of a scope the principal has a role for; ok is false when it is nothing.
func (p Principal) part(scope ballast.Scope, role ballast.Role) (part index.Part, ok bool) {
	part.Scope = scope
	if p.Role(scope) >= role {
		return part, true
	}
	for _, g := range p.Grants {
		if g.Scope == scope && g.Role >= role {
			part.Names = append(part.Names, g.Names)
		}
	}
	return part, len(part.Names) > 0
}

// parts are what the principal sees: of one scope, of its own and global when none is named.
func (p Principal) parts(named ballast.Scope) (all []index.Part) {
	for _, scope := range p.lookedUp(named) {
		if part, ok := p.part(scope, ballast.Reader); ok {
			all = append(all, part)
		}
	}
	return all
}

// everything is what the principal sees of all scopes.
func (p Principal) everything() (all []index.Part) {
	scopes := []ballast.Scope{ballast.Global}
	for _, g := range p.Grants {
		if !slices.Contains(scopes, g.Scope) {
			scopes = append(scopes, g.Scope)
		}
	}
	for _, scope := range scopes {
		if part, ok := p.part(scope, ballast.Reader); ok {
			all = append(all, part)
		}
	}
	return all
}

// lookedUp are the scopes in which a reference is looked up: the one that is named, else the principal's own and then
// global.
func (p Principal) lookedUp(named ballast.Scope) []ballast.Scope {
	if named.IsZero() {
		return slices.Compact([]ballast.Scope{p.Home(), ballast.Global})
	}
	return []ballast.Scope{named}
}

// lookup says where the principal's references to a name are looked up. In a scope where it may not read the name there is
// no such name.
func (p Principal) lookup(named ballast.Scope, name ballast.Name) index.Lookup {
	l := index.Lookup{SeesSealed: func(s ballast.Scope) bool { return p.RoleOf(s, name) >= ballast.Writer }}
	for _, s := range p.lookedUp(named) {
		if p.sees(s, name) {
			l.Scopes = append(l.Scopes, s)
		}
	}
	return l
}

// By is the principal as created_by shows it: name@scope.
func (p Principal) By() string { return p.Name + "@" + p.Home().String() }

// need refuses a principal whose role for a name of a scope is weaker than role; a zero name asks for the scope as a whole.
// What it may not even read is not_found: only a role is ever denied, never a scope or a name. The refusal is made of what
// was asked for and of the grants alone.
func (p Principal) need(scope ballast.Scope, name ballast.Name, role ballast.Role) error {
	has := p.RoleOf(scope, name)
	if has >= role {
		return nil
	}
	granted, confined := p.grantedIn(scope)
	switch {
	case has == ballast.NoRole && granted == "":
		return ballast.Errorf(ballast.CodeNotFound, "scope %s: not found, or not open to this token, whose own is %s", scope, p.Home())
	case has == ballast.NoRole && !name.IsZero():
		return ballast.Errorf(ballast.CodeNotFound, "%s: not found, or not open to this token, which is for %s", ballast.Ref{Scope: scope, Name: name}, granted)
	case !confined:
		granted = has.String()
	}
	return ballast.Errorf(ballast.CodeDenied, "this needs the role %s in scope %s; the token has %s: use one that has it, which an admin of the scope or of global mints", role, scope, granted)
}

// grantedIn writes out what was granted in a scope, and says whether some of it is for some names only.
func (p Principal) grantedIn(scope ballast.Scope) (granted string, confined bool) {
	var all []string
	for _, g := range p.Grants {
		if g.Scope == scope {
			all = append(all, g.String())
			confined = confined || !g.Names.IsZero()
		}
	}
	return strings.Join(all, ", "), confined
}

// ListModels narrows a list of names.
type ListModels struct {
	Scope  ballast.Scope // zero: the principal's own and global
	Prefix string        // of the name, compared folded
	Limit  int           // 1 … 1000
	Cursor string
}

// ListTensors narrows a list of a file's tensors.
type ListTensors struct {
	Path   string // of the file
	Limit  int    // 1 … 1000
	Cursor string
}

// ListFiles narrows a list of a version's files.
type ListFiles struct {
	URLs   bool // with a signed request each
	Parts  bool // with part digests
	Limit  int  // 1 … 1000
	Cursor string
}
