package main

import (
	"log/slog"
	"net"
	"net/url"
	"strings"
)

// warnOfPlain says that tokens travel in the clear, unless nobody else can listen in: the API is on loopback, or its
// public URL shows that something before it speaks TLS.
func warnOfPlain(log *slog.Logger, publicURL string, at net.Addr) {
	host, _, _ := net.SplitHostPort(at.String())
	if isLoopback(host) || strings.HasPrefix(publicURL, "https://") {
		return
	}
	log.Warn("other machines reach the API over plain HTTP, and tokens and files' URLs travel in the clear: give --tls-cert and --tls-key, or put what speaks TLS before it and give --public-url https://…",
		slog.String(attrAddress, at.String()))
}

// allowedHosts are what a request to what listens on loopback may call its host; nil lets any pass. A page in a browser can make
// a name of its own resolve to 127.0.0.1, and would else speak to the registry, and read its metrics, as if it had come from it. Behind a proxy
// the name is that of the public URL.
func allowedHosts(at net.Addr, publicURL string) []string {
	host, _, _ := net.SplitHostPort(at.String())
	if !isLoopback(host) {
		return nil
	}
	hosts := []string{"localhost", "127.0.0.1", "::1", host}
	if u, err := url.Parse(publicURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	return hosts
}
