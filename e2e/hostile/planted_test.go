package hostile_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// TestInboxCredentials: who was given the credentials of docs/iam for an inbox puts files there, and nothing anywhere else.
// What lies in the inbox under a name of the registry's own is a file to import, and no more.
func TestInboxCredentials(t *testing.T) {
	t.Parallel()
	s := testenv.MinIO(t)
	r := serve(t, s, t.TempDir())
	x := newScene(t, r)
	text := string(must[[]byte](t)(os.ReadFile("../../docs/iam/inbox.json")))
	inbox := s.User(t, []byte(strings.NewReplacer("BUCKET", s.Bucket, "PREFIX/", "", "TENANT", "acme").Replace(text)))
	for _, key := range []string{
		x.victims, "tenants/victim-co/blobs/sha256/ab/" + strings.Repeat("ab", 32), "tenants/victim-co/models/planted/versions/1/00000001.json", "tenants/victim-co/models/subject/versions/1/00000002.json",
		"tenants/victim-co/inbox/x", "tenants/acme/models/planted/versions/1/00000001.json", "tenants/acme/blobs/sha256/ab/" + strings.Repeat("ab", 32), "tenants/acme/staging/x/1", "tenants/acme/inbox-of-theirs/x",
		"global/inbox/x", "global/blobs/sha256/ab/" + strings.Repeat("ab", 32), "index/owner.json", "index/snapshots/1.db",
	} {
		if err := put(t, s, inbox, key, []byte("planted")); minio.ToErrorResponse(err).Code != minio.AccessDenied {
			t.Errorf("%s: %v", key, err)
		}
	}
	record := read(t, s, "tenants/acme/models/subject/versions/1/00000001.json")
	for _, key := range []string{"models/planted/versions/1/00000001.json", "blobs/sha256/ab/" + strings.Repeat("ab", 32), "index/owner.json"} {
		check(t, put(t, s, inbox, "tenants/acme/inbox/"+key, record)) // which is allowed: the control of the rights
	}
	r.end(t)
	again := serve(t, s, r.data)
	publish(t, again.as(t, "acme=writer"), "after:1", random(100))
	x.wantAbsent(t, again, "planted:1")
	again.stop(t)
}

// wantAbsent wants a version to be nobody's.
func (x *scene) wantAbsent(t *testing.T, r *registry, target string) {
	t.Helper()
	for tenant := range x.tokens {
		if _, err := x.of(t, r, tenant).Version(t.Context(), ref(target)); ballast.CodeOf(err) != ballast.CodeNotFound {
			t.Errorf("%s has %s: %v", tenant, target, err)
		}
	}
}

// planted are objects that somebody puts among the victim's who may write there, past the registry.
type planted struct {
	key  string
	body func(x *scene, own []byte) []byte // own is a record of the attacker's
	// stops says that the next start finds more in the bucket than its index knows, and writes nothing.
	stops bool
}

func plants() map[string]planted {
	record := func(_ *scene, own []byte) []byte { return own }
	renamed := func(_ *scene, own []byte) []byte { return bytes.ReplaceAll(own, []byte("acme"), []byte("victim-co")) }
	junk := func(*scene, []byte) []byte { return []byte("junk") }
	return map[string]planted{
		"a record of the attacker's as one of the victim's": {"tenants/victim-co/models/planted/versions/1/00000001.json", record, true},
		"the same with the victim's name":                   {"tenants/victim-co/models/planted/versions/1/00000001.json", renamed, true},
		"junk as a record":                                  {"tenants/victim-co/models/planted/versions/1/00000001.json", junk, true},
		"a further record of the victim's version":          {"tenants/victim-co/models/subject/versions/1/00000002.json", renamed, true},
		"a record of a tenant that nobody has":              {"tenants/new-co/models/planted/versions/1/00000001.json", renamed, true},
		"a record with a number too many":                   {"tenants/victim-co/models/planted/versions/1/1.json", renamed, false},
		"a record in capitals":                              {"tenants/victim-co/models/Planted/versions/1/00000001.json", renamed, false},
		"a file among models":                               {"tenants/victim-co/models/planted/README.md", junk, false},
		"a blob of a digest that is not its own":            {"tenants/victim-co/blobs/sha256/ab/" + strings.Repeat("ab", 32), junk, false},
		"a blob of the attacker's":                          {"tenants/victim-co/blobs/sha256/{own}", func(x *scene, _ []byte) []byte { return x.own }, false},
		"a scope with a capital":                            {"tenants/Victim-Co/models/planted/versions/1/00000001.json", renamed, false},
		"a snapshot of an index":                            {"index/snapshots/20990101T000000Z.db", junk, false},
	}
}

// TestPlanted: what somebody puts among the victim's, past the registry, never becomes a version, and what was ready stays
// so. A record that the index does not know stops all that is written and signed from the next start on, until it is taken
// away.
func TestPlanted(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		x := newScene(t, r)
		own := read(t, s, "tenants/acme/models/subject/versions/1/00000001.json")
		r.end(t)
		d := ballast.DigestOf(x.own).Encoded()
		all, ignored := plants(), []string{}
		for _, p := range all {
			if !p.stops {
				ignored = append(ignored, strings.Replace(p.key, "{own}", d[:2]+"/"+d, 1))
				plant(t, s, ignored[len(ignored)-1], p.body(x, own))
			}
		}
		again := serve(t, s, r.data)
		x.served(t, again)
		publish(t, x.of(t, again, "victim-co"), "after:1", random(100))
		x.publishesPlanted(t, again)
		again.end(t)
		for _, name := range sorted(all) {
			if all[name].stops {
				t.Run(name, func(t *testing.T) {
					x.stops(t, r, strings.Replace(all[name].key, "planted", "stopping", 1), all[name].body(x, own))
				})
			}
		}
		for _, key := range ignored { // which fsck would name
			if !strings.Contains(key, "/blobs/") {
				check(t, s.Client(t, s.Root).RemoveObject(t.Context(), s.Bucket, key, minio.RemoveObjectOptions{}))
			}
		}
		last := serve(t, s, r.data)
		x.served(t, last)
		publish(t, x.of(t, last, "acme"), "last:1", random(100))
		last.stop(t)
	})
}

// publishesPlanted has the victim publish bytes that somebody planted. They are looked at like any: stores may keep with them
// what the planter sent along, and then they are removed and sent anew.
func (x *scene) publishesPlanted(t *testing.T, r *registry) {
	t.Helper()
	c := x.of(t, r, "victim-co")
	eventually(t, func() bool {
		u := open(t, c, "planted")
		a := ask(t, c, u.ID, ballast.BlobRequest{Digest: ballast.DigestOf(x.own), Size: int64(len(x.own)), Method: ballast.MethodPut})
		if a.Request != nil {
			letterOf(t, *a.Request, x.own).send(t.Context())
		}
		err := commit(t, c, u.ID, x.own)
		if err != nil && ballast.CodeOf(err) != ballast.CodeIntegrity && ballast.CodeOf(err) != ballast.CodeBusy && ballast.CodeOf(err) != ballast.CodeMissing {
			t.Fatal(err)
		}
		if err != nil {
			check(t, c.Abort(t.Context(), u.ID))
		}
		return err == nil
	})
}

// stops plants a record, wants the next start to show what was ready as it was, and to write and to sign nothing once it has
// found the record, and takes it away again.
func (x *scene) stops(t *testing.T, r *registry, key string, body []byte) {
	t.Helper()
	plant(t, x.store, key, body)
	again := serve(t, x.store, r.data)
	x.shown(t, again)
	x.wantAbsent(t, again, "stopping:1")
	eventually(t, func() bool {
		_, err := x.of(t, again, "acme").CreateUpload(t.Context(), ballast.CreateUpload{Name: ref("x").Name, Version: ref("x:1").Version, Attempt: "0123456789abcdef"})
		return ballast.CodeOf(err) == ballast.CodeUnavailable
	})
	x.shown(t, again)
	again.end(t)
	check(t, x.store.Client(t, x.store.Root).RemoveObject(t.Context(), x.store.Bucket, key, minio.RemoveObjectOptions{}))
}

// shown wants each tenant to read what it published.
func (x *scene) shown(t *testing.T, r *registry) {
	t.Helper()
	for tenant := range x.tokens {
		if v, err := x.of(t, r, tenant).Version(t.Context(), ref("subject:1")); err != nil || v.Status != ballast.StatusReady {
			t.Errorf("%s reads %s, %v", tenant, v.Status, err)
		}
	}
}

// served wants the victim, and the attacker, to have what they published.
func (x *scene) served(t *testing.T, r *registry) {
	t.Helper()
	for tenant, want := range map[string][]byte{"victim-co": x.secret, "acme": x.own} {
		dir := t.TempDir()
		must[client.PullResult](t)(x.of(t, r, tenant).Pull(t.Context(), client.PullOptions{Ref: ref("subject:1"), Dir: dir}))
		if got := must[[]byte](t)(os.ReadFile(dir + "/w.bin")); !bytes.Equal(got, want) {
			t.Errorf("%s has other bytes", tenant)
		}
	}
}
