package api

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is a connection of HTTP/2 that sends what it is told to, and no more.
type frames struct {
	*http2.Framer
	t    *testing.T
	conn *tls.Conn
	head bytes.Buffer
	enc  *hpack.Encoder
}

// listenTLS serves h as the service does over TLS, and opens a connection of HTTP/2 to it.
func listenTLS(t *testing.T, h http.Handler, shorten func(*http.Server)) (f *frames, settings map[http2.SettingID]uint32) {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(h, discard)
	if shorten != nil {
		shorten(srv.Config)
	}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // of a test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f = &frames{Framer: http2.NewFramer(conn, conn), t: t, conn: conn}
	f.enc = hpack.NewEncoder(&f.head)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	first, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings = map[http2.SettingID]uint32{}
	if err := first.(*http2.SettingsFrame).ForeachSetting(func(s http2.Setting) error { settings[s.ID] = s.Val; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	return f, settings
}

// ask opens a stream. Errors: the connection's, which the server may have ended.
func (f *frames) ask(stream uint32) error {
	f.head.Reset()
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", "/x"}} {
		if err := f.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			f.t.Fatal(err)
		}
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.head.Bytes(), EndStream: true, EndHeaders: true})
}

// busy is a handler that stays until it is released, and knows how many were in it at once.
type busy struct {
	now, most atomic.Int32
	release   chan struct{}
}

func (b *busy) ServeHTTP(http.ResponseWriter, *http.Request) {
	n := b.now.Add(1)
	defer b.now.Add(-1)
	for m := b.most.Load(); n > m && !b.most.CompareAndSwap(m, n); m = b.most.Load() {
	}
	<-b.release
}

// TestStreamsAreBounded: one connection of HTTP/2 makes no more than 128 requests at once, whatever it opens and gives up.
func TestStreamsAreBounded(t *testing.T) {
	t.Run("too many", func(t *testing.T) {
		b := &busy{release: make(chan struct{})}
		f, settings := listenTLS(t, b, nil)
		defer close(b.release)
		if settings[http2.SettingMaxConcurrentStreams] != maxStreams {
			t.Errorf("settings %v", settings)
		}
		if got := settings[http2.SettingMaxHeaderListSize]; got < maxHeaderBytes || got > 2*maxHeaderBytes {
			t.Errorf("headers of %d bytes", got)
		}
		for n := range uint32(maxStreams + 1) {
			if err := f.ask(2*n + 1); err != nil {
				t.Fatal(err)
			}
		}
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if refused, ok := frame.(*http2.RSTStreamFrame); ok {
				if refused.StreamID != 2*maxStreams+1 {
					t.Errorf("%v", refused)
				}
				break
			}
		}
		if b.most.Load() > maxStreams {
			t.Errorf("%d at once", b.most.Load())
		}
	})
	t.Run("given up at once", func(t *testing.T) {
		b := &busy{release: make(chan struct{})}
		f, _ := listenTLS(t, b, nil)
		defer close(b.release)
		var sending sync.WaitGroup
		sending.Go(func() {
			for n := range uint32(100 * maxStreams) {
				if errors.Join(f.ask(2*n+1), f.WriteRSTStream(2*n+1, http2.ErrCodeCancel)) != nil {
					return // the server has ended the connection, which is right
				}
			}
		})
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				break
			}
			if bye, ok := frame.(*http2.GoAwayFrame); ok {
				if bye.ErrCode != http2.ErrCodeEnhanceYourCalm {
					t.Errorf("%v", bye)
				}
				break
			}
		}
		f.conn.Close()
		sending.Wait()
		if b.most.Load() > maxStreams {
			t.Errorf("%d at once", b.most.Load())
		}
	})
	t.Run("an answer that nobody takes", func(t *testing.T) {
		ended := make(chan struct{})
		f, _ := listenTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			for piece := make([]byte, 64<<10); ; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}), func(s *http.Server) { s.WriteTimeout = 300 * time.Millisecond })
		if err := f.ask(1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended: // no window was ever opened further
		case <-time.After(time.Minute):
			t.Error("it is still being sent")
		}
	})
	t.Run("headers without end", func(t *testing.T) {
		f, _ := listenTLS(t, &busy{}, func(s *http.Server) { s.IdleTimeout = 2 * time.Second })
		f.head.Reset()
		_ = f.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head.Bytes()}); err != nil {
			t.Fatal(err)
		}
		f.ends(t)
	})
	t.Run("headers too large", func(t *testing.T) {
		f, _ := listenTLS(t, &busy{}, nil)
		f.head.Reset()
		_ = f.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.head.Bytes()}); err != nil {
			t.Fatal(err)
		}
		piece := make([]byte, 16<<10) // literal fields without an end of their own would do as well
		go func() {
			for f.WriteContinuation(1, false, piece) == nil {
			}
		}()
		f.ends(t)
	})
	t.Run("idle", func(t *testing.T) {
		f, _ := listenTLS(t, &busy{}, func(s *http.Server) { s.IdleTimeout = 2 * time.Second })
		f.ends(t)
	})
	t.Run("a peer that is gone", func(t *testing.T) {
		b := &busy{release: make(chan struct{})}
		f, _ := listenTLS(t, b, func(s *http.Server) {
			s.HTTP2.SendPingTimeout, s.HTTP2.PingTimeout = time.Second, time.Second
		})
		defer close(b.release)
		if err := f.ask(1); err != nil {
			t.Fatal(err)
		}
		f.ends(t) // nobody answers its pings
	})
}

// ends fails unless the server ends the connection.
func (f *frames) ends(t *testing.T) {
	t.Helper()
	for {
		_, err := f.ReadFrame()
		if timeout := interface{ Timeout() bool }(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("the connection is still open")
		}
		if err != nil {
			return
		}
	}
}
