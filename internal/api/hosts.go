package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/ballast-registry/ballast"
)

// AllowHosts lets requests pass to next whose Host is one of hosts, whatever its port and case, and refuses others as
// invalid. Without hosts everything passes.
func AllowHosts(next http.Handler, hosts []string) http.Handler {
	if len(hosts) == 0 {
		return next
	}
	known := map[string]bool{}
	for _, h := range hosts {
		known[hostOf(h)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := hostOf(r.Host); name == "" || !known[name] {
			refuseHost(w, r.Host)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf is the one form of a host, without port and the dot of a full name; it is empty for what is none.
func hostOf(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return ""
		}
		host = name
	} else if inner, isOpen := strings.CutPrefix(host, "["); isOpen {
		host = strings.TrimSuffix(inner, "]")
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().WithZone("").String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
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
