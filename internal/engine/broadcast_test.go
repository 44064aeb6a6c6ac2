package engine_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// counted is an index store that counts the looks at it.
type counted struct {
	index.Store
	looks atomic.Int64
}

func (c *counted) View(ctx context.Context, fn func(index.Tx) error) error {
	c.looks.Add(1)
	return c.Store.View(ctx, fn)
}

// TestChangesWakeOnlyWhomTheyConcern: those who wait for something in a scope cost the changes of other scopes nothing. What is
// counted is looks at the index, and nothing is left to time: each change is over, and whoever it woke waits again,
// before the next one is made.
func TestChangesWakeOnlyWhomTheyConcern(t *testing.T) {
	const waiting, changes = 40, 25
	chief := engine.Principal{ID: "c", Name: "chief", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	moves := func(p engine.Principal) func(*testing.T, *rig, int) {
		return func(t *testing.T, r *rig, n int) {
			alias := must(ballast.ParseAlias("a" + strconv.Itoa(n)))
			if _, err := r.SetAlias(t.Context(), p, ballast.Scope{}, ref("m").Name, alias, ref("m:1").Version, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	mints := func(grant string) func(*testing.T, *rig, int) {
		return func(t *testing.T, r *rig, n int) {
			if _, err := r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: []ballast.Grant{must(ballast.ParseGrant(grant))}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	rotates := func(t *testing.T, r *rig, n int) {
		token := must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: []ballast.Grant{must(ballast.ParseGrant("other=reader"))}}))
		if _, err := r.RotateToken(t.Context(), admin, token.ID, ballast.RotateToken{}); err != nil {
			t.Fatal(err)
		}
	}
	bounds := func(t *testing.T, r *rig, n int) {
		most := int64(1000 + n)
		if _, err := r.SetQuota(t.Context(), admin, scope("other"), ballast.Quota{Versions: &most}); err != nil {
			t.Fatal(err)
		}
	}
	events := func(p engine.Principal) func(*testing.T, *rig, string) {
		return func(t *testing.T, r *rig, _ string) {
			_, _ = r.Events(t.Context(), p, engine.NewestEvent, 10, time.Minute)
		}
	}
	uploads := func(t *testing.T, r *rig, id string) { _, _ = r.Upload(t.Context(), writer, id, time.Minute) }
	for name, tc := range map[string]struct {
		wait   func(*testing.T, *rig, string)
		change func(*testing.T, *rig, int)
		woken  bool
	}{
		"events of another tenant":              {events(reader), moves(other), false},
		"events of tokens of another tenant":    {events(chief), mints("other=reader"), false},
		"events of a token that is rotated":     {events(chief), rotates, false},
		"events of another tenant's quota":      {events(chief), bounds, false},
		"an upload, others' aliases":            {uploads, moves(other), false},
		"control: events of one's own":          {events(reader), moves(writer), true},
		"control: events of global":             {events(reader), moves(admin), true},
		"control: own tokens":                   {events(chief), mints("acme=reader"), true},
		"control: global's admin and any token": {events(admin), mints("other=reader"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := &counted{Store: index.NewMem()}
				s := memStore(t)
				r := start(t, s, db, options(t, s, db))
				for _, p := range []engine.Principal{writer, other, admin} {
					r.mustPush(t, p, "m:1", small("a"))
				}
				u := must(r.open(t, writer, "waited-for"))
				looks := func() int64 {
					synctest.Wait()
					before := db.looks.Load()
					for n := range changes {
						tc.change(t, r, n)
						synctest.Wait()
					}
					return db.looks.Load() - before
				}
				alone := looks()
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				for range waiting {
					go func() {
						for ctx.Err() == nil {
							tc.wait(t, r, u.ID)
						}
					}()
				}
				among := looks()
				t.Logf("%d changes: %d looks alone, %d while %d wait", changes, alone, among, waiting)
				if tc.woken && among < alone+waiting*changes {
					t.Errorf("%d looks, %d without those who wait: they were not woken", among, alone)
				}
				if !tc.woken && among != alone {
					t.Errorf("%d looks, %d without those who wait: they were woken by what does not concern them", among, alone)
				}
				leave()
				r.Hurry()
			})
		})
	}
}
