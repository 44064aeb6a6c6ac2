package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func origins(t *testing.T, texts ...string) (all []Origin) {
	t.Helper()
	for _, text := range texts {
		var o Origin
		if err := o.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

func TestOrigins(t *testing.T) {
	for text, want := range map[string]string{
		"https://models.example": "https://models.example", "HTTPS://Models.Example": "https://models.example", "https://models.example:443": "https://models.example",
		"http://models.example:80": "http://models.example", "http://models.example:443": "http://models.example:443", "http://localhost:3000": "http://localhost:3000",
		"http://[::1]:3000": "http://[::1]:3000", "https://xn--bcher-kva.example": "https://xn--bcher-kva.example",
		"*": "", "null": "", "": "", "models.example": "", "//models.example": "", "https://": "", "https://*.example": "", "file:///": "", "file://host": "",
		"https://models.example/": "", "https://models.example/a": "", "https://models.example?": "", "https://models.example?a": "", "https://models.example#": "",
		"https://u@models.example": "", "https://bücher.example": "", "https://a.example, https://b.example": "", "https://a.example https://b.example": "",
		"chrome-extension://abc": "", "javascript:alert(1)": "",
	} {
		var o Origin
		err := o.UnmarshalText([]byte(text))
		if (err == nil) != (want != "") || err == nil && o.String() != want {
			t.Errorf("%q: %q, %v", text, o, err)
		}
	}
}

// TestCORS: a page of an origin that was let in may call and read, no other may, and no answer is kept for another's.
func TestCORS(t *testing.T) {
	const page = "https://models.example"
	face := New(&stub{}, Options{Guest: &guest{}})
	h := AllowOrigins(face, origins(t, page, "http://localhost:3000"))
	for name, c := range map[string]struct {
		origin  []string
		allowed bool
	}{
		"the page":                 {[]string{page}, true},
		"the other page":           {[]string{"http://localhost:3000"}, true},
		"none":                     {nil, false},
		"null":                     {[]string{"null"}, false},
		"*":                        {[]string{"*"}, false},
		"empty":                    {[]string{""}, false},
		"another port":             {[]string{page + ":8443"}, false},
		"the default port":         {[]string{page + ":443"}, false}, // browsers do not send it
		"plain HTTP":               {[]string{"http://models.example"}, false},
		"a longer name":            {[]string{page + ".evil.example"}, false},
		"the name in a longer one": {[]string{"https://evilmodels.example"}, false},
		"a subdomain":              {[]string{"https://a.models.example"}, false},
		"as a user":                {[]string{"https://models.example@evil.example"}, false},
		"with a path":              {[]string{page + "/"}, false},
		"other letters":            {[]string{"https://Models.example"}, false},
		"two in one":               {[]string{page + ", https://evil.example"}, false},
		"two headers":              {[]string{page, "https://evil.example"}, false},
		"a dot":                    {[]string{page + "."}, false},
		"a line":                   {[]string{page + "\t"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
				for _, preflight := range []bool{false, true} {
					for _, path := range []string{"/v1/whoami", "/acme/tiny/resolve/main/x", "/healthz"} {
						r := httptest.NewRequest(method, path, nil)
						r.Header["Origin"] = c.origin
						if preflight {
							r.Header.Set("Access-Control-Request-Method", "GET")
							r.Header.Set("Access-Control-Request-Headers", "authorization,range")
						} else {
							r.Header.Set("Authorization", "Bearer "+goodToken)
						}
						w := httptest.NewRecorder()
						h.ServeHTTP(w, r)
						checkCORS(t, method, path, w.Result(), c.origin, c.allowed, preflight && method == "OPTIONS")
					}
				}
			}
		})
	}
}

func checkCORS(t *testing.T, method, path string, a *http.Response, origin []string, allowed, preflight bool) {
	t.Helper()
	got := a.Header.Get("Access-Control-Allow-Origin")
	switch {
	case allowed && got != origin[0], !allowed && got != "":
		t.Errorf("%s %s lets in %q", method, path, got)
	case a.Header.Get("Access-Control-Allow-Credentials") != "":
		t.Errorf("%s %s lets in credentials", method, path)
	case len(a.Header.Values("Access-Control-Allow-Origin")) > 1:
		t.Errorf("%s %s: %v", method, path, a.Header)
	}
	if !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Origin") {
		t.Errorf("%s %s: Vary %q", method, path, a.Header.Values("Vary"))
	}
	if !allowed {
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s %s says %s", method, path, name)
			}
		}
		if preflight && path != "/healthz" && a.StatusCode < 400 {
			t.Errorf("%s %s: %d", method, path, a.StatusCode)
		}
		return
	}
	if preflight {
		if a.StatusCode != http.StatusNoContent || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "Authorization") || !strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "PUT") || a.Header.Get("Access-Control-Max-Age") == "" {
			t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
		}
		return
	}
	for _, name := range []string{"ETag", "Link", "Content-Range", "Accept-Ranges", "X-Repo-Commit", "X-Request-Id", "X-Error-Code", "X-Error-Message", "X-Total-Count", "X-Linked-Size", "X-Linked-ETag", "Retry-After", "Location"} {
		if !strings.Contains(", "+a.Header.Get("Access-Control-Expose-Headers")+",", ", "+name+",") {
			t.Errorf("%s %s does not expose %s", method, path, name)
		}
	}
}

// TestNoCORSUnlessConfigured: without an origin nothing is said, and the handler is the same.
func TestNoCORSUnlessConfigured(t *testing.T) {
	h := AllowOrigins(New(&stub{}, Options{}), nil)
	for _, method := range []string{"GET", "OPTIONS"} {
		r := httptest.NewRequest(method, "/v1/whoami", nil)
		r.Header.Set("Origin", "https://models.example")
		r.Header.Set("Access-Control-Request-Method", "GET")
		r.Header.Set("Authorization", "Bearer "+goodToken)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
				t.Errorf("%s: %s", method, name)
			}
		}
	}
}
