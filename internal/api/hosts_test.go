package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestHosts: what is allowed is a host whatever its port, case and form, and nothing else; it is the target's, where that
// has one, as net/http reads it.
func TestHosts(t *testing.T) {
	h := AllowHosts(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }), []string{"localhost", "127.0.0.1", "::1", "Registry.Example"})
	url := listen(t, h, nil)
	for request, allowed := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: localhost": true, "GET / HTTP/1.1\r\nHost: LOCALHOST:8080": true, "GET / HTTP/1.1\r\nHost: localhost.": true, "GET / HTTP/1.1\r\nHost: localhost.:80": true,
		"GET / HTTP/1.1\r\nHost: 127.0.0.1": true, "GET / HTTP/1.1\r\nHost: 127.0.0.1:1": true, "GET / HTTP/1.1\r\nHost: [::1]": true, "GET / HTTP/1.1\r\nHost: [::1]:8080": true,
		"GET / HTTP/1.1\r\nHost: [0:0:0:0:0:0:0:1]:1": true, "GET / HTTP/1.1\r\nHost: [::ffff:127.0.0.1]:1": true, "GET / HTTP/1.1\r\nHost: registry.EXAMPLE:443": true,
		"GET http://localhost:1/ HTTP/1.1\r\nHost: evil.example": true, "GET http://evil.example/ HTTP/1.1\r\nHost: localhost": false,
		"GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost": false, "GET //evil.example/ HTTP/1.1\r\nHost: localhost": true,

		"GET / HTTP/1.1\r\nHost: evil.example": false, "GET / HTTP/1.1\r\nHost: localhost.evil.example": false, "GET / HTTP/1.1\r\nHost: evil.example:localhost": false,
		"GET / HTTP/1.1\r\nHost: localhost:evil.example": false, "GET / HTTP/1.1\r\nHost: localhost..": false, "GET / HTTP/1.1\r\nHost: .localhost": false,
		"GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example": false, "GET / HTTP/1.1\r\nHost: 127.0.0.2": false, "GET / HTTP/1.1\r\nHost: 2130706433": false, "GET / HTTP/1.1\r\nHost: 127.1": false,
		"GET / HTTP/1.1\r\nHost: 0.0.0.0": false, "GET / HTTP/1.1\r\nHost: [::]": false, "GET / HTTP/1.1\r\nHost: [::2]:8080": false, "GET / HTTP/1.1\r\nHost: [::1].evil.example": false,
		"GET / HTTP/1.1\r\nHost:": false, "GET / HTTP/1.1": false, "GET / HTTP/1.0": false, "GET / HTTP/1.0\r\nHost: localhost": true, "GET / HTTP/1.0\r\nHost: evil.example": false,
		"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example": false, "GET / HTTP/1.1\r\nHost: evil.example\r\nHost: localhost": false,
		"GET / HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost": false, "GET / HTTP/1.1\r\nHost: evil.example\r\nForwarded: host=localhost": false,
		"GET / HTTP/1.1\r\nHost: localhost, evil.example": false, "GET / HTTP/1.1\r\nHost: localhost/evil": false, "GET / HTTP/1.1\r\nHost: localhost#": false,
		"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost": false,
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s\r\n\r\n", request)
		a, err := http.ReadResponse(bufio.NewReader(conn), nil)
		conn.Close()
		if err != nil {
			t.Errorf("%q: %v", request, err)
			continue
		}
		a.Body.Close()
		if want := map[bool]int{true: http.StatusTeapot, false: http.StatusBadRequest}[allowed]; a.StatusCode != want {
			t.Errorf("%q: %d, want %d", request, a.StatusCode, want)
		}
	}
}
