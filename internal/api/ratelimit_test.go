package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/engine"
)

// many is a stub that knows a principal for each token which begins with "good-".
type many struct {
	stub
	asked   atomic.Int32  // how often a token was looked at
	revoked atomic.Bool   // no token is good any more
	checked chan struct{} // hears of uploads that are looked at before their bodies are read
}

func (m *many) CheckUpload(context.Context, engine.Principal, string) error {
	select {
	case m.checked <- struct{}{}:
	default:
	}
	return nil
}

func (m *many) Authenticate(_ context.Context, token ballast.Secret) (engine.Principal, error) {
	m.asked.Add(1)
	name, ok := strings.CutPrefix(token.Reveal(), "good-")
	if !ok || m.revoked.Load() {
		return engine.Principal{}, ballast.Errorf(ballast.CodeUnauthenticated, "the token is not known")
	}
	scope, _, _ := strings.Cut(name, "-")
	return engine.Principal{ID: name, Name: name, Grants: []ballast.Grant{{Scope: must(ballast.ParseScope(scope)), Role: ballast.Writer}}}, nil
}

// files with a signed request each.
func (m *many) Files(_ context.Context, _ engine.Principal, _ ballast.Ref, f engine.ListFiles) (ballast.FilesPage, error) {
	page := ballast.FilesPage{Key: sampleVersion.Key, Digest: sampleVersion.Digest}
	for range f.Limit {
		page.Files = append(page.Files, m.sampleFile(f.URLs))
	}
	return page, nil
}

// limited is a face with limits and a guest. Its clock stands until it is moved.
type limited struct {
	*face
	service *many
	now     atomic.Int64
}

func newLimited(t *testing.T, l Limits) *limited {
	t.Helper()
	f := &limited{face: &face{t: t, token: "good-acme", log: &lockedBuffer{}, registry: prometheus.NewRegistry()}, service: &many{}}
	clock := func() time.Time { return sampleTime.Add(time.Duration(f.now.Load())) }
	native := New(f.service, Options{Registerer: f.registry, Clock: clock, Guest: &guest{}, Limits: l})
	described := apitest.Validate(t, native)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			described.ServeHTTP(w, r)
			return
		}
		native.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	f.url = srv.URL
	return f
}

// after moves the clock.
func (f *limited) after(d time.Duration) { f.now.Add(int64(d)) }

// as is the face with another token; an empty one sends none.
func (f *limited) as(token string) *face {
	other := *f.face
	other.token = token
	return &other
}

func (f *limited) wantLimited(t *testing.T, of string, want float64) {
	t.Helper()
	n := 0.0
	all, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == "ballast_http_limited_total" && m.GetLabel()[0].GetValue() == of {
				n = m.GetCounter().GetValue()
			}
		}
	}
	if n != want {
		t.Errorf("%v requests were over the limit of %s, want %v", n, of, want)
	}
}

// TestRateLimit: whatever face it asks, a principal gets its burst and then its rate, and nobody else is worse off.
func TestRateLimit(t *testing.T) {
	for name, c := range map[string]struct {
		method, path, body string
		good               int
		cost               int
	}{
		"the native face":              {"GET", "/v1/whoami", "", 200, 1},
		"HEAD":                         {"HEAD", "/v1/whoami", "", 200, 1},
		"the guest's":                  {"GET", "/acme/tiny/resolve/main/x", "", http.StatusTeapot, 1},
		"a path that is not there":     {"GET", "/v1/nothing", "", 404, 1},
		"a change":                     {"PUT", "/v1/models/a/aliases/champion", `{"version":"1"}`, 200, 10},
		"a post of the guest's":        {"POST", "/api/models/a/paths-info/main", "", http.StatusTeapot, 10},
		"a method that is not known":   {"BREW", "/v1/whoami", "", 405, 10},
		"what is refused for its form": {"GET", "/v1/models?limit=0", "", 400, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := newLimited(t, Limits{Rate: 20, Burst: 40})
			for range 40 / c.cost {
				f.send(c.method, c.path, c.body).wantStatus(t, c.good)
			}
			over := f.send(c.method, c.path, c.body).wantStatus(t, http.StatusTooManyRequests)
			if strings.HasPrefix(c.path, "/v1/") && c.method != "HEAD" {
				if e := over.problem(t, ballast.CodeRateLimited); e.RetryAfter != 1 || over.Header.Get("Retry-After") != "1" || !strings.Contains(e.Detail, "--rate-limit") {
					t.Errorf("%+v", e)
				}
			}
			f.as("good-other").send(c.method, c.path, c.body).wantStatus(t, c.good)
			for _, path := range []string{"/healthz", "/readyz"} {
				f.send("GET", path, "").wantStatus(t, 200)
			}
			f.after(time.Second)
			for range 20 / c.cost {
				f.send(c.method, c.path, c.body).wantStatus(t, c.good)
			}
			f.send(c.method, c.path, c.body).wantStatus(t, http.StatusTooManyRequests)
			f.wantLimited(t, limitRequests, 2)
		})
	}
	t.Run("none", func(t *testing.T) {
		f := newLimited(t, Limits{})
		for range 200 {
			f.send("GET", "/v1/whoami", "").wantStatus(t, 200)
		}
	})
}

// TestSignedRequestsAreCounted: an answer with many is given, and is paid for by what follows.
func TestSignedRequestsAreCounted(t *testing.T) {
	f := newLimited(t, Limits{Rate: 10, Burst: 30})
	const page = "/v1/models/a/versions/1/files?urls="
	f.send("GET", page+"false&limit=1000", "").wantStatus(t, 200)
	f.send("GET", page+"true&limit=91", "").wantStatus(t, 200) // 1, and 10 for 91 signed requests
	for range 30 - 1 - 11 {
		f.send("GET", "/v1/whoami", "").wantStatus(t, 200)
	}
	f.send("GET", "/v1/whoami", "").wantStatus(t, http.StatusTooManyRequests)
	f.after(100 * time.Millisecond)
	f.send("GET", page+"true&limit=1000", "").wantStatus(t, 200)
	if got := f.send("GET", "/v1/whoami", "").wantStatus(t, http.StatusTooManyRequests).Header.Get("Retry-After"); got != "4" { // 30 and 1, at 10 a second
		t.Errorf("Retry-After %s", got)
	}
	f.after(3800 * time.Millisecond)
	f.send("POST", "/v1/uploads/u1/blobs", bodies["POST /v1/uploads/{id}/blobs"]).problem(t, ballast.CodeRateLimited) // costs 10; 8 are there
	f.after(300 * time.Millisecond)
	f.send("POST", "/v1/uploads/u1/blobs", bodies["POST /v1/uploads/{id}/blobs"]).wantStatus(t, 200)
}

// TestStrangersAreSlowedDown: who guesses tokens is no longer heard after a hundred, right or wrong, and whoever came from the
// same address before with a token that was good still is.
func TestStrangersAreSlowedDown(t *testing.T) {
	f := newLimited(t, Limits{Rate: 1e6})
	guess := func(n int) answer { return f.as("bad-"+strconv.Itoa(n)).send("GET", "/v1/whoami", "") }
	for n := range strangersBurst / 2 {
		guess(n).wantStatus(t, 401)
	}
	f.send("GET", "/v1/whoami", "").wantStatus(t, 200)
	for range strangersBurst / 2 {
		f.as("").send("GET", "/acme/tiny/resolve/main/x", "", "Authorization", "").wantStatus(t, 401)
	}
	asked := f.service.asked.Load()
	over := guess(1)
	if e := over.problem(t, ballast.CodeRateLimited); e.RetryAfter != 1 || over.Header.Get("Retry-After") != "1" {
		t.Errorf("%+v", e)
	}
	f.as("good-acme-2").send("GET", "/v1/whoami", "").problem(t, ballast.CodeRateLimited) // guessed right, and learns nothing
	f.as("").send("GET", "/x", "", "Authorization", "").wantStatus(t, 429)
	f.as("").send("GET", "/openapi.yaml", "", "Authorization", "").wantStatus(t, 429)
	if now := f.service.asked.Load(); now != asked {
		t.Errorf("%d tokens were looked at", now-asked)
	}
	f.send("GET", "/v1/whoami", "").wantStatus(t, 200)
	f.send("GET", "/acme/tiny/resolve/main/x", "").wantStatus(t, http.StatusTeapot)
	f.as("").send("GET", "/healthz", "", "Authorization", "").wantStatus(t, 200)
	f.wantLimited(t, limitStrangers, 4)

	f.after(3 * time.Second / 2 / strangersRate)
	f.as("good-acme-2").send("GET", "/v1/whoami", "").wantStatus(t, 200)
	guess(2).wantStatus(t, 401)
	guess(3).wantStatus(t, 429)

	f.send("GET", "/v1/whoami", "").wantStatus(t, 200)
	f.service.revoked.Store(true)
	f.send("GET", "/v1/whoami", "").wantStatus(t, 401)
	f.send("GET", "/v1/whoami", "").wantStatus(t, 429)
}

// TestDebtsEnd: however many guess at once, an address is heard again after two bursts' time.
func TestDebtsEnd(t *testing.T) {
	at := sampleTime.Time
	b := newBuckets[payer](10, 100, func() time.Time { return at })
	for range 10_000 {
		b.charge(payer{id: "a"}, 1)
	}
	if wait := b.lacking(payer{id: "a"}, 1); wait < 10*time.Second || wait > 11*time.Second {
		t.Errorf("wait %s", wait)
	}
}

// TestNobodyGetsMoreThanABurst: of many at once as many pass as there are.
func TestNobodyGetsMoreThanABurst(t *testing.T) {
	b := newBuckets[payer](1, 50, func() time.Time { return sampleTime.Time })
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for range 10 {
				if b.take(payer{id: "a"}, 1) == 0 {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if passed.Load() != 50 {
		t.Errorf("%d passed", passed.Load())
	}
}

func TestPayersAreBounded(t *testing.T) {
	b := newBuckets[payer](1, 1, time.Now)
	for n := range maxPayers + 1000 {
		b.take(payer{id: strconv.Itoa(n)}, 1)
	}
	if b.held.Cost() > maxPayers {
		t.Errorf("%d are remembered", b.held.Cost())
	}
	if !b.has(payer{id: strconv.Itoa(maxPayers + 999)}) {
		t.Error("the newest is forgotten")
	}
}

func TestNetworks(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "192.0.2.8:1": "192.0.2.8/32",
		"[2001:db8::1]:1": "2001:db8::/64", "[2001:db8::ffff:ffff:ffff:ffff]:9": "2001:db8::/64", "[2001:db8:0:1::1]:1": "2001:db8:0:1::/64",
		"[fe80::1%eth0]:1": "fe80::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		if got := networkOf(remote); got.String() != want {
			t.Errorf("%s is of %s, want %s", remote, got, want)
		}
	}
	if networkOf("") != (netip.Prefix{}) {
		t.Error("what is no address has a network")
	}
}

// TestAnswersAreHeldForSoMany only: over it the answer is what there is. Others are still held.
func TestAnswersAreHeldForSoMany(t *testing.T) {
	for _, path := range []string{"/v1/events?wait=30s", "/v1/uploads/u1?wait=30s", "/v1/imports/u1?wait=30s"} {
		t.Run(path, func(t *testing.T) {
			h := &holding{entered: make(chan time.Duration), release: make(chan struct{})}
			registry := prometheus.NewRegistry()
			srv := httptest.NewServer(New(h, Options{Registerer: registry}))
			t.Cleanup(srv.Close)
			f := &face{t: t, token: "good-acme", url: srv.URL}
			var waiting sync.WaitGroup
			wait := func(token string) {
				waiting.Go(func() {
					other := *f
					other.token = token
					if a := other.send("GET", path, ""); a.StatusCode != 200 {
						t.Errorf("%d %s", a.StatusCode, a.body)
					}
				})
			}
			for range maxHeldOfOne {
				wait("good-acme")
				if got := <-h.entered; got != 30*time.Second {
					t.Fatalf("held for %s", got)
				}
			}
			wait("good-acme")
			if got := <-h.entered; got != 0 {
				t.Errorf("one too many is held for %s", got)
			}
			wait("good-acme-2")
			if got := <-h.entered; got != 30*time.Second {
				t.Errorf("somebody else is held for %s", got)
			}
			close(h.release)
			waiting.Wait()
			wait("good-acme")
			if got := <-h.entered; got != 30*time.Second {
				t.Errorf("when all are gone it is held for %s", got)
			}
			waiting.Wait()
			if n, err := testutil.GatherAndCount(registry, "ballast_http_limited_total"); err != nil || n != 1 {
				t.Errorf("%d series of what was over a limit, %v", n, err)
			}
		})
	}
	var h held
	var leaves []func()
	for n := range maxHeld {
		leave, ok := h.enter(payer{id: strconv.Itoa(n)})
		if !ok {
			t.Fatalf("number %d may not wait", n)
		}
		leaves = append(leaves, leave)
	}
	if _, ok := h.enter(payer{id: "x"}); ok {
		t.Error("one more than there may be in all waits")
	}
	for _, leave := range leaves {
		leave()
	}
	if h.all != 0 || len(h.of) != 0 {
		t.Errorf("%d, %v are left", h.all, h.of)
	}
}

// holding tells of each wait and holds those that are longer than nothing until it is released.
type holding struct {
	many
	entered chan time.Duration
	release chan struct{}
}

func (h *holding) hold(wait time.Duration) {
	h.entered <- wait
	if wait > 0 {
		<-h.release
	}
}

func (h *holding) Events(ctx context.Context, p engine.Principal, after string, limit int, wait time.Duration) (ballast.EventsPage, error) {
	h.hold(wait)
	return ballast.EventsPage{Cursor: "1-1"}, nil
}

func (h *holding) Upload(_ context.Context, _ engine.Principal, _ string, wait time.Duration) (ballast.Upload, error) {
	h.hold(wait)
	return h.upload(), nil
}

func (h *holding) Import(_ context.Context, _ engine.Principal, _ string, wait time.Duration) (ballast.Import, error) {
	h.hold(wait)
	return ballast.Import{ID: "u1"}, nil
}

// TestLongAnswersInTurns: a scope's long answers are made eight at a time, and another scope's do not wait for them.
func TestLongAnswersInTurns(t *testing.T) {
	s := &slowLists{entered: make(chan string), release: make(chan struct{})}
	srv := httptest.NewServer(New(s, Options{}))
	t.Cleanup(srv.Close)
	var asking sync.WaitGroup
	ask := func(token string) {
		asking.Go(func() {
			f := &face{t: t, token: token, url: srv.URL}
			if a := f.send("GET", "/v1/models", ""); a.StatusCode != 200 {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	for n := range 3 * maxAnswersOfScope {
		ask(fmt.Sprintf("good-acme-%d", n%2))
	}
	for range maxAnswersOfScope {
		<-s.entered
	}
	ask("good-other")
	if got := <-s.entered; got != "other" {
		t.Errorf("%s is served while its scope has %d answers in the making", got, maxAnswersOfScope)
	}
	close(s.release)
	for range 2 * maxAnswersOfScope {
		<-s.entered
	}
	asking.Wait()
}

type slowLists struct {
	many
	entered chan string
	release chan struct{}
}

func (s *slowLists) Models(_ context.Context, p engine.Principal, _ engine.ListModels) (ballast.ModelsPage, error) {
	s.entered <- p.Home().String()
	<-s.release
	return ballast.ModelsPage{}, nil
}

// TestEveryLongListIsInTurns holds the table of routes to the lists that can be long.
func TestEveryLongListIsInTurns(t *testing.T) {
	for _, path := range []string{"/v1/models", "/v1/models/m/versions", "/v1/versions", "/v1/models/m/versions/1/files", "/v1/models/m/versions/1/tensors/a.gguf", "/v1/models/m/versions/1/children", "/v1/models/m/aliases"} {
		s := New(&many{}, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
		r.Header.Set("Authorization", "Bearer good-acme")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r) // whoever is gone gets no turn
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s takes no turn: %d", path, w.Code)
		}
	}
}

// TestLongBodiesInTurns: those who send long bodies and do not go on sending keep only their own scope waiting.
func TestLongBodiesInTurns(t *testing.T) {
	m := &many{checked: make(chan struct{}, 100)}
	srv := httptest.NewServer(New(m, Options{}))
	t.Cleanup(srv.Close)
	const path = "/v1/uploads/u1/blobs"
	stalled := maxBodiesOfScope / ballast.MaxBodyBytes
	for range stalled {
		body, stop := newStalled()
		t.Cleanup(stop)
		req := must(http.NewRequestWithContext(t.Context(), "POST", srv.URL+path, body))
		req.ContentLength = ballast.MaxBodyBytes
		req.Header.Set("Authorization", "Bearer good-acme")
		req.Header.Set("Content-Type", "application/json")
		go func() {
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
		<-m.checked
	}
	answered := make(chan answer, 1)
	go func() {
		f := &face{t: t, token: "good-other", url: srv.URL}
		answered <- f.send("POST", path, bodies["POST /v1/uploads/{id}/blobs"])
	}()
	select {
	case a := <-answered:
		a.wantStatus(t, 200)
	case <-time.After(time.Minute):
		t.Error("another scope's body waits for them")
	}
}

// stalledBody has its first byte and no other.
type stalledBody struct {
	sent bool
	done chan struct{}
}

func newStalled() (*stalledBody, func()) {
	b := &stalledBody{done: make(chan struct{})}
	return b, sync.OnceFunc(func() { close(b.done) })
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if !b.sent {
		b.sent = true
		p[0] = '{'
		return 1, nil
	}
	<-b.done
	return 0, context.Canceled
}
