package testenv

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy stands before a server and hurts chosen requests. It passes everything else on unchanged, Host included, so
// requests signed for the proxy's address stay valid behind it.
type Proxy struct {
	URL string // http://127.0.0.1:port

	server *httptest.Server
	open   atomic.Int64 // requests that are being served

	mu    sync.Mutex
	rules []*proxyRule
}

type proxyRule struct {
	match func(*http.Request) bool
	left  int // times that the rule still applies; negative means for ever
	fault Fault
}

// Fault answers one request in place of the server, which is next.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// NewProxy starts a proxy before the server at target, until the test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	// A connection a request: a pooled one that the server closed would look like a fault that no rule asked for.
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &Proxy{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.open.Add(1)
		defer p.open.Add(-1)
		if fault := p.take(r); fault != nil {
			fault(w, r, forward)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	p.URL = p.server.URL
	return p
}

// CutEvery breaks all connections of the clients at once, again and again after each d for as long as some of them are in
// use, and most times at most. stop ends that and tells how often it was.
func (p *Proxy) CutEvery(d time.Duration, most int) (stop func() (cuts int)) {
	end, done, cuts := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(done)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for cuts < most {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if p.open.Load() > 0 {
				p.server.CloseClientConnections()
				cuts++
			}
		}
	}()
	return func() int {
		close(end)
		<-done
		return cuts
	}
}

// Add makes the next times requests that match meet the fault; times < 0 means all of them, until Clear. A nil match
// matches every request. The first rule that matches counts.
func (p *Proxy) Add(match func(*http.Request) bool, times int, fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &proxyRule{match, times, fault})
}

// Clear removes every rule.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

func (p *Proxy) take(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rule := range p.rules {
		if rule.left == 0 || rule.match != nil && !rule.match(r) {
			continue
		}
		rule.left--
		return rule.fault
	}
	return nil
}

// Drop breaks the connection before the server sees the request.
func Drop(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// DropAnswer lets the server do what was asked, then breaks the connection in place of the answer.
func DropAnswer(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// Answer answers with a status and no body; the server sees nothing.
func Answer(status int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(status) }
}

// Delay passes the request on after d.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// Hold passes the request on when release is closed; reached, unless nil, gets a value first.
func Hold(reached chan<- struct{}, release <-chan struct{}) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if reached != nil {
			reached <- struct{}{}
		}
		select {
		case <-release:
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// CutUpload passes on n bytes of the request's body, then breaks the connection to both sides.
func CutUpload(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r.Body, n), broken{}), r.Body}
		next.ServeHTTP(w, r)
	}
}

// broken is a body whose sender is gone.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// CutDownload passes on n bytes of the answer's body, then breaks the connection.
func CutDownload(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, left: n}, r)
	}
}

type cutter struct {
	http.ResponseWriter
	left int
}

// Write implements io.Writer.
func (c *cutter) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}
