package oidc

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/oidc/oidctest"
)

// timed is a verifier whose clock a test sets, so that tokens end a day ahead.
func timed(t *testing.T, i *oidctest.Issuer) (*Verifier, *clock, func(key oidctest.Key, subject string) string) {
	t.Helper()
	c := newClock()
	tokens := 0
	sign := func(key oidctest.Key, subject string) string {
		tokens++ // so that none is remembered
		return key.Sign(key.Header(), raw(i.Claims(subject, map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix(), "jti": tokens})))
	}
	return open(t, i.URL, robots, Options{Clock: c.now}), c, sign
}

func codeOf(t *testing.T, v *Verifier, token string) ballast.Code {
	t.Helper()
	_, err := v.Authenticate(t.Context(), token)
	return ballast.CodeOf(err)
}

// TestRotation: a key that comes is taken at once, one that goes is refused once the keys are fetched anew.
func TestRotation(t *testing.T) {
	i := oidctest.New(t)
	v, clock, sign := timed(t, i)
	first, second := i.Key(), oidctest.NewKey("two")
	if got := codeOf(t, v, sign(first, "robot")); got != "" {
		t.Fatalf("the first key: %q", got)
	}
	clock.add(keysPause)
	i.Publish(first, second)
	if got := codeOf(t, v, sign(second, "robot")); got != "" {
		t.Errorf("the second, which came: %q", got)
	}
	if got := codeOf(t, v, sign(first, "robot")); got != "" {
		t.Errorf("the first, which stays: %q", got)
	}
	i.Publish(second)
	clock.add(keysFresh)
	old := sign(first, "robot")
	if got := codeOf(t, v, old); got != "" {
		t.Errorf("keys that are to be fetched anew are in use meanwhile: %q", got)
	}
	v.active.Wait()
	if got := codeOf(t, v, sign(first, "robot")); got != ballast.CodeUnauthenticated {
		t.Errorf("the first, which is gone: %q", got)
	}
	if got := codeOf(t, v, old); got != "" {
		t.Errorf("what was verified is remembered: %q", got)
	}
	clock.add(knownFor)
	if got := codeOf(t, v, old); got != ballast.CodeUnauthenticated {
		t.Errorf("what was verified is remembered for good: %q", got)
	}
	third := oidctest.NewKey("three")
	i.Publish(third)
	clock.add(keysOverdue)
	if got := codeOf(t, v, sign(second, "robot")); got != ballast.CodeUnauthenticated {
		t.Errorf("the second, which went while nobody asked: %q", got)
	}
}

// TestUnknownKeysAskOnce: who sends a thousand tokens with keys that nobody has makes the issuer be asked once in a while, and
// nobody else wait.
func TestUnknownKeysAskOnce(t *testing.T) {
	i := oidctest.New(t)
	v, clock, sign := timed(t, i)
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != "" {
		t.Fatal(got)
	}
	flood := func() {
		var all sync.WaitGroup
		for n := range 8 {
			key := i.Key()
			for m := range 125 {
				key.ID = fmt.Sprint(n, "-", m)
				token := sign(key, "robot")
				all.Go(func() {
					if got := codeOf(t, v, token); got != ballast.CodeUnauthenticated {
						t.Errorf("an unknown key: %q", got)
					}
				})
			}
		}
		all.Wait()
	}
	flood()
	if asked := i.Asked(oidctest.KeysPath); asked != 1 {
		t.Errorf("asked %d times at once", asked)
	}
	clock.add(keysPause)
	flood()
	if asked := i.Asked(oidctest.KeysPath); asked != 2 {
		t.Errorf("asked %d times after a pause", asked)
	}
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != "" {
		t.Errorf("a good one: %q", got)
	}
}

// TestUnreachable: an issuer that is away is no reason not to start, its tokens are unavailable and not refused, and it is
// asked again. Keys from before are good for an hour.
func TestUnreachable(t *testing.T) {
	i := oidctest.New(t)
	i.Down()
	v, clock, sign := timed(t, i)
	_, err := v.Authenticate(t.Context(), sign(i.Key(), "robot"))
	if e := ballast.AsError(err); e.Code != ballast.CodeUnavailable || e.RetryAfter < 1 || !strings.Contains(e.Detail, i.URL) {
		t.Errorf("%+v", e)
	}
	asked := i.Asked(oidctest.DiscoveryPath)
	for range 100 {
		if got := codeOf(t, v, sign(i.Key(), "robot")); got != ballast.CodeUnavailable {
			t.Errorf("again: %q", got)
		}
	}
	if more := i.Asked(oidctest.DiscoveryPath) - asked; more != 0 {
		t.Errorf("asked %d times more", more)
	}
	i.Up()
	clock.add(failedPause)
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != "" {
		t.Errorf("once it is there: %q", got)
	}
	i.Down()
	clock.add(keysTrusted - time.Second)
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != "" {
		t.Errorf("by the keys from before: %q", got)
	}
	v.active.Wait()
	strange := oidctest.NewKey("strange")
	if got := codeOf(t, v, sign(strange, "robot")); got != ballast.CodeUnavailable {
		t.Errorf("a key that may be new: %q", got)
	}
	clock.add(time.Minute)
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != ballast.CodeUnavailable {
		t.Errorf("by keys that are too old: %q", got)
	}
}

// TestAwayKeepsNobodyWaiting: while an issuer that was away is asked again, one caller waits for it and no others.
func TestAwayKeepsNobodyWaiting(t *testing.T) {
	i := oidctest.New(t)
	i.Down()
	v, clock, sign := timed(t, i)
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != ballast.CodeUnavailable {
		t.Fatal(got)
	}
	asked, answer := make(chan struct{}), make(chan struct{})
	i.Doctor(func(http.ResponseWriter, *http.Request) bool {
		select {
		case asked <- struct{}{}:
			<-answer
		case <-answer:
		}
		return false
	})
	clock.add(failedPause)
	token, waits := sign(i.Key(), "robot"), make(chan error)
	go func() {
		_, err := v.Authenticate(context.WithoutCancel(t.Context()), token)
		waits <- err
	}()
	<-asked
	if got := codeOf(t, v, sign(i.Key(), "robot")); got != ballast.CodeUnavailable {
		t.Errorf("beside it: %q", got)
	}
	close(answer)
	if err := <-waits; err != nil {
		t.Errorf("who waits: %v", err)
	}
}

// TestAnswersThatAreNone: whatever an issuer answers that is not its keys makes its tokens unavailable.
func TestAnswersThatAreNone(t *testing.T) {
	const discovery, keys = oidctest.DiscoveryPath, oidctest.KeysPath
	for name, c := range map[string]struct{ path, body string }{
		"no JSON":                      {discovery, "<html>"},
		"another issuer":               {discovery, `{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}`},
		"no place of keys":             {discovery, `{"issuer":"URL"}`},
		"keys in the clear":            {discovery, `{"issuer":"URL","jwks_uri":"http://issuer.example/keys"}`},
		"keys in a file":               {discovery, `{"issuer":"URL","jwks_uri":"file:///etc/passwd"}`},
		"keys that are no JSON":        {keys, "<html>"},
		"no keys":                      {keys, `{"keys":[]}`},
		"no usable key":                {keys, `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"one"}]}`},
		"an answer without an end":     {keys, `{"keys":[]` + strings.Repeat(" ", maxAnswer) + `}`},
		"a discovery without an end":   {discovery, `{"issuer":"URL"` + strings.Repeat(" ", maxAnswer) + `}`},
		"more keys than anybody has":   {keys, `{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`},
		"a redirect to somewhere else": {keys, "redirect"},
	} {
		t.Run(name, func(t *testing.T) {
			i := oidctest.New(t)
			i.Doctor(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != c.path {
					return false
				}
				if c.body == "redirect" {
					http.Redirect(w, r, i.URL+"/elsewhere", http.StatusFound)
					return true
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(strings.ReplaceAll(c.body, "URL", i.URL)))
				return true
			})
			var log bytes.Buffer
			v := open(t, i.URL, robots, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if got := codeOf(t, v, i.Token("robot", nil)); got != ballast.CodeUnavailable {
				t.Errorf("%q", got)
			}
			v.active.Wait()
			if lines := strings.Count(log.String(), "\n"); lines != 1 || log.Len() > 1500 {
				t.Errorf("the log has %d lines, %d bytes: %.2000s", lines, log.Len(), log.String())
			}
		})
	}
}

// TestSlow: who waits for a slow issuer may go, the fetch goes on for the others, and ends with the verifier.
func TestSlow(t *testing.T) {
	i := oidctest.New(t)
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	i.Doctor(func(_ http.ResponseWriter, r *http.Request) bool {
		asked <- struct{}{}
		select {
		case <-answer:
		case <-r.Context().Done():
		}
		return false
	})
	v, _, sign := timed(t, i)
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Authenticate(ctx, sign(i.Key(), "robot")); ballast.CodeOf(err) != ballast.CodeUnavailable {
		t.Errorf("who goes: %v", err)
	}
	token := sign(i.Key(), "robot")
	waits := make(chan error)
	go func() {
		_, err := v.Authenticate(context.WithoutCancel(ctx), token)
		waits <- err
	}()
	close(answer)
	if err := <-waits; err != nil {
		t.Errorf("who waits: %v", err)
	}

	held := oidctest.New(t)
	held.Doctor(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	closed := open(t, held.URL, robots, Options{})
	_ = closed.Close() // returns, though the issuer does not
}

// TestRemembered: a token that was verified costs nothing more while it is good, and no more than so many are remembered.
func TestRemembered(t *testing.T) {
	i := oidctest.New(t)
	clock := newClock()
	v := open(t, i.URL, robots, Options{Clock: clock.now})
	end := time.Now().Add(time.Minute).Unix()
	token := i.Token("robot", map[string]any{"exp": end})
	if h, err := v.Authenticate(t.Context(), token); err != nil || h.Expires.Unix() != end {
		t.Fatalf("it ends at %s, %v", h.Expires, err)
	}
	sound := v.form
	v.form = func(string) (header, claims, error) { panic("verified again") }
	if got := codeOf(t, v, token); got != "" {
		t.Errorf("again: %q", got)
	}
	v.form = sound
	clock.add(time.Minute)
	if got := codeOf(t, v, token); got != ballast.CodeUnauthenticated {
		t.Errorf("once it ended: %q", got)
	}
	if got := codeOf(t, v, i.Token("nobody", nil)); got != ballast.CodeUnauthenticated || v.known.Cost() != 1 {
		t.Errorf("what is refused is remembered: %q, %d", got, v.known.Cost())
	}
}

func BenchmarkRemembered(b *testing.B) {
	i := oidctest.New(b)
	issuers := must(Parse([]byte(robots), &Issuer{URL: i.URL, Audiences: []string{oidctest.Audience}}))
	v := must(New(issuers, Options{}))
	defer v.Close()
	token := i.Token("robot", map[string]any{"groups": strings.Repeat("g", 1000)})
	for b.Loop() {
		if _, err := v.Authenticate(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
