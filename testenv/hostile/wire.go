package hostile

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// patience bounds each exchange, on a machine that does much else.
const patience = time.Minute

// wire is one connection to a registry, on which requests go out as they are written: net/http would mend half of them.
type wire struct {
	host string
	conn net.Conn
	in   *bufio.Reader
}

// newWire is a wire to the registry at a URL. It connects when it is needed.
func newWire(base string) (*wire, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return &wire{host: u.Host}, nil
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

func (w *wire) dial() error {
	if w.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", w.host, patience)
	if err != nil {
		return err
	}
	w.conn, w.in = conn, bufio.NewReader(conn)
	return nil
}

// Answer is what came back: all that a caller can tell one answer from another by.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// exchange sends a request and reads its answer. A connection that the registry closed meanwhile is made anew, once.
func (w *wire) exchange(method, request string) (Answer, error) {
	fresh := w.conn == nil
	a, err := w.try(method, request)
	if err != nil && !fresh {
		a, err = w.try(method, request)
	}
	return a, err
}

func (w *wire) try(method, request string) (Answer, error) {
	if err := w.dial(); err != nil {
		return Answer{}, err
	}
	_ = w.conn.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(w.conn, request)
	var a Answer
	if err == nil {
		a, err = w.read(method)
	}
	if err != nil {
		w.close()
	}
	return a, err
}

// read reads one answer.
func (w *wire) read(method string) (Answer, error) {
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		return Answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.Close {
		w.close()
	}
	return Answer{resp.StatusCode, resp.Header, string(body)}, err
}

// write writes a request. Its path and its further header lines go out as they are.
func write(method, path, host, token, lines, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	b.WriteString(lines)
	if body != "" {
		if !strings.Contains(lines, "Content-Type:") {
			b.WriteString("Content-Type: application/json\r\n")
		}
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	} else if method != http.MethodGet && method != http.MethodHead {
		b.WriteString("Content-Length: 0\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.String()
}

// String writes an answer out without what is new in each: its time and the id of its request.
func (a Answer) String() string {
	header := a.Header.Clone()
	id := header.Get("X-Request-Id")
	header.Del("X-Request-Id")
	header.Del("Date")
	var b bytes.Buffer
	fmt.Fprintln(&b, a.Status)
	_ = header.Write(&b) // a buffer takes everything
	b.WriteString(a.Body)
	if id == "" {
		return b.String()
	}
	return strings.ReplaceAll(b.String(), id, "ID")
}
