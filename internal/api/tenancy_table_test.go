package api

import (
	"fmt"

	"github.com/ballast-registry/ballast"
)

// what a request of a row names, and so what decides who may send it.
type named int

const (
	aModel      named = iota // in the path, in the scope
	aScope                   // in the body or the query: where something new is to be, or what writers see is
	anUpload                 // by its id
	anImport                 // by its id
	aToken                   // by its id; a grant is no role in the scope of another's, and only an admin knows of one
	aQuota                   // of the scope in the path; an admin of global sees it too
	aGrant                   // in the body: who may hand out a scope is told so, whether anything is there or not
	aList                    // of what is in the scope; one that is not to be seen is empty
	oneself                  // nothing: what the token is, and hears
	theRegistry              // what is everybody's: a change takes the role in global
	nothing                  // and asks for no token
)

// tenancyRow is one request of one route, written for a subject in a scope: the least role in that scope that may send
// it. Every other cell of the matrix follows from the role that a caller has there.
type tenancyRow struct {
	route  string
	names  named
	least  ballast.Role
	atHome ballast.Role                    // needed in the caller's own scope too
	query  string                          // %s is the scope
	body   func(scope, name string) string // name is the subject's
}

// tenancyRows is the matrix: each route has a row, or more where its body decides which role it takes.
func tenancyRows() []tenancyRow {
	const (
		model   = "/v1/models/{name}"
		version = model + "/versions/{ref}"
		upload  = "/v1/uploads/{id}"
	)
	text := func(body string) func(string, string) string { return func(string, string) string { return body } }
	return []tenancyRow{
		{route: "POST /v1/uploads", names: aScope, least: ballast.Writer, body: func(scope, name string) string {
			return fmt.Sprintf(`{"scope":%q,"name":%q,"version":"1","attempt":"0123456789abcdef"}`, scope, name+"-new")
		}},
		{route: "GET " + upload, names: anUpload, least: ballast.Writer},
		{route: "DELETE " + upload, names: anUpload, least: ballast.Writer},
		{route: "POST " + upload + "/blobs", names: anUpload, least: ballast.Writer, body: text(blobsBody(blob(offered)))},
		{route: "POST " + upload + "/commit", names: anUpload, least: ballast.Writer, body: text(`{"files":[]}`)},

		{route: "POST /v1/imports", names: aScope, least: ballast.Writer, body: func(scope, name string) string {
			return fmt.Sprintf(`{"source":"inbox:model/","scope":%q,"name":%q,"version":"1"}`, scope, name+"-import")
		}},
		{route: "GET /v1/imports", names: aScope, least: ballast.Writer, query: "?scope=%s"},
		{route: "GET /v1/imports/{id}", names: anImport, least: ballast.Writer},
		{route: "DELETE /v1/imports/{id}", names: anImport, least: ballast.Writer},

		{route: "GET /v1/models", names: aList, query: "?scope=%s"},
		{route: "GET /v1/versions", names: aList, query: "?scope=%s"},
		{route: "GET " + model, least: ballast.Reader},
		{route: "GET " + model + "/versions", least: ballast.Reader},
		{route: "GET " + version, least: ballast.Reader},
		{route: "GET " + version, least: ballast.Reader, query: "?include=retired"},
		{route: "GET " + version + "/files", least: ballast.Reader},
		{route: "GET " + version + "/files", least: ballast.Reader, query: "?urls=true"},
		{route: "GET " + version + "/files/{path}", least: ballast.Reader},
		{route: "HEAD " + version + "/files/{path}", least: ballast.Reader},
		{route: "GET " + version + "/tensors/{path}", least: ballast.Reader},
		{route: "GET " + version + "/children", least: ballast.Reader},
		{route: "GET " + model + "/production", least: ballast.Reader},
		{route: "GET " + model + "/aliases", least: ballast.Reader},

		{route: "POST " + version + "/copy", least: ballast.Reader, atHome: ballast.Writer, body: func(_, name string) string {
			return fmt.Sprintf(`{"name":%q,"version":"1"}`, name+"-copy")
		}},
		{route: "PATCH " + version, least: ballast.Writer, body: text(patchBody("description", `"better"`))},
		{route: "PUT " + model + "/aliases/{alias}", least: ballast.Writer, body: text(`{"version":"3"}`)},
		{route: "DELETE " + model + "/aliases/{alias}", least: ballast.Writer},

		{route: "PATCH " + version, least: ballast.Maintainer, body: text(`{"stage":"validated"}`)},
		{route: "POST " + version + "/promote", least: ballast.Maintainer, body: text(`{"reason":"better"}`)},
		{route: "POST " + model + "/rollback", least: ballast.Maintainer, body: text(`{"reason":"worse"}`)},
		{route: "POST " + version + "/retire", least: ballast.Maintainer, body: text(`{}`)},
		{route: "DELETE " + version, least: ballast.Maintainer},
		{route: "POST " + version + "/restore", least: ballast.Maintainer, body: text(`{}`)},
		{route: "DELETE " + version, least: ballast.Maintainer, query: "?if_exists=true"},

		{route: "GET /v1/tokens", names: oneself, least: ballast.Admin},
		{route: "POST /v1/tokens", names: aGrant, least: ballast.Admin, body: func(scope, _ string) string {
			return fmt.Sprintf(`{"grants":[{"scope":%q,"role":"reader"}]}`, scope)
		}},
		{route: "GET /v1/tokens/{id}", names: aToken, least: ballast.Admin},
		{route: "POST /v1/tokens/{id}/rotate", names: aToken, least: ballast.Admin, body: text(`{"overlap":60}`)},
		{route: "DELETE /v1/tokens/{id}", names: aToken, least: ballast.Admin},
		{route: "GET /v1/tasks", names: oneself},
		{route: "PUT /v1/tasks/{task}", names: theRegistry, least: ballast.Admin},
		{route: "DELETE /v1/tasks/{task}", names: theRegistry, least: ballast.Admin},
		{route: "GET /v1/admin/quotas", names: oneself},
		{route: "GET /v1/admin/quotas/{scope}", names: aQuota, least: ballast.Reader},
		{route: "PUT /v1/admin/quotas/{scope}", names: theRegistry, least: ballast.Admin, body: text(`{"versions":100000}`)},
		{route: "DELETE /v1/admin/quotas/{scope}", names: theRegistry, least: ballast.Admin},
		{route: "POST /v1/admin/gc", names: theRegistry, least: ballast.Admin, body: text(`{"dry_run":true}`)},
		{route: "GET /v1/admin/gc", names: theRegistry, least: ballast.Admin},
		{route: "POST /v1/admin/fsck", names: theRegistry, least: ballast.Admin, body: text(`{}`)},
		{route: "GET /v1/admin/fsck", names: theRegistry, least: ballast.Admin},
		{route: "GET /v1/whoami", names: oneself},
		{route: "GET /v1/store", names: oneself},
		{route: "GET /v1/events", names: oneself},
		{route: "GET /v1/audit", names: oneself, least: ballast.Admin, query: "?action=version"}, // in what was refused stands what the caller's own wrote
		{route: "GET /v1/audit", names: aGrant, least: ballast.Admin, query: "?scope=%s"},
		{route: "GET /v1/audit", names: aGrant, least: ballast.Admin, query: "?model=%s::subject:1"},

		{route: "GET /healthz", names: nothing},
		{route: "GET /readyz", names: nothing},
		{route: "GET /openapi.yaml", names: nothing},
	}
}

// want is what a caller with a role in the scope of the subject, and one at home, is told; "" is success.
func (r tenancyRow) want(c caller, scope ballast.Scope) ballast.Code {
	p := c.principal()
	has := p.Role(scope)
	switch {
	case r.names == nothing:
		return ""
	case c.role == ballast.NoRole:
		return ballast.CodeUnauthenticated
	case r.names == aList:
		return ""
	case r.names == oneself:
		has = c.role
	case r.names == theRegistry && p.Role(ballast.Global) < r.least:
		return ballast.CodeDenied
	case r.names == theRegistry:
		return ""
	case r.names == aGrant || r.names == aToken || r.names == aQuota:
		if p.Role(ballast.Global) == ballast.Admin {
			return ""
		}
	}
	switch {
	case c.role < r.atHome:
		return ballast.CodeDenied
	case has >= r.least:
		return ""
	case has == ballast.NoRole && r.names != aGrant, r.names == aToken:
		return ballast.CodeNotFound
	}
	return ballast.CodeDenied
}
