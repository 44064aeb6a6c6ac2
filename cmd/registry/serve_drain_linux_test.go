package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/testenv"
)

// sendSlowly sends the first half of content with a request, and the rest once more is closed.
func sendSlowly(t *testing.T, r *ballast.SignedRequest, content string, more <-chan struct{}) (status <-chan int) {
	t.Helper()
	body, writer := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	req.ContentLength = int64(len(content))
	done, begun := make(chan int, 1), make(chan struct{})
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	go func() {
		_, _ = io.WriteString(writer, content[:len(content)/2])
		close(begun)
		<-more
		_, _ = io.WriteString(writer, content[len(content)/2:])
		writer.Close()
	}()
	<-begun
	return done
}

// TestDrain: told to stop, the service is not ready any more, answers who waits, finishes what it answers and ends. A transfer to the
// store goes on without it, and neither that upload nor a commit that was on its way is lost.
func TestDrain(t *testing.T) {
	store := testenv.MinIO(t)
	data, credentials := t.TempDir(), "AWS_SHARED_CREDENTIALS_FILE="+store.Credentials(t)
	start := func() (*service, *client.Client) {
		cmd := serveCommand(t, data, append(store.ServeFlags(), "--drain-timeout", "2m")...)
		cmd.Env = append(cmd.Env, credentials)
		s := startService(t, cmd)
		c, err := client.New(client.Options{URL: s.after(t, "export BALLAST_URL="), Token: client.Token(readToken(t, data))})
		if err != nil {
			t.Fatal(err)
		}
		return s, c
	}
	s, c := start()
	ctx, content := t.Context(), strings.Repeat("w", 1<<20)
	digest := ballast.DigestOf([]byte(content))
	u, answer := begin(t, c, digest, len(content))
	more := make(chan struct{})
	status := sendSlowly(t, answer.Blobs[0].Request, content, more)

	held, waiting := make(chan error, 1), time.Now()
	go func() {
		_, err := c.Upload(ctx, u.ID, 30*time.Second)
		held <- err
	}()
	url, rest := s.after(t, "export BALLAST_URL="), make(chan struct{})
	created := sendSlowly(t, &ballast.SignedRequest{
		Method: http.MethodPost, URL: url + "/v1/uploads",
		Headers: map[string]string{"Authorization": "Bearer " + readToken(t, data), "Content-Type": "application/json"},
	}, `{"scope":"global","name":"slow","attempt":"fedcba9876543210"}`, rest)
	eventually(t, "two requests are in flight", func() bool {
		return strings.Contains(metricsOf(t, s), "ballast_http_in_flight_requests 2")
	})
	if status, body := get(t, url+"/readyz", ""); status != http.StatusOK {
		t.Fatalf("before it is told to stop: %d %s", status, body)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service is not ready any more", func() bool {
		status, body := get(t, url+"/readyz", "")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "stopping")
	})
	if err := <-held; err != nil || time.Since(waiting) >= 30*time.Second {
		t.Errorf("who waited got %v after %s", err, time.Since(waiting))
	}
	close(rest)
	if got := <-created; got != http.StatusCreated {
		t.Errorf("the request that was in flight got %d", got)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, s.stderr)
	}
	close(more)
	if got := <-status; got != http.StatusOK {
		t.Errorf("the transfer that went on got %d", got)
	}

	s, c = start()
	committed := make(chan struct{})
	in := ballast.CommitRequest{Files: []ballast.File{{Path: "w.bin", Size: int64(len(content)), Digest: digest}}}
	go func() {
		defer close(committed)
		_, _ = c.Commit(ctx, u.ID, in) // it may be cut: what became of it is asked for
	}()
	s.stop(t)
	<-committed
	s, c = start()
	finish(t, c, u.ID, in)
	s.stop(t)
}

// eventually waits for what has to come.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

func metricsOf(t *testing.T, s *service) string {
	t.Helper()
	status, body := get(t, s.after(t, "metrics  "), "")
	if status != http.StatusOK {
		t.Fatalf("metrics: %d %s", status, body)
	}
	return body
}

// TestDiskNearlyFull: before the disk is full, changes are refused in words and readiness ends; reads go on, and so does all once
// there is room.
func TestDiskNearlyFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk takes root")
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(data, unix.MNT_DETACH) })
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0", "--min-free", "16MiB"))
	url, token := s.url(t), readToken(t, data)
	create := func() (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/uploads", strings.NewReader(`{"scope":"global","name":"m","attempt":"0123456789abcdef"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := get(t, url+"/readyz", ""); status != http.StatusOK {
		t.Fatalf("control: %d %s", status, body)
	}
	full := filepath.Join(data, "full")
	f, err := os.Create(full)
	if err != nil {
		t.Fatal(err)
	}
	free, err := freeBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, free-8<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if status, body := get(t, url+"/readyz", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "nearly full") {
		t.Errorf("ready: %d %s", status, body)
	}
	if status, body := create(); status != http.StatusServiceUnavailable || !strings.Contains(body, `"unavailable"`) || !strings.Contains(body, "--min-free is 16 MiB") {
		t.Errorf("a change: %d %s", status, body)
	}
	if status, body := get(t, url+"/v1/models", token); status != http.StatusOK {
		t.Errorf("a read: %d %s", status, body)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if status, body := create(); status != http.StatusCreated {
		t.Errorf("with room again: %d %s", status, body)
	}
	s.stop(t)
}

// TestRunningFlags: what cannot be is refused.
func TestRunningFlags(t *testing.T) {
	for _, c := range []serveCmd{{DrainTimeout: time.Millisecond, MinFree: "1"}, {DrainTimeout: 2 * time.Hour, MinFree: "1"}, {DrainTimeout: time.Second, MinFree: "x"}} {
		if c.checkRunning() == nil {
			t.Errorf("%s and %q are taken", c.DrainTimeout, c.MinFree)
		}
	}
}

// TestKilledWhileDraining: a kill while the service ends loses nothing that was answered, and the commit that it cut is taken up.
func TestKilledWhileDraining(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	start := func() (*service, *client.Client) {
		s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
		c, err := client.New(client.Options{URL: s.after(t, "export BALLAST_URL="), Token: client.Token(readToken(t, data))})
		if err != nil {
			t.Fatal(err)
		}
		return s, c
	}
	s, c := start()
	ctx, content := t.Context(), strings.Repeat("w", 1<<20)
	digest := ballast.DigestOf([]byte(content))
	u, answer := begin(t, c, digest, len(content))
	more := make(chan struct{})
	close(more)
	if got := <-sendSlowly(t, answer.Blobs[0].Request, content, more); got != http.StatusOK {
		t.Fatalf("the bytes got %d", got)
	}
	in := ballast.CommitRequest{Files: []ballast.File{{Path: "w.bin", Size: int64(len(content)), Digest: digest}}}
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, _ = c.Commit(short, u.ID, in) // it may be cut
	}()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	<-cut
	s, c = start()
	finish(t, c, u.ID, in)
	s.stop(t)
}

// begin opens an upload of one blob, and asks for what to send.
func begin(t *testing.T, c *client.Client, content digest.Digest, size int) (ballast.Upload, ballast.BlobsResponse) {
	t.Helper()
	name, err := ballast.ParseName("m")
	if err != nil {
		t.Fatal(err)
	}
	u, err := c.CreateUpload(t.Context(), ballast.CreateUpload{Scope: ballast.Global, Name: name, Attempt: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Blobs(t.Context(), u.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: content, Size: int64(size)}}})
	if err != nil {
		t.Fatal(err)
	}
	return u, answer
}

// finish commits an upload and waits for its end.
func finish(t *testing.T, c *client.Client, id string, in ballast.CommitRequest) {
	t.Helper()
	u, err := c.Commit(t.Context(), id, in)
	if err == nil && u.Status != ballast.UploadDone {
		u, err = c.Upload(t.Context(), id, 30*time.Second)
	}
	if err != nil || u.Status != ballast.UploadDone {
		t.Errorf("the upload is %+v, %v", u, err)
	}
}
