package push_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/testenv"
)

// Bytes that somebody else has sent meanwhile do not travel: the client waits for the store's leave, and the store says 412
// instead. Where nobody was faster they travel once. The embedded store gives its leave before it has looked, and answers
// 412 when some of the bytes are on their way.
func TestBytesThatAreThereDoNotTravel(t *testing.T) {
	t.Parallel()
	testenv.Each(t, func(t *testing.T, s *testenv.Store) {
		t.Parallel()
		const size = 8 << 20
		wire := testenv.NewWire(t, s.Endpoint)
		w := &world{t: t, service: serve(t, s, wire.URL), dir: t.TempDir()}
		content := bytes.Repeat([]byte("weights "), size/8)
		check(t, os.WriteFile(filepath.Join(w.dir, "a.bin"), content, 0o600))
		faster, most := 0, int64(0)
		if s.Name == "embedded" {
			most = size
		}
		registry := testenv.NewProxy(t, w.registry())
		registry.Add(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/blobs") }, -1, func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			var said ballast.BlobsResponse
			if err := json.Unmarshal(answer.Body.Bytes(), &said); err != nil {
				t.Errorf("%s: %v", answer.Body, err)
			}
			for _, b := range said.Blobs {
				if b.Request != nil && b.Size == size {
					if err := straight(s, *b.Request, content); err != nil {
						t.Error(err)
					}
					faster++
				}
			}
			for name, values := range answer.Header() {
				rw.Header()[name] = values
			}
			rw.WriteHeader(answer.Code)
			_, _ = rw.Write(answer.Body.Bytes())
		})
		w.env = append(w.env, "BALLAST_URL="+strings.Replace(registry.URL, "127.0.0.1", "localhost", 1))

		w.run("push", w.dir, "global::m::1").want(t, 0)
		connections, wasted := wire.Sent()
		if connections != 1 || faster != 1 || wasted > most {
			t.Errorf("%d connections, %d bytes of bodies; somebody was faster %d times", connections, wasted, faster)
		}
		t.Logf("%d bytes of a body travelled that were there", wasted)

		registry.Clear()
		check(t, os.WriteFile(filepath.Join(w.dir, "a.bin"), content[:size-1], 0o600))
		w.run("push", w.dir, "global::m::2").want(t, 0)
		if connections, sent := wire.Sent(); connections != 2 || sent-wasted != size-1 {
			t.Errorf("with the second push %d connections, %d bytes of bodies more", connections, sent-wasted)
		}
	})
}

// registry is the service's address.
func (r *service) registry() string {
	for _, v := range r.env {
		if at, ok := strings.CutPrefix(v, "BALLAST_URL="); ok {
			return at
		}
	}
	return ""
}

// straight sends a signed request to the store itself, past what stands before it.
func straight(s *testenv.Store, sr ballast.SignedRequest, content []byte) error {
	u, err := url.Parse(sr.URL)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(sr.Method, sr.URL, bytes.NewReader(content))
	if err != nil {
		return err
	}
	req.URL.Host, req.Host = s.Host(), u.Host
	for name, value := range sr.Headers {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the faster one got %s", res.Status)
	}
	return nil
}
