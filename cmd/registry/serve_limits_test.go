package main

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLimitFlags(t *testing.T) {
	for _, c := range []struct {
		flags   limitFlags
		refused bool
	}{
		{limitFlags{URLLife: time.Hour}, false},
		{limitFlags{URLLife: time.Second, RateLimit: 1000}, false},
		{limitFlags{URLLife: maxURLLife, RateLimit: 0.5, RateBurst: 1}, false},
		{limitFlags{URLLife: time.Hour, RateLimit: -1}, true},
		{limitFlags{URLLife: time.Hour, RateLimit: math.NaN()}, true},
		{limitFlags{URLLife: time.Hour, RateLimit: math.Inf(1)}, true},
		{limitFlags{URLLife: time.Hour, RateLimit: 1, RateBurst: -1}, true},
		{limitFlags{URLLife: time.Hour, RateBurst: 10}, true},
		{limitFlags{}, true},
		{limitFlags{URLLife: maxURLLife + 1}, true},
	} {
		if err := c.flags.check(); (err != nil) != c.refused {
			t.Errorf("%+v: %v", c.flags, err)
		}
	}
	c := parseServe(t)
	if c.Limits.RateLimit != defaultRateLimit || len(c.Limits.line()) != 0 || c.Limits.limits().Rate != defaultRateLimit {
		t.Errorf("%+v", c.Limits)
	}
	args := strings.Fields("--rate-limit 2.5 --rate-burst 7 --url-life 15m0s --cors-origin https://a.example --cors-origin http://localhost:3000")
	c = parseServe(t, args...)
	if got := c.Limits.line(); !slices.Equal(got, args) {
		t.Errorf("line %q, want %q", got, args)
	}
	for _, bad := range []string{"*", "null", "a.example", "https://a.example/"} {
		if _, err := kongOf(t, &serveCmd{}).Parse([]string{"--cors-origin", bad}); err == nil {
			t.Errorf("--cors-origin %s was let pass", bad)
		}
	}
}

// TestServeLimits: the flags reach the API, which limits what is asked and not those who watch it, and lets a page in.
func TestServeLimits(t *testing.T) {
	data := t.TempDir()
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0", "--rate-limit", "0.001", "--rate-burst", "5", "--cors-origin", "https://a.example"))
	defer s.stop(t)
	url, token := s.url(t), readToken(t, data)
	for n := range 6 {
		if status, _ := get(t, url+"/v1/whoami", token); status != map[bool]int{true: 200, false: 429}[n < 5] {
			t.Errorf("request %d: %d", n, status)
		}
	}
	for range 10 {
		for _, at := range []string{url + "/healthz", url + "/readyz", s.after(t, "metrics  ")} {
			if status, _ := get(t, at, ""); status != 200 {
				t.Errorf("%s: %d", at, status)
			}
		}
	}
	if _, body := get(t, s.after(t, "metrics  "), ""); !strings.Contains(body, `ballast_http_limited_total{limit="requests"} 1`) || !strings.Contains(body, "ballast_http_connections_refused_total 0") {
		t.Error("the metrics do not say so")
	}
	req, err := http.NewRequestWithContext(t.Context(), "OPTIONS", s.after(t, "export BALLAST_URL=")+"/v1/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", "https://a.example")
	req.Header.Set("Access-Control-Request-Method", "GET")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://a.example" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}
