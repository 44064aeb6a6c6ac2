package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// memory is a real engine on stores in memory. Its invariants are checked when the test ends.
type memory struct {
	*engine.Engine
	db    *index.Mem
	index *index.Index
	store *objstoretest.Mem
	admin string // token
	lines string // folder of the audit
}

func newMemory(t *testing.T, limits engine.Limits) *memory {
	t.Helper()
	m := openMemory(t, limits, index.NewMem(), objstoretest.NewMem())
	if _, err := m.EnsureAdmin(t.Context(), func(token string) error { m.admin = token; return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

// openMemory opens an engine on stores that may hold something already. Whose tokens are good there, the caller knows.
func openMemory(t *testing.T, limits engine.Limits, db *index.Mem, store *objstoretest.Mem) *memory {
	t.Helper()
	m := &memory{db: db, store: store, lines: t.TempDir()}
	limits.UseInterval = time.Hour // when tokens were used is no change that a request makes
	var err error
	if m.index, err = index.Open(t.Context(), m.db, time.Now); err != nil {
		t.Fatal(err)
	}
	m.store.Before(m.hold)
	m.Engine = enginetest.Open(t, engine.Options{
		Index: m.index, Bucket: m.store, Home: engine.Place{Bucket: "models"}, Signer: m.store, RecordKey: engine.NewRecordKey(make([]byte, sha256.Size)),
		Logger: canary.Log(t, canary.Quiet), Limits: limits, Audit: audit.NewReader(m.lines),
	})
	return m
}

// keepsLines says where a face in front of the engine writes its audit, which the engine reads.
func (m *memory) keepsLines() string { return m.lines }

// principal is the holder of a token.
func (m *memory) principal(t *testing.T, token string) engine.Principal {
	t.Helper()
	p, err := m.Authenticate(t.Context(), ballast.Secret(token))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// token mints a token.
func (m *memory) token(t *testing.T, name string, grants ...string) ballast.IssuedToken {
	t.Helper()
	req := ballast.CreateToken{Name: name}
	for _, g := range grants {
		req.Grants = append(req.Grants, must(ballast.ParseGrant(g)))
	}
	made, err := m.CreateToken(t.Context(), m.principal(t, m.admin), req)
	if err != nil {
		t.Fatal(err)
	}
	return made.Issued()
}

// open opens an upload and returns its id.
func (m *memory) open(t *testing.T, token, target string) string {
	t.Helper()
	ref := must(ballast.ParseRef(target))
	attempt := "attempt-" + ballast.DigestOf([]byte(target)).Encoded()[:16]
	u, _, err := m.CreateUpload(t.Context(), m.principal(t, token), ballast.CreateUpload{Name: ref.Name, Version: ref.Version, Attempt: attempt})
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// hold keeps whoever reads what lies in a folder "held" of an inbox waiting.
func (m *memory) hold(ctx context.Context, op objstoretest.Op, key string) {
	if op == objstoretest.OpGet && strings.Contains(key, "/inbox/held/") {
		<-ctx.Done()
	}
}

// importing begins an import and returns its id.
func (m *memory) importing(t *testing.T, token, from, target string) string {
	t.Helper()
	ref := must(ballast.ParseRef(target))
	got, _, err := m.CreateImport(t.Context(), m.principal(t, token), ballast.CreateImport{Source: must(ballast.ParseSource(from)), Name: ref.Name, Version: ref.Version})
	if err != nil {
		t.Fatal(err)
	}
	return got.ID
}

// publish pushes files as the holder of a token.
func (m *memory) publish(t *testing.T, token, target string, metadata ballast.Metadata, files map[string]string) {
	t.Helper()
	p, id := m.principal(t, token), m.open(t, token, target)
	commit := ballast.CommitRequest{Metadata: metadata}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := ballast.File{Path: path, Size: int64(len(files[path])), Digest: ballast.DigestOf([]byte(files[path]))}
		commit.Files = append(commit.Files, f)
		a, err := m.Blobs(t.Context(), p, id, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: f.Digest, Size: f.Size}}})
		if err != nil {
			t.Fatal(err)
		}
		if r := a.Blobs[0].Request; r != nil {
			m.store.Do(*r, []byte(files[path]), nil)
		}
	}
	u, err := m.Commit(t.Context(), p, id, commit)
	for err == nil && !u.Status.Settled() {
		u, err = m.Upload(t.Context(), p, id, time.Minute)
	}
	if err != nil || u.Result == nil {
		t.Fatalf("publish %s: %+v, %v", target, u, err)
	}
}

// point sets an alias to version 1.
func (m *memory) point(t *testing.T, token, alias string) {
	t.Helper()
	ref := must(ballast.ParseRef(alias))
	if _, err := m.SetAlias(t.Context(), m.principal(t, token), ref.Scope, ref.Name, ref.Alias, one, nil); err != nil {
		t.Fatal(err)
	}
}

// settleCatalogue gives a name with version 1 a champion, a latest, and something to roll back to.
func (m *memory) settleCatalogue(t *testing.T, token, name string) {
	t.Helper()
	m.point(t, token, name+"@champion")
	for _, version := range []string{"7", "8"} {
		m.publish(t, token, name+":"+version, ballast.Metadata{}, map[string]string{"config.json": contents[0]})
	}
	for _, version := range []string{"1", "7"} {
		own := engine.Own{Ref: must(ballast.ParseRef(name + ":" + version))}
		if _, err := m.Promote(t.Context(), m.principal(t, token), own, "the better one"); err != nil {
			t.Fatal(err)
		}
	}
}

// settle waits until no work is left over from what was published, and open imports have got as far as they do.
func (m *memory) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c, err := m.index.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for id := range c.Verifying {
			if m := c.Uploads[id].Import; m != nil && m.Listed {
				delete(c.Verifying, id)
			}
		}
		if len(c.Verifying)+len(c.Releasing)+len(c.Queue) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still at work: %v %v %v", c.Verifying, c.Releasing, c.Queue)
		}
	}
}

// contents is everything that index and bucket hold.
func (m *memory) contents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := m.db.View(t.Context(), func(tx index.Tx) error {
		clear(all)
		for item, err := range tx.Scan(nil, nil, false) {
			if err != nil {
				return err
			}
			all[fmt.Sprintf("index %q", item.Key)] = string(item.Value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range m.store.Keys("") {
		body, _ := m.store.Peek(key)
		all["bucket "+key] = string(body)
	}
	return all
}

// changes names what differs between two contents.
func changes(before, after map[string]string) (keys []string) {
	for key, value := range after {
		if old, ok := before[key]; !ok || old != value {
			keys = append(keys, key)
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// sendTo sends a body with the signed request of the first blob in an answer.
func (m *memory) sendTo(t *testing.T, a answer, body string) {
	t.Helper()
	got := decode[ballast.BlobsResponse](t, a)
	if len(got.Blobs) == 0 || got.Blobs[0].Request == nil {
		t.Fatalf("nothing to send to: %s", a.body)
	}
	if status := m.store.Do(*got.Blobs[0].Request, []byte(body), nil); status != 200 {
		t.Fatalf("PUT: %d", status)
	}
}
