package e2e_test

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

const ownerKey = "index/owner.json"

// TestSecondServiceIsRefused: neither a second service on a prefix nor the first with an emptied data folder starts, and
// each names the choices. A take-over by an index that lacks a version is refused too.
func TestSecondServiceIsRefused(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		data := t.TempDir()
		first := serve(t, s, data)
		wantChoices(t, "a second service on an empty prefix", refused(t, serveCommand(t, s, t.TempDir())))
		push(t, first.as(t, "acme=writer"), "m:1", map[string][]byte{"weights": []byte("1")})
		wantChoices(t, "a second service", refused(t, serveCommand(t, s, t.TempDir())))
		if status := first.ready(t); status != http.StatusOK {
			t.Errorf("the first: %d", status)
		}
		first.stop(t)
		check(t, os.RemoveAll(data))
		before := objects(t, s)
		wantChoices(t, "an emptied data folder", refused(t, serveCommand(t, s, data)))
		wantChoices(t, "a take-over by an empty index", refused(t, serveCommand(t, s, data, "--take-over")))
		if after := objects(t, s); after[ownerKey] != before[ownerKey] {
			t.Error("a refused service wrote owner.json")
		}
	})
}

func wantChoices(t *testing.T, who, said string) {
	t.Helper()
	for _, choice := range []string{"rebuild", "--take-over", "--s3-prefix"} {
		if !strings.Contains(said, choice) {
			t.Errorf("%s: %s is not named in %s", who, choice, said)
		}
	}
}

func push(t *testing.T, c *client.Client, target string, files map[string][]byte) client.PushResult {
	t.Helper()
	return must[client.PushResult](t)(c.Push(t.Context(), client.PushOptions{Path: folder(t, files), Target: ref(target), AttemptDir: t.TempDir()}))
}

// fenceAge is how old the last look at owner.json may be that a service acts on.
const fenceAge = 15 * time.Second

// TestTakeOver: a second service takes the prefix over while the first is in the middle of a push. Within 15 seconds the
// first stops: it signs, writes and deletes nothing more, and the push ends with exit code 7. The second serves.
func TestTakeOver(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		front := testenv.NewProxy(t, s.Endpoint)
		first := serve(t, s, t.TempDir(), "--s3-public-endpoint", front.URL)
		victims := beginVictims(t, first)
		pushing, release := heldPush(t, front, first)

		began := objects(t, s)[ownerKey]
		data := t.TempDir()
		next := launch(t, s, data, serveCommand(t, s, data, "--take-over"))
		eventually(t, "the epoch rises", func() bool { return objects(t, s)[ownerKey] != began })
		raised := time.Now()
		eventually(t, "the first is fenced", func() bool { return first.ready(t) == http.StatusServiceUnavailable })
		if waited := time.Since(raised); waited > fenceAge {
			t.Errorf("fenced after %s", waited)
		}
		before := objects(t, s)
		victims.wantFenced(t)
		release()
		if end := <-pushing; end.code != 7 {
			t.Errorf("the push ended %d: %s", end.code, end.stderr)
		}
		victims.wantFenced(t)
		next.await(t)
		if after := objects(t, s); !maps.Equal(before, after) {
			t.Errorf("the bucket changed from %v to %v", before, after)
		}
		push(t, next.as(t, "acme=writer"), "m:1", map[string][]byte{"weights": []byte("of the second")})
		victims.wantFenced(t)
	})
}

// victims are uploads of the first service at each stage at which it would write, sign or delete.
type victims struct {
	c                                *client.Client
	fresh, sent, parts, tainted      ballast.Upload
	freshBody, sentBody, taintedBody []byte
}

func beginVictims(t *testing.T, r *registry) victims {
	t.Helper()
	c := must[*client.Client](t)(client.New(client.Options{URL: r.url, Token: r.token(t, "acme=writer"), Tries: 1}))
	v := victims{c: c, freshBody: random(100), sentBody: random(100), taintedBody: random(100)}
	v.fresh, v.sent, v.parts, v.tainted = open(t, c, "fresh:1"), open(t, c, "sent:1"), open(t, c, "parts:1"), open(t, c, "tainted:1")
	send(t, askPut(t, c, v.sent.ID, v.sentBody), v.sentBody, nil)
	send(t, askPut(t, c, v.tainted.ID, v.taintedBody), v.taintedBody, http.Header{"Content-Encoding": {"gzip"}})
	body := random(ballast.MinPartSize + 1)
	sendParts(t, c, v.parts.ID, ballast.DigestOf(body), body)
	return v
}

// wantFenced has the service asked for everything that would touch the bucket. It may settle its own index.
func (v victims) wantFenced(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	put := ballast.BlobRequest{Digest: ballast.DigestOf(v.freshBody), Size: 100}
	parts := ballast.BlobRequest{Digest: put.Digest, Size: 100, Method: ballast.MethodMultipart}
	for what, err := range map[string]error{
		"open":      errOf(v.c.CreateUpload(ctx, ballast.CreateUpload{Name: ref("other").Name, Attempt: "0123456789abcdef"})),
		"sign":      errOf(v.c.Blobs(ctx, v.fresh.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{put}})),
		"multipart": errOf(v.c.Blobs(ctx, v.fresh.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{parts}})),
		"commit":    errOf(v.c.Commit(ctx, v.sent.ID, ballast.CommitRequest{Files: []ballast.File{file("weights", v.sentBody)}})),
		"taint":     errOf(v.c.Commit(ctx, v.tainted.ID, ballast.CommitRequest{Files: []ballast.File{file("weights", v.taintedBody)}})),
	} {
		if code := ballast.CodeOf(err); code != ballast.CodeUnavailable && code != ballast.CodeIntegrity {
			t.Errorf("%s: %v", what, err)
		}
	}
	_ = v.c.Abort(ctx, v.parts.ID) // would abort the multipart in the store
}

func errOf[T any](_ T, err error) error { return err }

// heldPush starts a `ballast push` whose bytes are on the way until release is called, and are lost then.
func heldPush(t *testing.T, front *testenv.Proxy, r *registry) (end <-chan outcome, release func()) {
	t.Helper()
	reached, released := make(chan struct{}, 1), make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	front.Add(isPut, 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		testenv.Hold(reached, released)(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { testenv.Drop(w, r, next) }))
	})
	cmd := r.user(t, r.token(t, "acme=writer")).command(t.Context(), "push", folder(t, map[string][]byte{"weights": random(1 << 20)}), "m:1")
	ended := make(chan outcome, 1)
	go func() { ended <- finish(cmd) }()
	select {
	case <-reached:
	case <-time.After(limit):
		t.Fatal("the push sends nothing")
	}
	return ended, release
}

// TestIndexOfYesterday: an index that was copied back never writes over what the bucket knows better.
func TestIndexOfYesterday(t *testing.T) {
	files := map[string][]byte{"weights": []byte("today's")}
	t.Run("another start came between", func(t *testing.T) {
		eachStore(t, func(t *testing.T, s *testenv.Store) {
			data := t.TempDir()
			serve(t, s, data).stop(t)
			yesterday := readIndex(t, data)
			today := serve(t, s, data)
			push(t, today.as(t, "acme=writer"), "m:1", files)
			today.stop(t)
			writeIndex(t, data, yesterday)
			said := refused(t, serveCommand(t, s, data))
			wantChoices(t, "yesterday's index", said)
			if !strings.Contains(said, "older copy") {
				t.Errorf("said %s", said)
			}
		})
	})
	t.Run("copied while it ran", func(t *testing.T) {
		eachStore(t, func(t *testing.T, s *testenv.Store) {
			data := t.TempDir()
			r := serve(t, s, data)
			c := r.as(t, "acme=writer")
			writer, viewer := r.token(t, "acme=writer"), r.token(t, "acme=reader")
			yesterday := readIndex(t, data)
			push(t, c, "m:1", files)
			r.stop(t)
			record := read(t, s, "tenants/acme/models/m/versions/1/00000001.json")
			writeIndex(t, data, yesterday)
			r = serve(t, s, data)
			u, reader := r.user(t, writer), r.user(t, viewer)
			end := u.run(t, "push", folder(t, map[string][]byte{"weights": []byte("other")}), "m").want(t, 7)
			if !strings.Contains(end.stderr, "rebuild") || r.ready(t) != http.StatusServiceUnavailable {
				t.Errorf("readyz %d, said %s", r.ready(t), end.stderr)
			}
			if got := read(t, s, "tenants/acme/models/m/versions/1/00000001.json"); !bytes.Equal(got, record) {
				t.Errorf("the record became %s", got)
			}
			reader.run(t, "show", "m:1").want(t, 3)
		})
	})
}

func indexFile(data string) string { return filepath.Join(data, "index.db") }

func readIndex(t *testing.T, data string) []byte {
	t.Helper()
	return must[[]byte](t)(os.ReadFile(indexFile(data)))
}

func writeIndex(t *testing.T, data string, b []byte) {
	t.Helper()
	check(t, os.WriteFile(indexFile(data), b, 0o600))
}
