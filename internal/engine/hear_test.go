package engine_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// TestEveryChangeWakesWhoWaits: the answer comes with the event, and not when the wait is over.
func TestEveryChangeWakesWhoWaits(t *testing.T) {
	r := newRig(t, memStore(t))
	v := r.mustPush(t, writer, "M:1", small("a"))
	alias := must(ballast.ParseAlias("champion"))
	named := must(ballast.ParseName("m"))
	owner := engine.Principal{ID: "a", Name: "root", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	var token ballast.TokenInfo
	for _, change := range []struct {
		kind ballast.EventKind
		do   func() error
	}{
		{ballast.EventAliasSet, func() error {
			_, err := r.SetAlias(t.Context(), writer, acme, named, alias, v.Version, nil)
			return err
		}},
		{ballast.EventAliasGone, func() error { return r.DeleteAlias(t.Context(), writer, acme, named, alias, nil) }},
		{ballast.EventTokenMinted, func() (err error) {
			token, err = r.CreateToken(t.Context(), owner, ballast.CreateToken{Grants: writer.Grants})
			return err
		}},
		{ballast.EventTokenGone, func() error { return r.RevokeToken(t.Context(), owner, token.ID) }},
		{ballast.EventChanged, func() error {
			_, err := r.Patch(t.Context(), writer, engine.Own{Ref: ref("m:1")}, ballast.PatchVersion{Metadata: map[string]json.RawMessage{"task": []byte(`"ner"`)}})
			return err
		}},
	} {
		from := must(r.Events(t.Context(), owner, engine.NewestEvent, 10, 0)).Cursor
		heard := make(chan ballast.EventsPage, 1)
		start := time.Now()
		go func() {
			page, err := r.Events(t.Context(), owner, from, 10, engine.MaxWait)
			if err != nil {
				t.Error(err)
			}
			heard <- page
		}()
		time.Sleep(20 * time.Millisecond) // so that it most likely waits
		if err := change.do(); err != nil {
			t.Fatalf("%s: %v", change.kind, err)
		}
		page := <-heard
		if len(page.Events) != 1 || page.Events[0].Kind != change.kind || time.Since(start) >= engine.MaxWait {
			t.Errorf("%s: heard %+v after %s", change.kind, page.Events, time.Since(start))
		}
		if e := page.Events[0]; e.Token == "" && e.Name != v.Name {
			t.Errorf("%s: of %s, which was published as %s", e.Kind, e.Name, v.Name)
		}
	}
}

// TestWhoHearsWhat: tokens are their admins' business, and what happens in a scope that of its readers.
func TestWhoHearsWhat(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, admin, "base:1", small("b"))
	must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: admin.Grants}))
	must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: writer.Grants}))
	owner := engine.Principal{ID: "a", Name: "root", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	for _, c := range []struct {
		who  engine.Principal
		want []string
	}{
		{admin, []string{"global version.ready", "global token.created", "acme token.created"}},
		{owner, []string{"acme version.ready", "global version.ready", "acme token.created"}},
		{reader, []string{"acme version.ready", "global version.ready"}},
		{other, []string{"global version.ready"}},
		{engine.Principal{}, nil},
	} {
		var got []string
		for _, e := range must(r.Events(t.Context(), c.who, "", 100, 0)).Events {
			got = append(got, e.Scope.String()+" "+string(e.Kind))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s hears %q, want %q", c.who.Name, got, c.want)
		}
	}
	for _, bad := range []string{"now1-1", "x", "1", "1-1-1", "1--1", " 1-1", "01-1"} {
		if _, err := r.Events(t.Context(), reader, bad, 10, 0); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("after %q: %v", bad, err)
		}
	}
}

// TestARecordLiesUnderTheLabelThatWasPublished, however the label of a retirement or deletion is written. The check at the
// end reads the chains.
func TestARecordLiesUnderTheLabelThatWasPublished(t *testing.T) {
	r := newRig(t, memStore(t))
	maintainer := engine.Principal{ID: "m", Name: "lead", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Maintainer}}}
	r.mustPush(t, writer, "M:1", small("a"))
	r.mustPush(t, writer, "M:2.0.0-RC", small("b"))
	for _, as := range []string{"m:1.0.0", "m:2.0.0-rc"} {
		v, recorded, err := r.Retire(t.Context(), maintainer, engine.Own{Ref: ref(as)})
		if err != nil || !recorded || v.Status != ballast.StatusRetired {
			t.Errorf("retire %s: %+v, recorded %t, %v", as, v, recorded, err)
		}
		if _, recorded, err := r.Delete(t.Context(), maintainer, engine.Own{Ref: ref(as)}); err != nil || !recorded {
			t.Errorf("delete %s: recorded %t, %v", as, recorded, err)
		}
	}
}
