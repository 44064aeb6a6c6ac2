package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/engine"
)

type (
	ctx       = context.Context
	principal = engine.Principal
)

func TestRefusedBodies(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	for name, r := range map[string]struct {
		body   string
		header []string
		code   ballast.Code
	}{
		"empty":             {"", nil, ballast.CodeInvalid},
		"not JSON":          {"name=a", nil, ballast.CodeInvalid},
		"cut short":         {`{"name":"a"`, nil, ballast.CodeInvalid},
		"two values":        {`{"name":"a","attempt":"x"}{}`, nil, ballast.CodeInvalid},
		"unknown field":     {`{"name":"a","attempt":"x","verison":"1"}`, nil, ballast.CodeInvalid},
		"bad name":          {`{"name":"../a","attempt":"x"}`, nil, ballast.CodeInvalid},
		"deep":              {strings.Repeat("[", 20_000), nil, ballast.CodeInvalid},
		"no content type":   {`{}`, []string{"Content-Type", ""}, ballast.CodeInvalid},
		"form content type": {`{}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, ballast.CodeInvalid},
		"compressed":        {`{}`, []string{"Content-Encoding", "gzip"}, ballast.CodeInvalid},
		"over 4 MiB":        {`{"name":"` + strings.Repeat("a", ballast.MaxBodyBytes) + `"}`, nil, ballast.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			f.send("POST", "/v1/uploads", r.body, r.header...).problem(t, r.code)
		})
	}
	if s.last != nil {
		t.Errorf("a refused body reached the service: %v", s.last)
	}
	f.send("POST", "/v1/uploads", bodies["POST /v1/uploads"], "Content-Type", "application/json; charset=utf-8").wantStatus(t, http.StatusOK)
}

// TestShortBodies: what has no list takes the greatest metadata, however it is written, and not the bodies of lists, which
// cost twenty times as much when they are decoded.
func TestShortBodies(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	fits := `{"metadata":{"description":"` + strings.Repeat(`\u0061`, ballast.MaxMetadataBytes) + `"}}`
	f.send("PATCH", "/v1/models/m/versions/1", fits).wantStatus(t, http.StatusOK)
	s.last = nil
	many := `{"metadata":{` + strings.TrimSuffix(strings.Repeat(`"a":1,`, 100_000), ",") + `}}`
	f.send("PATCH", "/v1/models/m/versions/1", many).problem(t, ballast.CodeTooLarge)
	if s.last != nil {
		t.Errorf("a refused body reached the service: %v", s.last)
	}
	files := make([]string, 10_000)
	for i := range files {
		files[i] = fmt.Sprintf(`{"path":"%d","size":1,"sha256":"%064x"}`, i, i)
	}
	f.send("POST", "/v1/uploads/u1/commit", `{"files":[`+strings.Join(files, ",")+`]}`).wantStatus(t, http.StatusAccepted)
}

// refusesUploads has no upload for anybody.
type refusesUploads struct{ *stub }

func (refusesUploads) CheckUpload(ctx, principal, string) error {
	return ballast.Errorf(ballast.CodeNotFound, "no such upload")
}

// TestLongBodyOfStrangers: who may not write to an upload cannot make the service read megabytes for it.
func TestLongBodyOfStrangers(t *testing.T) {
	for _, path := range []string{"/v1/uploads/u1/commit", "/v1/uploads/u1/blobs"} {
		for service, wantAll := range map[Service]bool{refusesUploads{&stub{}}: false, &stub{}: true} {
			read := &counted{r: io.LimitReader(endless{}, ballast.MaxBodyBytes)}
			req := httptest.NewRequest("POST", path, read)
			req.Header.Set("Authorization", "Bearer "+goodToken)
			req.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			New(service, Options{}).ServeHTTP(answer, req)
			if all := read.n == ballast.MaxBodyBytes; all != wantAll || !wantAll && (read.n != 0 || answer.Code != http.StatusNotFound) {
				t.Errorf("%s: %d, %d bytes read", path, answer.Code, read.n)
			}
		}
	}
}

type counted struct {
	r io.Reader
	n int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

// TestChunkedBodyIsBounded: a body that announces no length is cut off all the same.
func TestChunkedBodyIsBounded(t *testing.T) {
	f := newFace(t, &stub{})
	body := io.MultiReader(strings.NewReader(`{"name":"`), io.LimitReader(endless{}, 2*ballast.MaxBodyBytes))
	req, _ := http.NewRequestWithContext(t.Context(), "POST", f.url+"/v1/uploads", body)
	req.Header.Set("Authorization", "Bearer "+goodToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// TestSlowBody: a client that sends headers and then nothing gets its answer when the server's read timeout is over.
func TestSlowBody(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(apitest.Validate(t, New(&stub{}, Options{})), discard)
	srv.Config.ReadTimeout = 50 * time.Millisecond
	srv.Start()
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{", goodToken)
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") || !strings.Contains(string(got), "did not arrive in time") {
		t.Errorf("%v: %s", err, got)
	}
}

func TestLongHeadersAreRefused(t *testing.T) {
	f := newFace(t, &stub{})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", f.url+"/healthz", nil)
	req.Header.Set("X-Long", strings.Repeat("a", 2*maxHeaderBytes))
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestWaitFitsTheTimeouts: net/http cancels a request's context when its read deadline passes, so the longest wait
// must end before it, and before the deadline of writing the answer.
func TestWaitFitsTheTimeouts(t *testing.T) {
	srv := NewServer(nil, discard)
	if srv.ReadTimeout <= maxWait || srv.WriteTimeout <= maxWait || srv.ReadHeaderTimeout == 0 || srv.IdleTimeout == 0 || srv.MaxHeaderBytes == 0 {
		t.Errorf("%+v", srv)
	}
}

func TestIfMatch(t *testing.T) {
	s := &stub{}
	f := newFace(t, s)
	const path = "/v1/models/llama/tiny/aliases/champion"
	a := f.send("PUT", path, `{"version":"1"}`, "If-Match", `"3"`).wantStatus(t, http.StatusOK)
	if a.Header.Get("ETag") != `"4"` {
		t.Errorf("ETag %s", a.Header.Get("ETag"))
	}
	if got := s.last[4].(*int64); got == nil || *got != 3 {
		t.Errorf("If-Match arrived as %v", got)
	}
	f.send("DELETE", path, "", "If-Match", `"3"`).wantStatus(t, http.StatusNoContent)
	if got := s.last[3].(*int64); got == nil || *got != 3 {
		t.Errorf("If-Match arrived as %v", got)
	}
	f.send("DELETE", path, "").wantStatus(t, http.StatusNoContent)
	if got := s.last[3].(*int64); got != nil {
		t.Errorf("no If-Match arrived as %d", *got)
	}
	for _, bad := range []string{"3", `W/"3"`, `"x"`, "*", `"1", "2"`, `"-1"`} {
		f.send("PUT", path, `{"version":"1"}`, "If-Match", bad).problem(t, ballast.CodeInvalid)
		f.send("DELETE", path, "", "If-Match", bad).problem(t, ballast.CodeInvalid)
	}
	f.send("PUT", path, `{}`).problem(t, ballast.CodeInvalid)
	f.send("PUT", "/v1/models/tiny/aliases/latest", `{"version":"1"}`).problem(t, ballast.CodeInvalid)
}
