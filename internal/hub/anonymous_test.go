package hub_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/internal/api"
	"github.com/ballast-registry/ballast/internal/hub"
)

// TestAnonymousMatrix sends the request of each route without a token, where that is allowed: what is global is read, what is a
// tenant's reads as what nobody has, and who asks whose token it is is told that it has none.
func TestAnonymousMatrix(t *testing.T) {
	w := newTenancy(t, nil, t.Errorf)
	server := httptest.NewServer(api.New(w.Engine, api.Options{Guest: hub.New(w.Engine, hub.Options{}), AnonymousRead: true}))
	t.Cleanup(server.Close)
	w.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	for route, kind := range tenancyRows() {
		method, form, _ := strings.Cut(route, " ")
		methods := []string{method}
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, method := range methods {
			if kind == oneself {
				if status, text := w.answer("", method, form); status != http.StatusUnauthorized {
					t.Errorf("%s %s: %s", method, form, text)
				}
				continue
			}
			w.cells(kind, method, form, "", "nobody", []string{"global"})
			if status, text := w.answer("hf_bal_0123456789_0123456789", method, pathOf(form, "org/in-global")); status != http.StatusUnauthorized {
				t.Errorf("%s %s with a token that is not known: %s", method, form, text)
			}
		}
	}
}
