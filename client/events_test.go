package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// TestFollowHearsEachChangeOnce, though answers with events are lost on the way.
func TestFollowHearsEachChangeOnce(t *testing.T) {
	eachWorld(t, func(w *world) {
		c := w.as("acme=maintainer")
		_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("one")}), "m:1", client.PushOptions{})
		w.must(err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tags := 0
		change := func() {
			tags++
			_, err := c.Patch(ctx, ref(t, "m:1"), ballast.PatchVersion{Metadata: map[string]json.RawMessage{"tags": fmt.Appendf(nil, `["%d"]`, tags)}}, 0)
			w.must(err)
		}
		from, err := c.EventsPage(ctx, client.ListEvents{After: client.EventsFromNow})
		w.must(err)
		change()
		var before []int64
		for e, err := range c.Follow(ctx, client.ListEvents{After: from.Cursor}) {
			w.must(err)
			if before = append(before, e.Before); len(before) == 4 {
				break
			}
			w.registry.Add(path(http.MethodGet, "/v1/events"), 2, testenv.DropAnswer)
			change()
		}
		if !slices.Equal(before, []int64{1, 2, 3, 4}) {
			t.Errorf("heard the revisions %v", before)
		}
	})
}

// feed is a registry that answers what the steps say, one after the other.
func feed(t *testing.T, steps ...func(*httptest.ResponseRecorder, *http.Request)) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{URL: "http://registry.test", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if len(steps) == 0 {
			return nil, errors.New("asked too often")
		}
		w := httptest.NewRecorder()
		step := steps[0]
		steps = steps[1:]
		step(w, r)
		return w.Result(), nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// says answers a page, to a question after a cursor.
func says(t *testing.T, after, cursor string, keys ...string) func(*httptest.ResponseRecorder, *http.Request) {
	return func(w *httptest.ResponseRecorder, r *http.Request) {
		if got := r.URL.Query().Get("after"); got != after {
			t.Errorf("asked after %q, want %q", got, after)
		}
		page := ballast.EventsPage{Cursor: cursor}
		for _, k := range keys {
			page.Events = append(page.Events, ballast.Event{Key: k, Scope: ballast.Global})
		}
		_ = json.NewEncoder(w).Encode(page)
	}
}

func refuses(e *ballast.Error) func(*httptest.ResponseRecorder, *http.Request) {
	return func(w *httptest.ResponseRecorder, _ *http.Request) { problem(w, e) }
}

func TestFollowWaitsForARegistryThatIsAway(t *testing.T) {
	away := refuses(&ballast.Error{Code: ballast.CodeUnavailable, Detail: "restarting"})
	gone := refuses(&ballast.Error{Code: ballast.CodeGone, Detail: "too old", Cursor: "2-9"})
	synctest.Test(t, func(t *testing.T) {
		steps := []func(*httptest.ResponseRecorder, *http.Request){says(t, "now", "1-1"), says(t, "1-1", "1-2", "a"), says(t, "1-2", "1-2")}
		for range 40 { // far more than one call is repeated
			steps = append(steps, away)
		}
		c := feed(t, append(steps, says(t, "1-2", "1-4", "b", "c"), gone)...)
		var keys []string
		var last error
		for e, err := range c.Follow(t.Context(), client.ListEvents{After: client.EventsFromNow}) {
			if last = err; err == nil {
				keys = append(keys, e.Key)
			}
		}
		if !slices.Equal(keys, []string{"a", "b", "c"}) {
			t.Errorf("heard %q", keys)
		}
		if e := ballast.AsError(last); e.Code != ballast.CodeGone || e.Cursor != "2-9" {
			t.Errorf("ended with %v", last)
		}
	})
	synctest.Test(t, func(t *testing.T) { // what never answered is not waited for
		c := feed(t, away, away, away, away, away, away)
		for _, err := range c.Follow(t.Context(), client.ListEvents{}) {
			if ballast.CodeOf(err) != ballast.CodeUnavailable || err.Error() != "unavailable: restarting" {
				t.Errorf("ended with %v", err)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) { // the caller's end is the follower's
		ctx, cancel := context.WithCancel(t.Context())
		c := feed(t, says(t, "", "1-1", "a"), func(w *httptest.ResponseRecorder, _ *http.Request) {
			cancel()
			problem(w, &ballast.Error{Code: ballast.CodeUnavailable})
		})
		var last error
		for _, err := range c.Follow(ctx, client.ListEvents{}) {
			last = err
		}
		if last == nil {
			t.Error("a follower ended without saying why")
		}
	})
}
