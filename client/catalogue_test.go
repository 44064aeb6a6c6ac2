package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// TestTheCatalogue takes two versions through their life on every store.
func TestTheCatalogue(t *testing.T) {
	eachWorld(t, func(w *world) {
		ctx := t.Context()
		c := w.as("acme=maintainer")
		first, second := ref(t, "m:1"), ref(t, "m:2")
		for _, target := range []string{"m:1", "m:2"} {
			_, err := w.push(c, folder(t, map[string][]byte{"a": []byte(target)}), target, client.PushOptions{})
			w.must(err)
		}
		_, err := w.push(c, folder(t, map[string][]byte{"a": []byte("child")}), "child:1", client.PushOptions{Metadata: ballast.Metadata{BaseModel: "m:1"}})
		w.must(err)

		v, err := c.Patch(ctx, first, ballast.PatchVersion{Stage: ballast.StageValidated, Metadata: map[string]json.RawMessage{"task": []byte(`"ner"`)}}, 1)
		w.must(err)
		if v.Revision != 2 || v.Stage != ballast.StageValidated || v.Metadata.Task != "ner" {
			t.Errorf("patched %+v", v)
		}
		_, err = c.Patch(ctx, first, ballast.PatchVersion{Stage: ballast.StageStaged}, 1)
		wantCode(t, err, ballast.CodePrecondition)

		for _, r := range []ballast.Ref{first, second} {
			_, err = c.Promote(ctx, r, "it is better", 0)
			w.must(err)
		}
		wantVersion(t, c, "m@production", "2")
		_, err = c.Rollback(ctx, ref(t, "m"), "it is not")
		w.must(err)
		wantVersion(t, c, "m@production", "1")

		_, err = c.Delete(ctx, first, client.DeleteOptions{})
		wantCode(t, err, ballast.CodeReferenced)
		if got, want := ballast.AsError(err).References, []ballast.Reference{{Kind: ballast.ReferenceProduction}, {Kind: ballast.ReferenceChild, Name: "acme::child::1"}}; !slices.Equal(got, want) {
			t.Errorf("references %+v, want %+v", got, want)
		}
		for child, err := range c.Children(ctx, first) {
			if err != nil || child.Key != "acme::child::1" {
				t.Errorf("child %+v, %v", child, err)
			}
		}

		v, recorded, err := c.Retire(ctx, ref(t, "m@production"), 0)
		w.must(err)
		if !recorded || v.Key != "acme::m::1" || v.Status != ballast.StatusRetired || v.RetiredBy != "test@acme" || v.RetiredAt.IsZero() {
			t.Errorf("retired %+v, recorded %t", v, recorded)
		}
		for _, gone := range []string{"m:1", "child:1"} {
			_, err = c.Version(ctx, ref(t, gone))
			wantCode(t, err, ballast.CodeRetired)
			_, err = w.pull(c, gone, t.TempDir(), client.PullOptions{})
			wantCode(t, err, ballast.CodeRetired)
			_, err = c.Provenance(ctx, ref(t, gone))
			w.must(err)
		}
		page, err := c.Production(ctx, ref(t, "m"))
		w.must(err)
		if !page.Version.IsZero() || len(page.Promotions) != 4 || page.Promotions[0].Kind != ballast.Cleared || page.Promotions[1].Reason != "it is not" {
			t.Errorf("production %+v", page)
		}

		recorded, err = c.Delete(ctx, second, client.DeleteOptions{IfExists: true})
		if err != nil || !recorded {
			t.Errorf("delete: recorded %t, %v", recorded, err)
		}
		_, err = c.Version(ctx, second)
		wantCode(t, err, ballast.CodeNotFound)
		_, err = c.Delete(ctx, ref(t, "m:9"), client.DeleteOptions{})
		wantCode(t, err, ballast.CodeNotFound)
		_, err = c.Delete(ctx, ref(t, "m:9"), client.DeleteOptions{IfExists: true})
		w.must(err)
		wantEvents(t, c)
	})
}

func wantCode(t *testing.T, err error, code ballast.Code) {
	t.Helper()
	if ballast.CodeOf(err) != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func wantVersion(t *testing.T, c *client.Client, what, version string) {
	t.Helper()
	if v, err := c.Version(t.Context(), ref(t, what)); err != nil || v.Version.String() != version {
		t.Errorf("%s is %s, %v; want %s", what, v.Version, err, version)
	}
}

func wantEvents(t *testing.T, c *client.Client) {
	t.Helper()
	var got, paged []string
	for e, err := range c.Events(t.Context(), client.ListEvents{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Kind)+" "+e.Key)
	}
	want := []string{
		"version.ready acme::m::1", "version.ready acme::m::2", "version.ready acme::child::1", "version.changed acme::m::1", "version.promoted acme::m::1",
		"version.changed acme::m::1", "version.promoted acme::m::2", "version.changed acme::m::2", "version.rolled_back acme::m::1",
		"version.retired acme::m::1", "version.deleted acme::m::2",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for e, err := range c.Events(t.Context(), client.ListEvents{Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		paged = append(paged, string(e.Kind)+" "+e.Key)
	}
	if !slices.Equal(paged, want) {
		t.Errorf("one by one: %q", paged)
	}
}

// TestWhatMovesIsAskedOnce: a lost answer to the retirement of latest must not retire the one before, too.
func TestWhatMovesIsAskedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		call func(context.Context, *client.Client) error
		once bool
	}{
		"retire latest": {func(ctx context.Context, c *client.Client) error {
			_, _, err := c.Retire(ctx, ref(t, "m"), 0)
			return err
		}, true},
		"retire": {func(ctx context.Context, c *client.Client) error {
			_, _, err := c.Retire(ctx, ref(t, "m:1"), 0)
			return err
		}, false},
		"delete alias": {func(ctx context.Context, c *client.Client) error {
			_, err := c.Delete(ctx, ref(t, "m@champion"), client.DeleteOptions{})
			return err
		}, true},
		"delete": {func(ctx context.Context, c *client.Client) error {
			_, err := c.Delete(ctx, ref(t, "m:1"), client.DeleteOptions{})
			return err
		}, false},
		"promote latest": {func(ctx context.Context, c *client.Client) error {
			_, err := c.Promote(ctx, ref(t, "m"), "", 0)
			return err
		}, true},
		"promote": {func(ctx context.Context, c *client.Client) error {
			_, err := c.Promote(ctx, ref(t, "m:1"), "", 0)
			return err
		}, false},
		"patch from": {func(ctx context.Context, c *client.Client) error {
			_, err := c.Patch(ctx, ref(t, "m:1"), ballast.PatchVersion{Stage: ballast.StageArchived}, 3)
			return err
		}, true},
		"rollback": {func(ctx context.Context, c *client.Client) error {
			_, err := c.Rollback(ctx, ref(t, "m"), "worse")
			return err
		}, true},
	} {
		var calls atomic.Int32
		r := registry(t, func(w http.ResponseWriter, _ *http.Request) {
			if calls.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			fmt.Fprint(w, `{}`)
		}, client.Options{})
		if err := c.call(t.Context(), r); (ballast.CodeOf(err) == ballast.CodeUnavailable) != c.once || (calls.Load() == 1) != c.once {
			t.Errorf("%s: %v after %d calls", name, err, calls.Load())
		}
	}
}

func TestChangesGoWhereTheyBelong(t *testing.T) {
	var got []string
	c := registry(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+r.Header.Get("If-Match")))
		fmt.Fprint(w, `{}`)
	}, client.Options{})
	ctx, model := t.Context(), ref(t, "acme::llama/tiny:1.2.0-rc.1")
	_, _ = c.Patch(ctx, model, ballast.PatchVersion{}, 3)
	_, _ = c.Promote(ctx, ref(t, "tiny"), "", 4)
	_, _, _ = c.Retire(ctx, ref(t, "tiny@production"), 0)
	_, _ = c.Delete(ctx, model, client.DeleteOptions{Revision: 5, IfExists: true})
	_, _ = c.Rollback(ctx, model, "worse")
	_, _ = c.Production(ctx, model)
	_, _ = c.Provenance(ctx, model)
	_, _ = c.EventsPage(ctx, client.ListEvents{After: "1-2", Limit: 3})
	_, _ = c.AuditPage(ctx, client.ListAudit{Model: model, Since: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), Who: "ci@acme", Action: "bytes", Limit: 3})
	want := []string{
		`PATCH /v1/models/acme::llama/tiny/versions/1.2.0-rc.1 "3"`,
		`POST /v1/models/tiny/versions/latest/promote "4"`,
		`POST /v1/models/tiny/versions/@production/retire`,
		`DELETE /v1/models/acme::llama/tiny/versions/1.2.0-rc.1?if_exists=true "5"`,
		`POST /v1/models/acme::llama/tiny/rollback`,
		`GET /v1/models/acme::llama/tiny/production`,
		`GET /v1/models/acme::llama/tiny/versions/1.2.0-rc.1?include=retired`,
		`GET /v1/events?after=1-2&limit=3`,
		`GET /v1/audit?action=bytes&limit=3&model=acme%3A%3Allama%2Ftiny%3A%3A1.2.0-rc.1&since=2026-11-22T08%3A00%3A00Z&who=ci%40acme`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
