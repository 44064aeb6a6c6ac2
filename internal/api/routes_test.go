package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// comparable lets cmp look into the vocabulary's value types.
var comparable = gocmp.Options{
	gocmp.Comparer(func(a, b ballast.Scope) bool { return a == b }),
	gocmp.Comparer(func(a, b ballast.Name) bool { return a == b }),
	gocmp.Comparer(func(a, b ballast.Version) bool { return a == b }),
	gocmp.Comparer(func(a, b ballast.Alias) bool { return a == b }),
	gocmp.Comparer(func(a, b ballast.Names) bool { return a == b }),
	gocmp.Comparer(func(a, b ballast.Source) bool { return a == b }),
}

// everyRequest is a good request for each route.
func everyRequest(t *testing.T, send func(method, template, path, body string)) {
	t.Helper()
	for _, r := range (&server{}).routes() {
		send(r.method, r.path, fill(r.path), bodies[r.method+" "+r.path])
	}
}

func TestEveryRouteAnswers(t *testing.T) {
	for _, s := range []*stub{{}, {created: true, status: ballast.UploadVerifying}, {status: ballast.UploadDone}, {status: ballast.UploadFailed}, {empty: true}, {pending: true}} {
		f := newFace(t, s)
		everyRequest(t, func(method, _, path, body string) {
			if a := f.send(method, path, body); a.StatusCode >= 400 {
				t.Errorf("%s %s: %d %s", method, path, a.StatusCode, a.body)
			}
		})
	}
}

func TestNobodyWithoutTheTokenGetsIn(t *testing.T) {
	f := newFace(t, &stub{})
	everyRequest(t, func(method, template, path, body string) {
		if isOpen(template) {
			f.send(method, path, body, "Authorization", "").wantStatus(t, http.StatusOK)
			return
		}
		for _, header := range []string{"", "Bearer", "Bearer ", "Bearer bal_wrong", "Basic " + goodToken, goodToken} {
			a := f.send(method, path, body, "Authorization", header).wantStatus(t, http.StatusUnauthorized)
			if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="ballast"` {
				t.Errorf("%s %s with %q: WWW-Authenticate %q", method, path, header, got)
			}
		}
	})
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/nothing", "/v1/models/a/b/nothing", "/v2/x", "/healthz/", "/healthz%2f..%2fv1", "/%76%31/models", "/metrics"} {
		f.send("GET", path, "", "Authorization", "").problem(t, ballast.CodeUnauthenticated)
		f.send("GET", path, "").problem(t, ballast.CodeNotFound)
	}
}

// TestTokenCannotBeChecked: an index that does not answer is no reason to call a token unknown.
func TestTokenCannotBeChecked(t *testing.T) {
	f := newFace(t, brokenAuth{&stub{}})
	f.send("GET", "/v1/models", "").problem(t, ballast.CodeInternal)
}

type brokenAuth struct{ *stub }

func (brokenAuth) Authenticate(context.Context, ballast.Secret) (engine.Principal, error) {
	return samplePrincipal, errors.New("disk on fire")
}

func TestTwoAuthorizationHeaders(t *testing.T) {
	f := newFace(t, &stub{})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", f.url+"/v1/models", nil)
	req.Header["Authorization"] = []string{"Bearer " + goodToken, "Bearer " + goodToken}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestNamesInPaths(t *testing.T) {
	name := func(s string) ballast.Name { return must(ballast.ParseName(s)) }
	var none ballast.Scope
	s := &stub{}
	f := newFace(t, s)
	for path, want := range map[string][]any{
		"/v1/models/tiny":                                    {none, name("tiny")},
		"/v1/models/llama/tiny":                              {none, tiny},
		"/v1/models/llama%2Ftiny":                            {none, tiny},
		"/v1/models/acme::llama/tiny":                        {acme, tiny},
		"/v1/models/acme%3A%3Allama%2ftiny":                  {acme, tiny},
		"/v1/models/global::tiny":                            {ballast.Global, name("tiny")},
		"/v1/models/%74iny":                                  {none, name("tiny")},
		"/v1/models/tiny/versions":                           {none, name("tiny"), engine.ListVersions{Limit: 100}},
		"/v1/models/llama/tiny/versions?limit=7&cursor=abc":  {none, tiny, engine.ListVersions{Limit: 7, Cursor: "abc"}},
		"/v1/models/acme::llama/tiny/aliases":                {acme, tiny},
		"/v1/models/a/versions/1":                            {ballast.Ref{Name: name("a"), Version: one}},
		"/v1/models/llama/tiny/versions/latest":              {ballast.Ref{Name: tiny}},
		"/v1/models/llama/tiny/versions/@champion":           {ballast.Ref{Name: tiny, Alias: champion}},
		"/v1/models/llama/tiny/versions/%40champion":         {ballast.Ref{Name: tiny, Alias: champion}},
		"/v1/models/acme::a/versions/sha256:" + fileSum:      {ballast.Ref{Scope: acme, Name: name("a"), Digest: "sha256:" + fileSum}},
		"/v1/models/a/versions/1/files":                      {ballast.Ref{Name: name("a"), Version: one}, engine.ListFiles{Limit: 100}},
		"/v1/models/a/versions/1/files?parts=true&urls=true": {ballast.Ref{Name: name("a"), Version: one}, engine.ListFiles{Limit: 100, URLs: true, Parts: true}},
		"/v1/models/a/b/versions/1/files/x":                  {ballast.Ref{Name: name("a/b"), Version: one}, "x"},
		"/v1/models/a/versions/1/files/x/versions/1/files/y": {ballast.Ref{Name: name("a"), Version: one}, "x/versions/1/files/y"},
		"/v1/models/a/versions/1/files/x%2Fy%20z%25":         {ballast.Ref{Name: name("a"), Version: one}, "x/y z%"},
		"/v1/models/a/versions/1/files/x%252Fy":              {ballast.Ref{Name: name("a"), Version: one}, "x%2Fy"},
		"/v1/models/a/b/versions/1/tensors/x/y.gguf":         {ballast.Ref{Name: name("a/b"), Version: one}, engine.ListTensors{Path: "x/y.gguf", Limit: 100}},
		"/v1/models/a/versions/1/tensors/x?limit=7&cursor=b": {ballast.Ref{Name: name("a"), Version: one}, engine.ListTensors{Path: "x", Limit: 7, Cursor: "b"}},
		"/v1/models?prefix=ll&scope=acme":                    {engine.ListModels{Scope: acme, Prefix: "ll", Limit: 100}},
		"/v1/versions":                                       {engine.ListAllVersions{Order: ballast.OrderName, ListVersions: engine.ListVersions{Limit: 100}}},
		"/v1/versions?order=newest&prefix=ll&scope=global&limit=2&cursor=abc&status=all&stage=staged&task=ner&creator=ci@acme&base=a:1&tag=x&tag=y,z&metric.f1.macro.gte=0.9&metric.loss.lte=1e-3": {engine.ListAllVersions{
			Scope: ballast.Global, Prefix: "ll", Order: ballast.OrderNewest, ListVersions: engine.ListVersions{Limit: 2, Cursor: "abc", Filter: ballast.VersionFilter{
				Status: ballast.ListAll, Stage: ballast.StageStaged, Task: "ner", Creator: "ci@acme", Base: ballast.Ref{Name: name("a"), Version: one}, Tags: []string{"x", "y,z"},
				Metrics: []ballast.MetricFilter{{Metric: "f1.macro", Bound: ballast.AtLeast, Value: 0.9}, {Metric: "loss", Bound: ballast.AtMost, Value: 1e-3}},
			}},
		}},
		"/v1/uploads/u1":                                    {"u1", time.Duration(0)},
		"/v1/uploads/u1?wait=1500ms":                        {"u1", 1500 * time.Millisecond},
		"/v1/uploads/u1?wait=24h":                           {"u1", time.Minute},
		"/v1/imports/u1":                                    {"import", "u1", time.Duration(0)},
		"/v1/imports/u1?wait=30s":                           {"import", "u1", 30 * time.Second},
		"/v1/imports":                                       {engine.ListImports{Limit: 100}},
		"/v1/imports?scope=acme&limit=7&cursor=abc":         {engine.ListImports{Scope: acme, Limit: 7, Cursor: "abc"}},
		"/v1/tokens?limit=1000":                             {1000, ""},
		"/v1/tokens/u1":                                     {"u1"},
		"/v1/models/a/versions/@production":                 {ballast.Ref{Name: name("a"), Alias: ballast.ProductionAlias()}},
		"/v1/models/a/versions/%40production/files/x":       {ballast.Ref{Name: name("a"), Alias: ballast.ProductionAlias()}, "x"},
		"/v1/models/a/b/versions/1?include=retired":         {"retired", ballast.Ref{Name: name("a/b"), Version: one}},
		"/v1/models/acme::a/b/versions/1/children":          {ballast.Ref{Scope: acme, Name: name("a/b"), Version: one}, 100, ""},
		"/v1/models/a/versions/1/children?limit=3&cursor=x": {ballast.Ref{Name: name("a"), Version: one}, 3, "x"},
		"/v1/models/tiny/production":                        {none, name("tiny"), 100, ""},
		"/v1/models/acme::llama/tiny/production?limit=7":    {acme, tiny, 7, ""},
		"/v1/admin/quotas/acme":                             {acme},
		"/v1/admin/quotas/*":                                {none},
		"/v1/admin/quotas/%2A":                              {none},
		"/v1/admin/quotas?limit=7&cursor=x":                 {7, "x"},
		"/v1/events":                                        {"", 100, time.Duration(0)},
		"/v1/events?after=now&limit=5&wait=30s":             {"now", 5, 30 * time.Second},
		"/v1/audit":                                         {engine.ListAudit{Limit: 100}},
		"/v1/audit?scope=acme&model=acme::llama/tiny::1&since=2026-11-22T08:00:00Z&who=ci@acme&action=bytes&limit=7&cursor=abc": {engine.ListAudit{
			Scope: acme, Model: ballast.Ref{Scope: acme, Name: tiny, Version: one}, Since: sampleTime.Time, Who: "ci@acme", Action: "bytes", Limit: 7, Cursor: "abc",
		}},
	} {
		if a := f.send("GET", path, ""); a.StatusCode >= 400 {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
		if diff := gocmp.Diff(want, s.last, comparable); diff != "" {
			t.Errorf("%s reached the service as (-want +got):\n%s", path, diff)
		}
	}
}

func TestRefusedPaths(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	for path, code := range map[string]ballast.Code{
		"/v1/models/..%2f":                                            ballast.CodeInvalid,
		"/v1/models/..%2f..%2fetc":                                    ballast.CodeInvalid,
		"/v1/models/../tiny":                                          ballast.CodeInvalid,
		"/v1/models/%00":                                              ballast.CodeInvalid,
		"/v1/models/tiny%00":                                          ballast.CodeInvalid,
		"/v1/models/llama%252Ftiny":                                   ballast.CodeInvalid,
		"/v1/models/%2574iny":                                         ballast.CodeInvalid,
		"/v1/models//tiny":                                            ballast.CodeInvalid,
		"/v1/models/":                                                 ballast.CodeNotFound,
		"/v1/models/a/b/c":                                            ballast.CodeNotFound,
		"/v1/models/a%2Fb/c":                                          ballast.CodeInvalid,
		"/v1/models/versions/versions/1":                              ballast.CodeInvalid,
		"/v1/models/::tiny":                                           ballast.CodeInvalid,
		"/v1/models/ACME::tiny":                                       ballast.CodeInvalid,
		"/v1/models/a::b::1":                                          ballast.CodeInvalid,
		"/v1/models/a/versions/":                                      ballast.CodeNotFound,
		"/v1/models/a/versions//files":                                ballast.CodeInvalid,
		"/v1/models/a/versions/v1":                                    ballast.CodeInvalid,
		"/v1/models/a/versions/1%2E":                                  ballast.CodeInvalid,
		"/v1/models/a/versions/..%2F1":                                ballast.CodeInvalid,
		"/v1/models/a/versions/sha256:abc":                            ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/":                              ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/../x":                          ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/..%2f..%2fx":                   ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/%2e%2e/x":                      ballast.CodeInvalid,
		"/v1/models/a/versions/1/files//etc/passwd":                   ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/a%00b":                         ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/a%5Cb":                         ballast.CodeInvalid,
		"/v1/models/a/versions/1/files/%ff":                           ballast.CodeInvalid,
		"/v1/models/a/versions/1/files?urls=yes":                      ballast.CodeInvalid,
		"/v1/models?task=ner":                                         ballast.CodeInvalid,
		"/v1/versions?status=deleted":                                 ballast.CodeInvalid,
		"/v1/versions?stage=prod":                                     ballast.CodeInvalid,
		"/v1/versions?task=NER":                                       ballast.CodeInvalid,
		"/v1/versions?task=ner&task=ner":                              ballast.CodeInvalid,
		"/v1/versions?tag=":                                           ballast.CodeInvalid,
		"/v1/versions?" + strings.Repeat("tag=x&", 33):                ballast.CodeInvalid,
		"/v1/versions?tag=" + strings.Repeat("x", 1025):               ballast.CodeInvalid,
		"/v1/versions?metric." + strings.Repeat("x", 1024) + ".gte=0": ballast.CodeInvalid,
		"/v1/versions?tags=x":                                         ballast.CodeInvalid,
		"/v1/versions?base=a::b::c::1":                                ballast.CodeInvalid,
		"/v1/versions?prefix=a/b/c":                                   ballast.CodeInvalid,
		"/v1/versions?order=created":                                  ballast.CodeInvalid,
		"/v1/versions?metric.f1=0.9":                                  ballast.CodeInvalid,
		"/v1/versions?metric.f1.gt=0.9":                               ballast.CodeInvalid,
		"/v1/versions?metric..gte=0.9":                                ballast.CodeInvalid,
		"/v1/versions?metric.gte=0.9":                                 ballast.CodeInvalid,
		"/v1/versions?metric.f1.gte=high":                             ballast.CodeInvalid,
		"/v1/versions?metric.f1.gte=NaN":                              ballast.CodeInvalid,
		"/v1/versions?metric.f1.gte=1&metric.f1.gte=2":                ballast.CodeInvalid,
		"/v1/models/a/versions?order=newest":                          ballast.CodeInvalid,
		"/v1/models/a/versions?prefix=x":                              ballast.CodeInvalid,
		"/v1/models/a/versions?creator=" + strings.Repeat("c", 1025):  ballast.CodeInvalid,
		"/v1/models?limit=0":                                          ballast.CodeInvalid,
		"/v1/models?limit=1001":                                       ballast.CodeInvalid,
		"/v1/models?limit=ten":                                        ballast.CodeInvalid,
		"/v1/models?limit=1&limit=2":                                  ballast.CodeInvalid,
		"/v1/models?limt=1":                                           ballast.CodeInvalid,
		"/v1/models?limit=%zz":                                        ballast.CodeInvalid,
		"/v1/models?scope=Acme":                                       ballast.CodeInvalid,
		"/v1/models?cursor=" + strings.Repeat("a", 5000):              ballast.CodeInvalid,
		"/v1/models?token=" + goodToken:                               ballast.CodeInvalid,
		"/v1/uploads/u1?wait=-1s":                                     ballast.CodeInvalid,
		"/v1/uploads/u1?wait=30":                                      ballast.CodeInvalid,
		"/v1/uploads/a%2Fb":                                           ballast.CodeNotFound,
		"/v1/uploads/" + strings.Repeat("a", 65):                      ballast.CodeNotFound,
		"/v1/models/production":                                       ballast.CodeInvalid,
		"/v1/models/a/versions/production":                            ballast.CodeInvalid,
		"/v1/models/a/versions/1?include=deleted":                     ballast.CodeInvalid,
		"/v1/models/a/versions/1?retired=true":                        ballast.CodeInvalid,
		"/v1/models/a/production?cursor=" + strings.Repeat("a", 5000): ballast.CodeInvalid,
		"/v1/models/a/versions/1/children?limit=0":                    ballast.CodeInvalid,
		"/v1/events?wait=soon":                                        ballast.CodeInvalid,
		"/v1/events?follow=true":                                      ballast.CodeInvalid,
		"/v1/audit?since=30d":                                         ballast.CodeInvalid,
		"/v1/audit?since=2026-11-22T08:00:00Z%22":                     ballast.CodeInvalid,
		"/v1/audit?model=a::b::c::1":                                  ballast.CodeInvalid,
		"/v1/audit?model=" + strings.Repeat("a", 1025):                ballast.CodeInvalid,
		"/v1/audit?who=" + strings.Repeat("a", 257):                   ballast.CodeInvalid,
		"/v1/audit?until=2026-11-22T08:00:00Z":                        ballast.CodeInvalid,
		"/v1/events?after=" + strings.Repeat("1", 5000):               ballast.CodeInvalid,
		"/v1/models/a/versions/1/tensors/":                            ballast.CodeInvalid,
		"/v1/models/a/versions/1/tensors/..%2fx":                      ballast.CodeInvalid,
		"/v1/models/a/versions/1/tensors/x?limit=0":                   ballast.CodeInvalid,
		"/v1/models/a/versions/1/tensors/x?urls=true":                 ballast.CodeInvalid,
	} {
		f.send("GET", path, "").problem(t, code)
	}
	if s.last != nil {
		t.Errorf("a refused path reached the service: %v", s.last)
	}
}

func TestUnknownMethods(t *testing.T) {
	f := newFace(t, &stub{})
	for method, path := range map[string]string{"PATCH": "/v1/whoami", "POST": "/v1/models", "BREW": "/v1/uploads/u1"} {
		a := f.send(method, path, "").wantStatus(t, http.StatusMethodNotAllowed)
		if a.Header.Get("Allow") == "" || !strings.Contains(string(a.body), `"code":"invalid"`) {
			t.Errorf("%s %s: Allow %q, %s", method, path, a.Header.Get("Allow"), a.body)
		}
	}
	f.send("PATCH", "/v1/whoami", "", "Authorization", "").problem(t, ballast.CodeUnauthenticated)
}

// TestHeadFollowsGet: every GET answers HEAD with the same headers and no body.
func TestHeadFollowsGet(t *testing.T) {
	f := newFace(t, &stub{})
	for _, path := range []string{
		"/v1/models", "/v1/models/llama/tiny", "/v1/models/tiny/versions/1", "/v1/models/tiny/versions/1/tensors/m.safetensors", "/v1/whoami", "/healthz",
	} {
		get, head := f.send("GET", path, ""), f.send("HEAD", path, "")
		if head.StatusCode != get.StatusCode || head.ContentLength != int64(len(get.body)) || len(head.body) != 0 || head.Header.Get("ETag") != get.Header.Get("ETag") {
			t.Errorf("HEAD %s: %d, %d bytes announced, %d sent, ETag %s; GET: %d, %d bytes, ETag %s", path,
				head.StatusCode, head.ContentLength, len(head.body), head.Header.Get("ETag"), get.StatusCode, len(get.body), get.Header.Get("ETag"))
		}
	}
}
