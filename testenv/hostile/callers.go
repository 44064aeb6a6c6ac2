package hostile

import (
	"slices"
	"strings"
)

// Victim is the scope of the tenant whose business it is.
const Victim = "victim-co"

// The other scopes of a world. The one that nobody has is as long as the victim's, so that answers are.
const (
	absent   = "absent-co"
	attacker = "acme"
	beside   = "acme-labs"
)

// Caller is who asks: the grants of a token.
type Caller struct {
	Name   string
	Grants []string
	token  string // "" of nobody
}

// Names of callers who have no token that is known.
const (
	Nobody   = "nobody"
	Stranger = "a stranger"
)

// callers are all who have no business with what the victim has. Further kinds of credentials are further lines: what
// counts is which scopes they reach.
func callers() []Caller {
	all := []Caller{{Name: Nobody}, {Name: Stranger, token: "bal_0123456789_0123456789"}}
	for _, grants := range []string{
		attacker + "=reader", attacker + "=writer", attacker + "=maintainer", attacker + "=admin",
		"global=reader", "global=writer", "global=maintainer", "global=admin",
		attacker + "=admin " + beside + "=admin global=reader",
	} {
		all = append(all, Caller{Name: grants, Grants: strings.Fields(grants)})
	}
	return all
}

func (c Caller) known() bool { return len(c.Grants) > 0 }

// reads are the folders in which a caller may be given bytes, writes those in which it may put some.
func (c Caller) reads() []string {
	all := []string{"global"}
	for _, g := range c.Grants {
		scope, _, _ := strings.Cut(g, "=")
		all = append(all, folderOf(scope))
	}
	return all
}

func (c Caller) writes() (all []string) {
	for _, g := range c.Grants {
		if scope, role, _ := strings.Cut(g, "="); role != "reader" {
			all = append(all, folderOf(scope))
		}
	}
	return all
}

func folderOf(scope string) string {
	if scope == "global" {
		return scope
	}
	return "tenants/" + scope
}

// Names are those of all callers.
func Names() (all []string) {
	for _, c := range callers() {
		all = append(all, c.Name)
	}
	return all
}

func (c Caller) among(names []string) bool { return slices.Contains(names, c.Name) }
