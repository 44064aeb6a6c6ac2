package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// crowd is a registry in which them asks for much at once, and acme for a little.
type crowd struct {
	*face
	t          *testing.T
	m          *memory
	acme, them string        // tokens of writers
	gate       chan struct{} // lets one read of them's files go on
	inside     atomic.Int32  // reads of them's files so far
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	m := newMemory(t, engine.Limits{})
	w := &crowd{face: newFace(t, m), t: t, m: m, gate: make(chan struct{})}
	w.acme, w.them = m.token(t, "acme", "acme=writer").Token, m.token(t, "them", "them=writer").Token
	return w
}

// close makes each read of these weight files of them's wait at the gate. Manifests are read by whoever comes, in no turn.
func (w *crowd) close(files ...string) {
	gated := map[string]bool{}
	for _, of := range files {
		gated[ballast.BlobKey(them, ballast.DigestOf([]byte(weightFiles(of)["w.safetensors"])))] = true
	}
	w.m.store.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpGet && gated[key] {
			w.inside.Add(1)
			select {
			case <-w.gate:
			case <-ctx.Done():
			}
		}
	})
	w.t.Cleanup(func() { close(w.gate) })
}

// untilDone opens the gate again and again until done is closed, and returns how often.
func (w *crowd) untilDone(done <-chan struct{}) (opened int) {
	w.t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case <-done:
			return opened
		case <-deadline:
			w.t.Fatal("acme was never served")
		case <-time.After(2 * time.Second): // acme is served now, or waits for somebody
			select {
			case w.gate <- struct{}{}:
				opened++
			case <-done:
				return opened
			}
		}
	}
}

// readsOfOneHeader is how often the header of one small file is read at most.
const readsOfOneHeader = 4

// awaitInside waits until a read of them's is at the gate, and gives the others time to line up behind it.
func (w *crowd) awaitInside() {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); w.inside.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("nothing of them's is read")
		}
	}
	time.Sleep(200 * time.Millisecond)
}

// TestHostileReadersOfHeaders: twenty requests of one tenant for what takes the service most, one at a time, keep another
// tenant's waiting for one of them and no more.
func TestHostileReadersOfHeaders(t *testing.T) {
	w := newCrowd(t)
	for _, token := range []string{w.acme, w.them} {
		w.m.publish(t, token, "m:1", ballast.Metadata{}, weightFiles(token[:8]))
	}
	w.close(w.them[:8])
	const tensors = "/v1/models/m/versions/1/tensors/w.safetensors"
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { w.send("GET", tensors, "", "Authorization", "Bearer "+w.them) })
	}
	w.awaitInside()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if a := w.send("GET", tensors, "", "Authorization", "Bearer "+w.acme); a.StatusCode != http.StatusOK {
			t.Errorf("acme is answered %d %s", a.StatusCode, a.body)
		}
	}()
	if opened := w.untilDone(done); opened > readsOfOneHeader {
		t.Errorf("acme waited for %d reads of them's", opened)
	}
	w.m.store.Before(nil)
	for range 20 * readsOfOneHeader {
		select {
		case w.gate <- struct{}{}:
		case <-time.After(50 * time.Millisecond):
		}
	}
	all.Wait()
}

// TestHostilePublishers: ten versions of one tenant, whose headers wait to be read, keep another tenant's version waiting
// for one of them and no more.
func TestHostilePublishers(t *testing.T) {
	w := newCrowd(t)
	var files []string
	for i := range 10 {
		files = append(files, fmt.Sprintf("them, %d", i))
	}
	w.close(files...)
	var all sync.WaitGroup
	for i, of := range files {
		all.Go(func() { w.m.publish(t, w.them, fmt.Sprintf("m%d:1", i), ballast.Metadata{}, weightFiles(of)) })
	}
	for deadline := time.Now().Add(time.Minute); len(must(w.m.index.Verifying(t.Context()))) < 10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ten were not accepted")
		}
	}
	w.awaitInside()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.m.publish(t, w.acme, "m:1", ballast.Metadata{}, weightFiles("acme"))
	}()
	if opened := w.untilDone(done); opened > readsOfOneHeader {
		t.Errorf("acme waited for %d reads of them's", opened)
	}
	w.m.store.Before(nil)
	end := make(chan struct{})
	go func() { all.Wait(); close(end) }()
	for ended := false; !ended; {
		select {
		case w.gate <- struct{}{}:
		case <-end:
			ended = true
		}
	}
}

// TestHostileSlowBodies: who sends long bodies, and never ends them, takes no turn of those that are decoded.
func TestHostileSlowBodies(t *testing.T) {
	w := newCrowd(t)
	host := strings.TrimPrefix(w.url, "http://")
	theirs, ours := w.m.open(t, w.them, "m:1"), w.m.open(t, w.acme, "m:1")
	for range 30 {
		conn, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/uploads/%s/commit HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 4000000\r\n\r\n{", theirs, host, w.them)
	}
	w.send("POST", "/v1/uploads/"+ours+"/commit", commitBody(file(`"w"`, "unsent")), "Authorization", "Bearer "+w.acme).problem(t, ballast.CodeMissing)
}

// TestHostileFollowers: hundreds that wait for news of one tenant keep nobody from hearing of another's.
func TestHostileFollowers(t *testing.T) {
	w := newCrowd(t)
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() { poll(ctx, w.url, w.them) })
	}
	defer all.Wait()
	defer leave()
	heard := make(chan string)
	go func() { heard <- poll(t.Context(), w.url, w.acme) }()
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		select {
		case news := <-heard:
			if !strings.Contains(news, `"acme"`) {
				t.Errorf("acme hears %s", news)
			}
			return
		case <-time.After(wait): // it may not have asked yet
			w.m.publish(t, w.acme, fmt.Sprintf("news-%d:1", wait), ballast.Metadata{}, map[string]string{"a": "b"})
		}
	}
}

// poll asks for events and waits for them.
func poll(ctx context.Context, url, token string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/events?after=now&wait=50s", nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

// TestHostileImports: imports of one tenant that do not get on are bounded in number, and another's gets through.
func TestHostileImports(t *testing.T) {
	w := newCrowd(t)
	for _, scope := range []string{"acme", "them"} {
		w.m.store.Plant("tenants/"+scope+"/inbox/held/w", []byte("w"))
		w.m.store.Plant("tenants/"+scope+"/inbox/free/w", []byte("w"))
	}
	most := engine.DefaultLimits().OpenImports
	for i := range most {
		w.m.importing(t, w.them, "inbox:held/", fmt.Sprintf("m%d:1", i))
	}
	body := func(name string) string { return fmt.Sprintf(`{"source":"inbox:free/","name":%q,"version":"1"}`, name) }
	w.send("POST", "/v1/imports", body("one-more"), "Authorization", "Bearer "+w.them).problem(t, ballast.CodeRateLimited)
	a := w.send("POST", "/v1/imports", body("m"), "Authorization", "Bearer "+w.acme).wantStatus(t, http.StatusCreated)
	m := decode[ballast.Import](t, w.send("GET", a.Header.Get("Location")+"?wait=50s", "", "Authorization", "Bearer "+w.acme))
	if m.Status != ballast.UploadDone {
		t.Errorf("acme's import is %s", m.Status)
	}
}

// TestHostileCopies: what the store copies for one tenant, which it never ends, leaves another's its turn.
func TestHostileCopies(t *testing.T) {
	w := newCrowd(t)
	files := map[string]string{}
	for i := range engine.DefaultLimits().Copies {
		files[fmt.Sprintf("f%02d", i)] = fmt.Sprintf("file %d of global", i)
	}
	w.m.publish(t, w.m.admin, "base:1", ballast.Metadata{}, files)
	w.m.store.Before(func(ctx context.Context, op objstoretest.Op, key string) {
		if op == objstoretest.OpCopy && strings.HasPrefix(key, "tenants/them/") {
			w.inside.Add(1)
			<-ctx.Done()
		}
	})
	var all sync.WaitGroup
	defer all.Wait()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	base := must(ballast.ParseRef("global::base:1"))
	for i := range 6 {
		name := must(ballast.ParseName(fmt.Sprintf("copy-%d", i)))
		all.Go(func() { _, _ = w.m.Copy(ctx, w.m.principal(t, w.them), base, ballast.CopyVersion{Name: name}) })
	}
	w.awaitInside()
	a := w.send("POST", "/v1/models/global::base/versions/1/copy", `{"name":"mine","version":"1"}`, "Authorization", "Bearer "+w.acme)
	if a.StatusCode == http.StatusAccepted {
		a = w.send("GET", a.Header.Get("Location")+"?wait=50s", "", "Authorization", "Bearer "+w.acme)
	}
	if !strings.Contains(string(a.body), `"status":"ready"`) {
		t.Errorf("acme's copy: %d %s", a.StatusCode, a.body)
	}
}
