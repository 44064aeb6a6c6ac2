package engine_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// What is read over and over is remembered. These tests ask twice before anything changes, so that it is, and again right
// after.

func fileURL(t *testing.T, e *engine.Engine, p engine.Principal, target string) (string, error) {
	t.Helper()
	f, err := e.File(t.Context(), p, ref(target), "model.safetensors")
	if err != nil {
		return "", err
	}
	return f.Request.URL, nil
}

// signedRig is a rig whose GETs are signed by the signer of a registry, which holds them.
func signedRig(t *testing.T) *rig {
	s := memStore(t)
	signer, err := objstore.Open(t.Context(), objstore.Config{Endpoint: "http://store:9000", Bucket: "models", PathStyle: true, Service: objstore.Identity{Keys: objstore.Keys{ID: "AKID", Secret: "s"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Signer = getsOf{s.Signer, objstoretest.CheckSigner(t, signer)}
	return newRig(t, s)
}

// getsOf signs GETs by another signer.
type getsOf struct {
	objstore.Signer
	gets objstore.Signer
}

func (g getsOf) SignGet(ctx context.Context, key, version string, ttl time.Duration) (ballast.SignedRequest, error) {
	return g.gets.SignGet(ctx, key, version, ttl)
}

// TestHeldURLIsNoWayAroundTheGate: a file whose URL is held is refused at once when its version, or its base, is retired or
// deleted.
func TestHeldURLIsNoWayAroundTheGate(t *testing.T) {
	keeper := engine.Principal{ID: "k", Name: "keeper", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Maintainer}}}
	for what, end := range map[string]func(*rig, *testing.T){
		"retired":             func(r *rig, t *testing.T) { r.mustRetire(t, keeper, "acme::m:1") },
		"deleted":             func(r *rig, t *testing.T) { r.mustDelete(t, keeper, "acme::m:1") },
		"its base is retired": func(r *rig, t *testing.T) { r.mustRetire(t, keeper, "acme::base:1") },
	} {
		t.Run(what, func(t *testing.T) {
			r := signedRig(t)
			r.mustPush(t, writer, "acme::base:1", small("base"))
			if _, err := r.pushOn(t, writer, "acme::base:1", "acme::m:1"); err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for range 3 {
				url, err := fileURL(t, r.Engine, reader, "acme::m:1")
				if err != nil {
					t.Fatal(err)
				}
				seen[url] = true
			}
			if len(seen) != 1 {
				t.Errorf("control: %d URLs, so none was held", len(seen))
			}
			if _, err := fileURL(t, r.Engine, other, "acme::m:1"); ballast.CodeOf(err) != ballast.CodeNotFound {
				t.Errorf("a stranger was answered %v", err)
			}
			end(r, t)
			if url, err := fileURL(t, r.Engine, reader, "acme::m:1"); err == nil {
				t.Errorf("%s, and yet served at %s", what, url)
			}
			if _, err := r.Version(t.Context(), reader, ref("acme::m:1")); err == nil {
				t.Errorf("%s, and yet resolved", what)
			}
		})
	}
}

// TestRevokedTokenIsRefusedAtOnce, however often it was good before.
func TestRevokedTokenIsRefusedAtOnce(t *testing.T) {
	r := newRig(t, memStore(t))
	made, err := r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: reader.Grants})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // one of them while nothing is written, so that the token is remembered
		if _, err := r.Authenticate(t.Context(), made.Token); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	wrong := []byte(made.Token)
	for i := range wrong[len(wrong)-40:] {
		c := &wrong[len(wrong)-40+i]
		was := *c
		*c = 'A' + (was+1)%25
		if _, err := r.Authenticate(t.Context(), ballast.Secret(wrong)); ballast.CodeOf(err) != ballast.CodeUnauthenticated {
			t.Fatalf("a wrong secret was answered %v", err)
		}
		*c = was
	}
	if err := r.RevokeToken(t.Context(), admin, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), made.Token); ballast.CodeOf(err) != ballast.CodeUnauthenticated {
		t.Errorf("a revoked token was answered %v", err)
	}
}

// TestReadsBesideWrites: while others write all the time, whoever was told of a change finds it.
func TestReadsBesideWrites(t *testing.T) {
	r := newRig(t, memStore(t))
	for v := range 3 {
		r.mustPush(t, writer, fmt.Sprintf("acme::m:%d", v+1), small(fmt.Sprint(v)))
	}
	alias := must(ballast.ParseAlias("champion"))
	name := ref("m").Name
	var at atomic.Int64 // what the alias was last said to point at; it only grows
	set := func(v int64) {
		if _, err := r.SetAlias(t.Context(), writer, acme, name, alias, ballast.MajorVersion(uint64(v%3+1)), nil); err != nil {
			t.Error(err)
		}
		at.Store(v)
	}
	set(0)
	var reading sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				before := at.Load()
				v, err := r.Version(t.Context(), reader, ref("acme::m@champion"))
				after := at.Load()
				if err != nil {
					t.Error(err)
					return
				}
				ok := false
				for n := before; n <= after+1; n++ { // the next one may be visible before it was said
					ok = ok || v.Version.Major() == uint64(n%3+1)
				}
				if !ok {
					t.Errorf("the alias was at %d, then %d, and version %s was answered", before, after, v.Version)
					return
				}
			}
		})
	}
	for v := range int64(300) {
		set(v + 1)
		if v%5 == 0 {
			time.Sleep(time.Millisecond) // so that something is remembered
		}
	}
	close(done)
	reading.Wait()
}
