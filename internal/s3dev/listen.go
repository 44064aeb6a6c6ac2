package s3dev

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// ports is how many ports, the wanted one included, a movable address may try.
const ports = 100

// freeAddress returns an address that nobody listened on a moment ago: listen itself, its next free neighbour when
// movable, or a free port for port 0. It answers syscall.EADDRINUSE when there is none. Somebody else may still be
// quicker, so the caller binds it at once and asks again when that fails.
func freeAddress(listen string, movable bool) (string, error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listen address %q: %w", listen, err)
	}
	first, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", fmt.Errorf("listen address %q: the port must be a number up to 65535", listen)
	}
	last := first
	if movable {
		last = min(first+ports-1, 65535)
	}
	for port := first; port <= last; port++ {
		address := net.JoinHostPort(host, strconv.FormatUint(port, 10))
		ln, err := net.Listen("tcp", address)
		if err == nil {
			_, bound, _ := net.SplitHostPort(ln.Addr().String())
			return net.JoinHostPort(host, bound), ln.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s: %w", listen, syscall.EADDRINUSE)
}

// reachable turns an address that listens on every interface into one to connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
