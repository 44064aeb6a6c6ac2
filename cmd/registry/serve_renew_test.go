package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/api"
)

// renewal is an API over TLS in this process, whose clock a test moves.
type renewal struct {
	address string
	log     *lockedLog
	now     atomic.Int64
}

// lockedLog is a log that is written while it is read.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func newRenewal(t *testing.T, files tlsFlags) *renewal {
	t.Helper()
	r := &renewal{log: &lockedLog{}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	began := time.Now()
	c, err := openCertificate(files, log, func() time.Time { return began.Add(time.Duration(r.now.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	srv := api.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), slog.New(slog.DiscardHandler))
	srv.TLSConfig = &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
	go func() { _ = answer(srv, l) }()
	t.Cleanup(func() { srv.Close() })
	return r
}

// shows is the certificate of a new connection, when the files may be looked at again.
func (r *renewal) shows(t *testing.T) *big.Int {
	t.Helper()
	r.now.Add(int64(certLook))
	return serves(t, r.address)
}

// TestRenewalKeepsConnections: those that are open go on, over either version of HTTP, and new ones see the new certificate.
func TestRenewalKeepsConnections(t *testing.T) {
	for _, name := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first := writePair(t, dir, time.Now().Add(time.Hour))
			r := newRenewal(t, first.tlsFlags)
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: name == "HTTP/2.0"} //nolint:gosec // it is looked at
			t.Cleanup(transport.CloseIdleConnections)
			ask := func(wantReused bool) {
				t.Helper()
				reused := false
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
				req, err := http.NewRequestWithContext(ctx, "GET", "https://"+r.address, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != "ok" || reused != wantReused || resp.Proto != name || resp.TLS.PeerCertificates[0].SerialNumber.Cmp(first.serial) != 0 {
					t.Errorf("%q, %v, reused %v, %s", body, err, reused, resp.Proto)
				}
			}
			ask(false)
			second := writePair(t, dir, time.Now().Add(time.Hour))
			if r.shows(t).Cmp(second.serial) != 0 {
				t.Error("a new connection sees the old certificate")
			}
			ask(true)
		})
	}
}

// TestHalfAPairIsNotTaken: the files are replaced one after the other, and between any two steps the pair before is shown.
func TestHalfAPairIsNotTaken(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	first := writePair(t, dir, time.Now().Add(time.Hour))
	r := newRenewal(t, first.tlsFlags)
	second := writePair(t, other, time.Now().Add(time.Hour))
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cert, key := read(second.Cert), read(second.Key)
	write := func(path string, b []byte) func() error {
		return func() error { return os.WriteFile(path, b, 0o600) }
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"half a certificate", write(first.Cert, cert[:len(cert)/2])},
		{"a certificate without its key", write(first.Cert, cert)},
		{"half a key", write(first.Key, key[:len(key)/2])},
		{"no key", func() error { return os.Remove(first.Key) }},
		{"an empty key", write(first.Key, nil)},
	} {
		warned := r.log.count("the one before goes on")
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if r.shows(t).Cmp(first.serial) != 0 {
				t.Errorf("%s is taken", step.name)
			}
		}
		if now := r.log.count("the one before goes on"); now != warned+1 {
			t.Errorf("%s is warned of %d times", step.name, now-warned)
		}
	}
	if err := os.WriteFile(first.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if r.shows(t).Cmp(second.serial) != 0 {
		t.Error("the whole pair is not taken")
	}
	if n := r.log.count("took the new certificate"); n != 1 {
		t.Errorf("taken %d times", n)
	}
}

// TestOneWarningOfPlainHTTP: a service that others reach says once, when it starts, that it is in the clear.
func TestOneWarningOfPlainHTTP(t *testing.T) {
	s := startService(t, serveCommand(t, t.TempDir(), "--listen", "0.0.0.0:0", "--public-url", "http://registry.example", "--s3-listen", "127.0.0.1:0", "--s3-public-endpoint", "http://store.example:9000"))
	for range 5 {
		if status, _ := get(t, s.after(t, "metrics  "), ""); status != http.StatusOK {
			t.Errorf("metrics: %d", status)
		}
	}
	s.stop(t)
	if n := strings.Count(s.stderr.String(), "in the clear"); n != 1 {
		t.Errorf("%d warnings: %s", n, s.stderr)
	}
}
