package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/testenv"
	"github.com/ballast-registry/ballast/testenv/canary"
)

// pair is a certificate in files, for localhost, that is its own authority.
type pair struct {
	tlsFlags
	serial *big.Int
}

// writePair writes a new certificate into files of a folder.
func writePair(t *testing.T, dir string, until time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{tlsFlags{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}, big.NewInt(time.Now().UnixNano())}
	about := &x509.Certificate{SerialNumber: p.serial, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{p.Cert: {Type: "CERTIFICATE", Bytes: cert}, p.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// serves returns the serial of the certificate that a server shows.
func serves(t *testing.T, address string) *big.Int {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is looked at
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// TestServeTLS: the API speaks HTTPS, the command line trusts whom it is told to and says so when it is not, and a new
// certificate is taken while the service runs; one that does not fit its key is not.
func TestServeTLS(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	first := writePair(t, dir, time.Now().Add(time.Hour))
	s := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0", "--tls-cert", first.Cert, "--tls-key", first.Key))
	url := s.after(t, "export BALLAST_URL=")
	address, isTLS := strings.CutPrefix(url, "https://")
	if !isTLS {
		t.Fatalf("the API is at %s", url)
	}
	whoami := func(url string, more ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), testenv.Binary(t), "whoami")
		cmd.Env = append([]string{"HOME=" + t.TempDir(), "BALLAST_URL=" + url, "BALLAST_TOKEN=" + readToken(t, data)}, more...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if said, err := whoami(url, "SSL_CERT_FILE="+first.Cert); err != nil || !strings.Contains(said, "admin") {
		t.Errorf("with the authority: %v %s", err, said)
	}
	if said, err := whoami(url); err == nil || !strings.Contains(said, "SSL_CERT_FILE") {
		t.Errorf("without the authority: %v %s", err, said)
	}
	if said, err := whoami("http://" + address); err == nil || !strings.Contains(said, "https://") {
		t.Errorf("over plain HTTP: %v %s", err, said)
	}
	second := writePair(t, dir, time.Now().Add(time.Hour))
	for deadline := time.Now().Add(time.Minute); serves(t, address).Cmp(second.serial) != 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate was not taken")
		}
	}
	if err := os.WriteFile(second.Key, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * certLook)
	if serves(t, address).Cmp(second.serial) != 0 {
		t.Error("a broken key took the place of a good one")
	}
	s.stop(t)
	if said := s.stderr.String(); !strings.Contains(said, "took the new certificate") || !strings.Contains(said, "the one before goes on") || strings.Contains(said, "in the clear") {
		t.Errorf("said %s", said)
	}
}

func TestServeRefusesCertificates(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	good, ended := writePair(t, dir, time.Now().Add(time.Hour)), writePair(t, other, time.Now().Add(-time.Hour))
	for name, c := range map[string]struct {
		flags tlsFlags
		want  string
	}{
		"one alone":    {tlsFlags{Cert: good.Cert}, "--tls-cert and --tls-key go together"},
		"no such file": {tlsFlags{good.Cert, filepath.Join(dir, "none")}, "no such file"},
		"another key":  {tlsFlags{good.Cert, ended.Key}, "does not match"},
		"out of date":  {ended.tlsFlags, "renew it"},
	} {
		err := c.flags.check()
		if err == nil {
			_, err = openCertificate(c.flags, canary.Log(t, canary.Quiet), time.Now)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPlainHTTPIsWarnedOfOnce(t *testing.T) {
	for address, c := range map[string]struct {
		public string
		want   int
	}{
		"127.0.0.1:80": {"http://localhost", 0}, "[::1]:80": {"http://localhost", 0}, "0.0.0.0:80": {"http://registry", 1}, "[::]:80": {"https://registry", 0},
	} {
		var log bytes.Buffer
		at, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		warnOfPlain(slog.New(slog.NewTextHandler(&log, nil)), c.public, at)
		if got := strings.Count(log.String(), "in the clear"); got != c.want {
			t.Errorf("%s: %d warnings: %s", address, got, log.String())
		}
	}
}

// TestStrangeHostsAreRefusedOnLoopback: the name of the public URL is the registry's own.
func TestStrangeHostsAreRefusedOnLoopback(t *testing.T) {
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(free.Addr())
	free.Close()
	s := startService(t, serveCommand(t, t.TempDir(), "--s3-listen", "127.0.0.1:0", "--listen", "localhost:"+port, "--public-url", "http://registry.example:8080"))
	for host, want := range map[string]int{"localhost:" + port: 200, "127.0.0.1": 200, "[::1]:1": 200, "registry.example:8080": 200, "Registry.Example": 200, "evil.example:" + port: 400, "localhost.evil.example": 400, "169.254.169.254": 400} {
		for _, url := range []string{"http://localhost:" + port + "/healthz", s.after(t, "metrics  ")} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s as %s: %d, want %d", url, host, resp.StatusCode, want)
			}
		}
	}
	s.stop(t)
	if got := allowedHosts(&net.TCPAddr{IP: net.IPv4zero}, "http://registry"); got != nil {
		t.Errorf("an API that others reach knows %v only", got)
	}
}
