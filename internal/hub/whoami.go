package hub

import (
	"net/http"
	"slices"

	"github.com/ballast-registry/ballast"
)

// who is the holder of a token as clients know a user.
type who struct {
	Type     string `json:"type"`
	ID       string `json:"id"`
	Name     string `json:"name"`
	FullName string `json:"fullname"`
	IsPro    bool   `json:"isPro"`
	CanPay   bool   `json:"canPay"`
	Orgs     []org  `json:"orgs"`
	Auth     auth   `json:"auth"`
}

// org is a scope that the token was granted, with the strongest role that it has for any name there.
type org struct {
	Type string       `json:"type"`
	ID   string       `json:"id"`
	Name string       `json:"name"`
	Role ballast.Role `json:"roleInOrg"`
}

type auth struct {
	Type        string      `json:"type"`
	AccessToken accessToken `json:"accessToken"`
}

// accessToken is the token. Its role is what it may do by this face, whatever it may do by the native one.
type accessToken struct {
	DisplayName string `json:"displayName"`
	Role        string `json:"role"`
}

// whoami answers whose token it is. Clients ask in order to check one, so that none is refused.
func (h *Hub) whoami(w http.ResponseWriter, r *request) error {
	p := r.principal
	if p.IsAnonymous() {
		return ballast.Errorf(ballast.CodeUnauthenticated, "no token was sent")
	}
	me := who{Type: "user", ID: p.ID, Name: p.Name, FullName: p.By(), Orgs: []org{}, Auth: auth{"access_token", accessToken{p.Name, "read"}}}
	for _, g := range p.Grants {
		name := g.Scope.String()
		at := slices.IndexFunc(me.Orgs, func(o org) bool { return o.Name == name })
		if at < 0 {
			me.Orgs = append(me.Orgs, org{"org", name, name, g.Role})
			continue
		}
		me.Orgs[at].Role = max(me.Orgs[at].Role, g.Role)
	}
	return writeJSON(w, http.StatusOK, me)
}
