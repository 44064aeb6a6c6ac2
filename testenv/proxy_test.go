package testenv_test

import (
	"context"
	"errors"
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
		{"slow down", testenv.SlowDown, http.StatusServiceUnavailable, 86, false, 0},
		{"flip", testenv.FlipDownload(999), http.StatusOK, 1000, false, 1},
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

// read sends a GET and returns what comes until patience ends.
func read(t *testing.T, url string, patience time.Duration) (body string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func TestProxyHurtsBodies(t *testing.T) {
	p, _ := behind(t)
	whole := strings.Repeat("x", 1000)
	for at, want := range map[int64]string{0: "y" + whole[1:], 7: whole[:7] + "y" + whole[8:], 1000: whole} {
		p.Add(nil, 1, testenv.FlipDownload(at))
		if got, err := read(t, p.URL, time.Minute); got != want || err != nil {
			t.Errorf("flipped at %d: %q, %v", at, got, err)
		}
	}
	p.Add(nil, 1, testenv.StallDownload(10))
	if got, err := read(t, p.URL, 300*time.Millisecond); got != whole[:10] || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stalled: %q, %v", got, err)
	}
}

// A meter counts what clients get, and its faults are counted as far as they let something pass.
func TestMeterCountsWhatPasses(t *testing.T) {
	p, _ := behind(t)
	m := &testenv.Meter{Fault: func(number int64, _ *http.Request) testenv.Fault {
		if number == 2 {
			return testenv.CutDownload(10)
		}
		return nil
	}}
	p.Add(nil, -1, m.Count)
	for range 3 {
		_, _ = read(t, p.URL, time.Minute)
	}
	if m.Requests.Load() != 3 || m.Passed.Load() != 2010 {
		t.Errorf("%d requests, %d bytes", m.Requests.Load(), m.Passed.Load())
	}
	r := &http.Request{Header: http.Header{"Range": {"bytes=5-9"}}}
	if from, to := testenv.RangeOf(r); from != 5 || to != 9 {
		t.Errorf("range %d to %d", from, to)
	}
	if from, to := testenv.RangeOf(&http.Request{}); from != 0 || to != -1 {
		t.Errorf("no range: %d to %d", from, to)
	}
}

// A slow way takes its time for what is sent and for what is answered, and is counted as what it lets pass.
func TestSlow(t *testing.T) {
	p, _ := behind(t)
	m := &testenv.Meter{Fault: func(int64, *http.Request) testenv.Fault { return testenv.Slow(4000) }}
	p.Add(nil, -1, m.Count)
	began := time.Now()
	if status, size, err := ask(t, p.URL); status != http.StatusOK || size != 1000 || err != nil || m.Passed.Load() != 1000 {
		t.Errorf("status %d, %d bytes, %v; %d were counted", status, size, err, m.Passed.Load())
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("1000 bytes each way took %s at 4000 a second", took)
	}
}

// Connections in use are cut, as often as was said, and not those that nobody has.
func TestCutEvery(t *testing.T) {
	p, _ := behind(t)
	stop := p.CutEvery(10*time.Millisecond, 2)
	time.Sleep(50 * time.Millisecond)
	p.Add(nil, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body) // a server that does not read does not see that the client is gone
		testenv.Hold(nil, nil)(w, r, next)
	})
	for range 2 {
		if _, _, err := ask(t, p.URL); err == nil {
			t.Error("a request that was held came to an end")
		}
	}
	p.Clear()
	if _, _, err := ask(t, p.URL); err != nil {
		t.Errorf("after the cuts: %v", err)
	}
	if cuts := stop(); cuts != 2 {
		t.Errorf("%d cuts", cuts)
	}
}

func TestPutOff(t *testing.T) {
	var o testenv.PutOff
	r := httptest.NewRequest(http.MethodGet, "/a", http.NoBody)
	for n := range int64(100) {
		if fault := o.Fault(n, r); (fault != nil) != (n == 50) {
			t.Errorf("request %d: %v", n, fault != nil)
		}
	}
	if times, early := o.Times(); times != 1 || len(early) != 49 { // all after the one that was to wait
		t.Errorf("put off %d times, %d came too early", times, len(early))
	}
}
