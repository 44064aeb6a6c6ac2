package hub_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/hub"
)

// TestTooManyRequests are refused in the words that clients of Hugging Face read, who wait as long as they are told.
func TestTooManyRequests(t *testing.T) {
	e := ballast.Errorf(ballast.CodeRateLimited, "try again in 3 s: this token asks more than one may")
	e.Status, e.RetryAfter = e.Code.Status(), 2.5
	w := httptest.NewRecorder()
	hub.New(nil, hub.Options{}).Refuse(w, httptest.NewRequest(http.MethodGet, "/acme/tiny/resolve/main/x", nil), e)
	h := w.Header()
	if w.Code != 429 || h.Get("Retry-After") != "3" || h.Get("RateLimit") != `"api";r=0;t=3` || h.Get("X-Error-Message") != e.Detail || h.Get("X-Error-Code") != "" || !strings.Contains(w.Body.String(), `"error":"try again in 3 s`) {
		t.Errorf("%d %v %s", w.Code, h, w.Body)
	}
	e.Code, e.Status = ballast.CodeUnavailable, 503
	w = httptest.NewRecorder()
	hub.New(nil, hub.Options{}).Refuse(w, httptest.NewRequest(http.MethodGet, "/x", nil), e)
	if w.Header().Get("RateLimit") != "" || w.Header().Get("Retry-After") != "3" {
		t.Errorf("%v", w.Header())
	}
}

// TestEveryLongAnswerIsInTurns: whoever is gone before its turn comes is not served.
func TestEveryLongAnswerIsInTurns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := engine.Principal{ID: "r", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Reader}}}
	for _, request := range []string{
		"GET /api/models", "GET /api/models/a/b", "GET /api/models/a/b/revision/main", "GET /api/models/a/b/tree/main", "GET /api/models/a/b/tree/main/x",
		"POST /api/models/a/b/paths-info/main", "GET /api/models/a/b/commits/main", "GET /api/models/a/b/refs",
	} {
		method, path, _ := strings.Cut(request, " ")
		r := httptest.NewRequest(method, path, nil).WithContext(ctx)
		if err := hub.New(nil, hub.Options{}).Serve(httptest.NewRecorder(), r, p); !errors.Is(err, context.Canceled) {
			t.Errorf("%s takes no turn: %v", request, err)
		}
	}
}
