package e2e_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/hub/hubtest"
	"github.com/ballast-registry/ballast/testenv"
)

// counted stands before a service and counts the bytes that it sends and gets.
type counted struct {
	url       string
	sent, got atomic.Int64
}

// count starts one before the service at target, until the test ends.
func count(t *testing.T, target string) *counted {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c := &counted{url: "http://localhost:" + port}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(in, strings.TrimPrefix(target, "http://"))
		}
	}()
	return c
}

func (c *counted) pass(in net.Conn, target string) {
	defer in.Close()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer out.Close()
	var g sync.WaitGroup
	g.Go(func() {
		_, _ = io.Copy(io.MultiWriter(out, writerFunc(func(b []byte) { c.got.Add(int64(len(b))) })), in)
		_ = out.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(io.MultiWriter(in, writerFunc(func(b []byte) { c.sent.Add(int64(len(b))) })), out)
	in.Close()
	g.Wait()
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// direct is the address that the service itself listens on.
func (r *registry) direct(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(r.said, "export BALLAST_URL=")
	url, _, ok := strings.Cut(rest, "\n")
	if !ok {
		t.Fatalf("no address in %s", r.said)
	}
	return url
}

// TestHubBytesComeFromTheStore: the Python client's requests fetch a model, and go on from 30 % of a file, while the
// service sends no more than what it says about it; a small file, which does pass it, shows that the count counts.
func TestHubBytesComeFromTheStore(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testenv.Store) {
		r := serve(t, s, t.TempDir())
		large, small := random(3*ballast.MinPartSize), random(200_000)
		_ = must[client.PushResult](t)(r.as(t, "acme=writer").Push(t.Context(), client.PushOptions{
			Path: folder(t, map[string][]byte{"model.safetensors": large, "tokenizer.json": small}), Target: ref("acme/tiny:1"), AttemptDir: t.TempDir(), PartSize: ballast.MinPartSize,
		}))
		c := count(t, r.direct(t))
		python := &hubtest.Python{Endpoint: c.url, Token: "hf_" + string(r.token(t, "acme=reader"))}
		got, m, err := python.Download(t.Context(), "acme/tiny", "main", "model.safetensors")
		check(t, err)
		if !bytes.Equal(got, large) {
			t.Errorf("%d bytes, want %d", len(got), len(large))
		}
		got = must[[]byte](t)(python.Resume(t.Context(), m, got[:3*len(got)/10:3*len(got)/10]))
		if !bytes.Equal(got, large) {
			t.Errorf("resumed: %d bytes, want %d", len(got), len(large))
		}
		sent := c.sent.Load()
		t.Logf("the service sent %d bytes for 1.7 × %d", sent, len(large))
		if sent == 0 || sent > 10_000 {
			t.Errorf("the service sent %d bytes about a file of %d", sent, len(large))
		}
		files := must[map[string][]byte](t)(python.Snapshot(t.Context(), "acme/tiny", "1", false))
		if !bytes.Equal(files["tokenizer.json"], small) || !bytes.Equal(files["model.safetensors"], large) {
			t.Error("the snapshot is of other bytes")
		}
		if now := c.sent.Load() - sent; now < int64(len(small)) || now > int64(len(small))+20_000 {
			t.Errorf("the service sent %d bytes with a snapshot, of which %d are a small file", now, len(small))
		}
	})
}
