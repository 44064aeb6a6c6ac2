package engine

import (
	"github.com/ballast-registry/ballast"
)

// anonymous is an id that no token has: those are of base62 and of another length.
const anonymous = "anonymous"

// Anonymous is who asks without any credentials, where that is allowed: a reader of global and of nothing else.
func Anonymous() Principal {
	return Principal{ID: anonymous, Name: anonymous, Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Reader}}}
}

// IsAnonymous reports whether the principal is nobody in particular: what is bounded for each principal is bounded for
// each address of this one.
func (p Principal) IsAnonymous() bool { return p.ID == anonymous }
