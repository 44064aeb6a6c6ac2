package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-registry/ballast/testenv/hostile"
)

// TestHostileListener sends what two programs may read in two ways.
func TestHostileListener(t *testing.T) {
	w := besiege(t, nil, nil)
	for _, a := range hostile.Smuggles() {
		t.Run(a.Title(), func(t *testing.T) { w.TrySmuggle(a, t.Errorf) })
	}
	w.verify(t.Errorf)
	w.holdsNoForgedLine(t.Errorf)
}

// holdsNoForgedLine reports a line of the log that a request wrote.
func (w besieged) holdsNoForgedLine(report func(string, ...any)) {
	if log := w.log.String(); strings.Contains(log, "\n"+hostile.Forged) || strings.ContainsAny(log, "\r\x1b") {
		report("the log has a line, or an escape, of the attacker's")
	}
}

// TestHostileListenerNotices is the control for what lies below net/http: each face before which somebody reads a request
// in the other way is noticed.
func TestHostileListenerNotices(t *testing.T) {
	doctored := func(change func(r *http.Request)) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { change(r); h.ServeHTTP(w, r) })
		}
	}
	header := func(name string, set func(r *http.Request, value string)) func(http.Handler) http.Handler {
		return doctored(func(r *http.Request) {
			if value := r.Header.Get(name); value != "" {
				set(r, value)
			}
		})
	}
	last := &sync.Map{} // the token of a connection, by its address
	for name, c := range map[string]struct {
		group  string
		doctor func(http.Handler) http.Handler
		want   string
	}{
		"the first of two tokens": {"identity", doctored(func(r *http.Request) {
			r.Header["Authorization"] = r.Header["Authorization"][:min(1, len(r.Header["Authorization"]))]
		}), "two tokens"},
		"the first of joined tokens": {"identity", header("Authorization", func(r *http.Request, v string) {
			first, _, _ := strings.Cut(v, ",")
			r.Header.Set("Authorization", first)
		}), "joined"},
		"a token in a query":           {"identity", doctored(func(r *http.Request) { setToken(r, r.URL.Query().Get("access_token")); r.URL.RawQuery = "" }), "a query"},
		"a cookie":                     {"identity", header("Cookie", func(r *http.Request, _ string) { c, _ := r.Cookie("token"); setToken(r, c.Value) }), "a cookie"},
		"the connection's token":       {"identity", doctored(func(r *http.Request) { rememberToken(last, r) }), "the one before"},
		"a method in a header":         {"redirection", header("X-Http-Method-Override", func(r *http.Request, v string) { r.Method = v }), "X-HTTP-Method-Override"},
		"a path in a header":           {"redirection", header("X-Original-Url", func(r *http.Request, v string) { r.URL.Path = v }), "X-Original-URL"},
		"a host in a header":           {"redirection", header("X-Forwarded-Host", func(r *http.Request, v string) { r.Host = v }), "X-Forwarded-Host in a link"},
		"a hidden request is answered": {"framing", hiddenIsAnswered, "Content-Length and chunked"},
		"every form is a request":      {"form", header("Authorization", func(r *http.Request, _ string) { r.URL.Path, r.Method = "/v1/whoami", "GET" }), "method OPTIONS"},
	} {
		t.Run(name, func(t *testing.T) {
			w := besiege(t, nil, c.doctor)
			var found strings.Builder
			for _, a := range hostile.Smuggles() {
				if a.Group == c.group {
					w.TrySmuggle(a, func(format string, args ...any) { fmt.Fprintf(&found, format+"\n", args...) })
				}
			}
			if !strings.Contains(found.String(), c.want) {
				t.Errorf("reported %.500q, want %q", found.String(), c.want)
			}
		})
	}
	t.Run("a line in the log", func(t *testing.T) {
		w := besiege(t, nil, nil)
		_, _ = w.log.Write([]byte("request\n" + hostile.Forged + "\n"))
		found := 0
		w.holdsNoForgedLine(func(string, ...any) { found++ })
		if found == 0 {
			t.Error("nothing was noticed")
		}
	})
}

func setToken(r *http.Request, token string) {
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
}

// rememberToken takes a request for one of whoever came before on the connection.
func rememberToken(last *sync.Map, r *http.Request) {
	if token := r.Header.Get("Authorization"); token != "" {
		last.Store(r.RemoteAddr, token)
	} else if token, ok := last.Load(r.RemoteAddr); ok {
		r.Header.Set("Authorization", token.(string))
	}
}

// hiddenIsAnswered answers what lies in a body as if it were a request of its own, with the token of the one around it.
func hiddenIsAnswered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/commit") {
			r.Method, r.URL.Path = http.MethodGet, "/v1/whoami"
		}
		h.ServeHTTP(w, r)
	})
}
