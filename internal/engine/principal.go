package engine

import (
	"github.com/ballast-registry/ballast"
)

// Principal is who asks: a token's holder and what it was granted. The first grant's scope is the principal's own.
type Principal struct {
	ID     string // of the token, or of who holds one of another issuer: printable ASCII, 255 bytes at most
	Name   string
	Grants []ballast.Grant
}

// Home is the principal's own scope: where it writes when it names none, and what it sees before global.
func (p Principal) Home() ballast.Scope {
	if len(p.Grants) == 0 {
		return ballast.Scope{}
	}
	return p.Grants[0].Scope
}

// Role is the principal's role in a scope: the strongest granted. Everybody reads global.
func (p Principal) Role(scope ballast.Scope) ballast.Role {
	role := ballast.NoRole
	if scope == ballast.Global && len(p.Grants) > 0 {
		role = ballast.Reader
	}
	for _, g := range p.Grants {
		if g.Scope == scope {
			role = max(role, g.Role)
		}
	}
	return role
}

// scopes are those that the principal reads.
func (p Principal) scopes() (all []ballast.Scope) {
	for _, g := range p.Grants {
		if p.Role(g.Scope) >= ballast.Reader {
			all = append(all, g.Scope)
		}
	}
	if p.Role(ballast.Global) >= ballast.Reader {
		all = append(all, ballast.Global)
	}
	return all
}

// By is the principal as created_by shows it: name@scope.
func (p Principal) By() string { return p.Name + "@" + p.Home().String() }

// need refuses a principal whose role in scope is weaker than role. A scope that it may not even read is not_found:
// only a role is ever denied, never a scope.
func (p Principal) need(scope ballast.Scope, role ballast.Role) error {
	switch has := p.Role(scope); {
	case has >= role:
		return nil
	case has == ballast.NoRole:
		return ballast.Errorf(ballast.CodeNotFound, "scope %s: not found, or not open to this token, whose own is %s", scope, p.Home())
	default:
		return ballast.Errorf(ballast.CodeDenied, "this needs the role %s in scope %s; the token has %s: use one that has it, which an admin of the scope or of global mints", role, scope, has)
	}
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
