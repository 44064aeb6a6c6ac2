package api

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/engine/enginetest"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// memory is a real engine on stores in memory. Its invariants are checked when the test ends.
type memory struct {
	*engine.Engine
	db    index.Store
	index *index.Index
	store *objstoretest.Mem
	admin string // token
}

func newMemory(t *testing.T, limits engine.Limits) *memory {
	t.Helper()
	m := &memory{db: index.NewMem(), store: objstoretest.NewMem()}
	var err error
	if m.index, err = index.Open(t.Context(), m.db, time.Now); err != nil {
		t.Fatal(err)
	}
	m.Engine = enginetest.Open(t, engine.Options{
		Index: m.index, Bucket: m.store, Signer: m.store, RecordKey: engine.NewRecordKey(make([]byte, sha256.Size)),
		Logger: slog.New(slog.DiscardHandler), Limits: limits,
	})
	if _, err := m.EnsureAdmin(t.Context(), func(token string) error { m.admin = token; return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

// token mints a token.
func (m *memory) token(t *testing.T, name string, grants ...string) ballast.TokenInfo {
	t.Helper()
	root, err := m.Authenticate(t.Context(), m.admin)
	if err != nil {
		t.Fatal(err)
	}
	req := ballast.CreateToken{Name: name}
	for _, g := range grants {
		req.Grants = append(req.Grants, must(ballast.ParseGrant(g)))
	}
	made, err := m.CreateToken(t.Context(), root, req)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// publish pushes files as the holder of a token.
func (m *memory) publish(t *testing.T, token, target string, metadata ballast.Metadata, files map[string]string) ballast.VersionInfo {
	t.Helper()
	p, err := m.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	ref := must(ballast.ParseRef(target))
	u, _, err := m.CreateUpload(t.Context(), p, ballast.CreateUpload{Scope: ref.Scope, Name: ref.Name, Version: ref.Version, Attempt: "publish-" + target[:1] + "-0000000"})
	if err != nil {
		t.Fatal(err)
	}
	commit := ballast.CommitRequest{Metadata: metadata}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		d := ballast.DigestOf([]byte(files[path]))
		commit.Files = append(commit.Files, ballast.File{Path: path, Size: int64(len(files[path])), Digest: d})
		a, err := m.Blobs(t.Context(), p, u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: d, Size: int64(len(files[path]))}}})
		if err != nil {
			t.Fatal(err)
		}
		if r := a.Blobs[0].Request; r != nil {
			m.store.Do(*r, []byte(files[path]), nil)
		}
	}
	u, err = m.Commit(t.Context(), p, u.ID, commit)
	for err == nil && !u.Status.Settled() {
		u, err = m.Upload(t.Context(), p, u.ID, time.Minute)
	}
	if err != nil || u.Result == nil {
		t.Fatalf("publish %s: %+v, %v", target, u, err)
	}
	return *u.Result
}

// settle waits until no work is left over from what was published.
func (m *memory) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		c, err := m.index.Contents(t.Context())
		if err != nil {
			t.Fatal(err)
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
	if len(got.Blobs) == 0 || got.Blobs[0].Request == nil || !bytes.Contains(a.body, []byte(strings.TrimPrefix(string(ballast.DigestOf([]byte(body))), "sha256:"))) {
		t.Fatalf("nothing to send to: %s", a.body)
	}
	if status := m.store.Do(*got.Blobs[0].Request, []byte(body), nil); status != 200 {
		t.Fatalf("PUT: %d", status)
	}
}
