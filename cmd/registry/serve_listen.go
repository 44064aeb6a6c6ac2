package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Addresses that move to the next free port when they are taken, since nobody asked for them.
const (
	defaultListen  = "localhost:8080"
	defaultMetrics = "localhost:9464"
	metricsOff     = "off"
)

func (c *serveCmd) listen() string { return cmp.Or(c.Listen, defaultListen) }

// listen takes the addresses of the API and of the metrics.
func (s *serving) listen(ctx context.Context) (err error) {
	if s.api, err = s.take(ctx, "--listen", s.cmd.Listen, defaultListen); err != nil {
		return err
	}
	s.publicURL = cmp.Or(s.cmd.PublicURL, urlOf(s.cmd.TLS.scheme(), s.cmd.listen(), s.api.Addr()))
	if s.cmd.MetricsListen == metricsOff {
		return nil
	}
	s.metrics, err = s.take(ctx, "--metrics-listen", s.cmd.MetricsListen, defaultMetrics)
	return err
}

// take listens on the address that was asked for, or on the default one or a port near it.
func (s *serving) take(ctx context.Context, flag, asked, standard string) (net.Listener, error) {
	l, err := listenNear(ctx, cmp.Or(asked, standard), asked == "")
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: another program listens there; give another port", flag, cmp.Or(asked, standard))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, cmp.Or(asked, standard), err)
	}
	s.onClose(l.Close)
	if asked == "" {
		warnIfMoved(s.log, flag, standard, l.Addr().String())
	}
	return l, nil
}

// warnIfMoved says that a default address was taken.
func warnIfMoved(log *slog.Logger, flag, standard, bound string) {
	_, want, _ := net.SplitHostPort(standard)
	if _, got, _ := net.SplitHostPort(bound); got != want {
		log.Warn(flag+": "+standard+" is taken, so the next free port is used", slog.String(attrAddress, bound))
	}
}

// portsToTry is how many ports a movable address may try, its own included.
const portsToTry = 100

func listenNear(ctx context.Context, address string, movable bool) (net.Listener, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	first, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q is not a number up to 65535", text)
	}
	last := first
	if movable {
		last = min(first+portsToTry-1, 65535)
	}
	var lc net.ListenConfig
	for port := first; ; port++ {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.FormatUint(port, 10)))
		if err == nil || port == last || !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// urlOf is where clients reach what was asked to listen on address and got bound. An address that stands for every
// interface is shown as the machine's name.
func urlOf(scheme, address string, bound net.Addr) string {
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	return scheme + "://" + net.JoinHostPort(host, portOf(bound))
}
