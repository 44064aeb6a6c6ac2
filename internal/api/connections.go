package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Bounds of the connections that a listener keeps open. A proxy's are all from one address.
const (
	maxConnections      = 4096
	maxConnectionsOfOne = 1024 // address, of IPv6 64 bits of it
)

// BoundConnections returns a listener that closes a connection at once while 4,096 others are open, or 1,024 from the same
// address, and counts those on reg. It panics when that has a count of such connections already.
func BoundConnections(l net.Listener, reg prometheus.Registerer) net.Listener {
	refused := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "ballast_http_connections_refused_total",
		Help: "Connections to the API that were closed at once because too many were open, in all or from one address.",
	})
	reg.MustRegister(refused)
	return &boundListener{Listener: l, refused: refused, max: maxConnections, maxOfOne: maxConnectionsOfOne, of: map[netip.Prefix]int{}}
}

type boundListener struct {
	net.Listener
	refused       prometheus.Counter
	max, maxOfOne int

	mu  sync.Mutex
	all int
	of  map[netip.Prefix]int
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := networkOf(conn.RemoteAddr().String())
		if l.enter(from) {
			return &boundConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		l.refused.Inc()
		_ = conn.Close() // nothing was said yet
	}
}

func (l *boundListener) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.max || l.of[from] >= l.maxOfOne {
		return false
	}
	l.all++
	l.of[from]++
	return true
}

func (l *boundListener) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// boundConn is a connection that is counted until it is closed.
type boundConn struct {
	net.Conn
	leave func()
}

// CloseWrite is what net/http looks for so that a client hears why it is refused before its connection is reset.
func (c *boundConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// endAfterChunks ends the connection after a request whose body came in chunks. net/http takes one that states a length as
// well by its chunks; whatever stands between and takes it by its length must not find its next answer there.
func endAfterChunks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
