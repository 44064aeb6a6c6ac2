package testenv

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Wire is a way to a server that passes every byte on as it comes, and counts what clients send. Unlike a Proxy it asks for
// no body by itself: whether one travels is between client and server.
type Wire struct {
	URL string // http://127.0.0.1:port

	mu          sync.Mutex
	connections int
	bodies      int64
}

// NewWire lays one to the server at target, until the test ends.
func NewWire(t testing.TB, target string) *Wire {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{URL: "http://" + listener.Addr().String()}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { w.pass(conn, u.Host) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); open.Wait() })
	return w
}

// Sent is how many connections there were, and how many bytes clients sent on them behind the head of the first request.
func (w *Wire) Sent() (connections int, bodies int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.connections, w.bodies
}

// pass connects a client to the server until one of them ends it.
func (w *Wire) pass(client net.Conn, host string) {
	defer client.Close()
	server, err := net.Dial("tcp", host)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	w.connections++
	w.mu.Unlock()
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(server, io.TeeReader(client, &pastHead{w: w}))
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close() // ends the other direction
	<-up
}

// pastHead counts what comes behind an empty line.
type pastHead struct {
	w    *Wire
	head []byte
	past bool
}

// Write implements io.Writer.
func (h *pastHead) Write(p []byte) (int, error) {
	n := len(p)
	if !h.past {
		h.head = append(h.head, p...)
		var body []byte
		_, body, h.past = bytes.Cut(h.head, []byte("\r\n\r\n"))
		n = len(body)
		if !h.past {
			n = 0
		}
	}
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.bodies += int64(n)
	return len(p), nil
}
