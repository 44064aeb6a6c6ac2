package testenv_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
)

// behind starts a server that counts requests whose body arrived whole, and a proxy before it.
func behind(t *testing.T) (p *testenv.Proxy, served *atomic.Int32) {
	t.Helper()
	served = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		served.Add(1)
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	t.Cleanup(server.Close)
	return testenv.NewProxy(t, server.URL), served
}

// ask sends one request and returns the status and how much of the answer came.
func ask(t *testing.T, url string) (status, size int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(strings.Repeat("y", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, len(body), err
}

func TestProxyFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  testenv.Fault
		status int
		size   int
		fails  bool
		served int32
	}{
		{"drop", testenv.Drop, 0, 0, true, 0},
		{"drop answer", testenv.DropAnswer, 0, 0, true, 1},
		{"answer", testenv.Answer(http.StatusServiceUnavailable), http.StatusServiceUnavailable, 0, false, 0},
		{"delay", testenv.Delay(time.Millisecond), http.StatusOK, 1000, false, 1},
		{"cut upload", testenv.CutUpload(10), 0, 0, true, 0},
		{"cut download", testenv.CutDownload(10), http.StatusOK, 10, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, served := behind(t)
			p.Add(nil, 1, c.fault)
			status, size, err := ask(t, p.URL)
			if status != c.status || size != c.size || (err != nil) != c.fails || served.Load() != c.served {
				t.Errorf("status %d, %d bytes, error %v, served %d; want %d, %d, %v, %d",
					status, size, err, served.Load(), c.status, c.size, c.fails, c.served)
			}
			if status, size, err := ask(t, p.URL); status != http.StatusOK || size != 1000 || err != nil {
				t.Errorf("the next request must pass: status %d, %d bytes, %v", status, size, err)
			}
		})
	}
}

func TestProxyMatchesAndClears(t *testing.T) {
	p, served := behind(t)
	p.Add(func(r *http.Request) bool { return r.URL.Path == "/bad" }, -1, testenv.Drop)
	for range 3 {
		if _, _, err := ask(t, p.URL+"/bad"); err == nil {
			t.Fatal("a rule without end must apply to every match")
		}
	}
	if _, _, err := ask(t, p.URL+"/good"); err != nil {
		t.Fatalf("another path must pass: %v", err)
	}
	p.Clear()
	if _, _, err := ask(t, p.URL+"/bad"); err != nil {
		t.Fatalf("after Clear everything must pass: %v", err)
	}
	if n := served.Load(); n != 2 {
		t.Errorf("served %d, want 2", n)
	}
}

func TestProxyHoldsUntilReleased(t *testing.T) {
	p, served := behind(t)
	reached, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	p.Add(nil, 1, testenv.Hold(reached, release))
	go func() {
		_, _, err := ask(t, p.URL)
		done <- err
	}()
	<-reached
	if n := served.Load(); n != 0 {
		t.Errorf("served %d while held", n)
	}
	close(release)
	if err := <-done; err != nil || served.Load() != 1 {
		t.Errorf("after the release: served %d, %v", served.Load(), err)
	}
}

// A request signed for the proxy's address must be valid at the store behind it.
func TestSignedRequestsPassTheProxy(t *testing.T) {
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		via := s.Through(testenv.NewProxy(t, s.Endpoint))
		if err := put(t, via.Client(t, s.Service), s.Bucket, "global/blobs/a", "weights"); err != nil {
			t.Fatal(err)
		}
		if body, err := get(t, via.Client(t, s.Get), s.Bucket, "global/blobs/a"); err != nil || body != "weights" {
			t.Fatalf("got %q, %v", body, err)
		}
	})
}
