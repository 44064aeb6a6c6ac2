package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Origin is where a page in a browser comes from: scheme, host and, unless it is the scheme's own, port.
type Origin struct{ text string }

// UnmarshalText implements encoding.TextUnmarshaler. It refuses what stands for more than one origin.
func (o *Origin) UnmarshalText(text []byte) error {
	u, err := url.Parse(string(text))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(u.Host, "*, "):
		return fmt.Errorf("origin %q: write one as https://models.example; pages without an origin, \"null\", and all at once, \"*\", are not let in", text)
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(string(text), "#"):
		return fmt.Errorf("origin %q: write scheme, host and port alone, as in https://models.example", text)
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }):
		return fmt.Errorf("origin %q: write the host as browsers send it, in ASCII: xn--…", text)
	}
	host := strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; strings.HasSuffix(host, port) {
		host = strings.TrimSuffix(host, port)
	}
	o.text = u.Scheme + "://" + strings.TrimSuffix(host, ":")
	return nil
}

// String returns the origin as browsers send it.
func (o Origin) String() string { return o.text }

// What pages of an origin that is let in may do. Credentials are never let in: a browser has none, and who has a token
// says it.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsSent    = "Authorization, Cache-Control, Content-Type, If-Match, If-None-Match, Range, X-Request-Id"
	corsExposed = "Accept-Ranges, Allow, Content-Disposition, Content-Range, ETag, Link, Location, RateLimit, Retry-After, WWW-Authenticate, " +
		"X-Error-Code, X-Error-Message, X-Hf-Warning, X-Linked-ETag, X-Linked-Size, X-Repo-Commit, X-Request-Id, X-Total-Count"
	corsMaxAge = "600" // seconds for which a browser remembers
)

// AllowOrigins lets pages of some origins read next's answers in a browser, and answers what browsers ask before that.
// What comes from other origins passes to next as it is, and browsers keep the answer from the page. Without origins
// next is returned.
func AllowOrigins(next http.Handler, origins []Origin) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, from := w.Header(), r.Header.Values("Origin")
		header.Add("Vary", "Origin")
		if len(from) != 1 || !slices.Contains(origins, Origin{from[0]}) {
			next.ServeHTTP(w, r)
			return
		}
		header.Set("Access-Control-Allow-Origin", from[0])
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			header.Set("Access-Control-Allow-Methods", corsMethods)
			header.Set("Access-Control-Allow-Headers", corsSent)
			header.Set("Access-Control-Max-Age", corsMaxAge)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		header.Set("Access-Control-Expose-Headers", corsExposed)
		next.ServeHTTP(w, r)
	})
}
