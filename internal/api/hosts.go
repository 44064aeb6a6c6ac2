package api

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// AllowHosts lets requests pass to next whose Host is one of hosts, whatever its port and case, and refuses others as
// invalid. Without hosts everything passes.
func AllowHosts(next http.Handler, hosts []string) http.Handler {
	if len(hosts) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, hostOf(r.Host)) }) {
			refuseHost(w, r.Host)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

func refuseHost(w http.ResponseWriter, host string) {
	e := problemOf(ballast.Errorf(ballast.CodeInvalid, "this registry listens on loopback and is not called %q: a page in a browser could have made that name up. Ask for localhost, or start the registry with --public-url and the name that it has", cut(host)))
	e.Title = http.StatusText(e.Status)
	body, err := encode(e)
	if err != nil {
		body = nil // an Error of text alone can be encoded
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}
