package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// tlsFlags are the certificate that the API answers with.
type tlsFlags struct {
	Cert string `env:"BALLAST_TLS_CERT" type:"path" placeholder:"FILE" help:"Certificate chain of the API in PEM; with --tls-key the API speaks HTTPS. Read again when the file changes."`
	Key  string `env:"BALLAST_TLS_KEY" type:"path" placeholder:"FILE" help:"Key of --tls-cert in PEM."`
}

func (f tlsFlags) on() bool { return f.Cert != "" }

func (f tlsFlags) check() error {
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("--tls-cert and --tls-key go together: give both, or none for plain HTTP")
	}
	return nil
}

// scheme is how the API is spoken to.
func (f tlsFlags) scheme() string {
	if f.on() {
		return "https"
	}
	return "http"
}

// certLook is how often the files are looked at: a handshake may find them this old.
const certLook = time.Second

// certificate is a pair of files, read again when one of them has changed. A pair that does not fit, as between the
// renewal of one file and that of the other, is not taken: the one before goes on.
type certificate struct {
	files tlsFlags
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	pair   *tls.Certificate
	read   [2]fs.FileInfo // of the files when they were read last
	looked time.Time
	told   string // what was wrong with the files when it was said last
}

// openCertificate reads the pair. Errors: one that cannot be used, or is out of date.
func openCertificate(files tlsFlags, log *slog.Logger, now func() time.Time) (*certificate, error) {
	c := &certificate{files: files, log: log, now: now, looked: now()}
	var err error
	if c.read, err = c.stat(); err == nil {
		c.pair, err = c.load()
	}
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", files.Cert, files.Key, err)
	}
	return c, nil
}

func (c *certificate) stat() (found [2]fs.FileInfo, err error) {
	for i, path := range []string{c.files.Cert, c.files.Key} {
		if found[i], err = os.Stat(path); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (c *certificate) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, err
	}
	if until := pair.Leaf.NotAfter; c.now().After(until) {
		return nil, fmt.Errorf("the certificate ended on %s: renew it", until.Format(time.DateTime))
	}
	return &pair, nil
}

// get is for [tls.Config].
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.looked) >= certLook {
		c.looked = now
		c.renew()
	}
	return c.pair, nil
}

func (c *certificate) renew() {
	found, err := c.stat()
	if err == nil && same(found[0], c.read[0]) && same(found[1], c.read[1]) {
		return
	}
	var pair *tls.Certificate
	if err == nil {
		c.read = found
		pair, err = c.load()
	}
	if err != nil {
		if c.told != err.Error() {
			c.log.Warn("the certificate changed and cannot be used; the one before goes on", slog.Any(attrError, err))
			c.told = err.Error()
		}
		return
	}
	c.pair, c.told = pair, ""
	c.log.Info("took the new certificate", slog.Time("until", pair.Leaf.NotAfter))
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// secure makes the API's listener speak TLS, or says once that what others reach is in the clear.
func (s *serving) secure() (err error) {
	if !s.cmd.TLS.on() {
		warnOfPlain(s.log, cmp.Or(s.cmd.PublicURL, s.publicURL), s.api.Addr())
		return nil
	}
	s.certificate, err = openCertificate(s.cmd.TLS, s.log, time.Now)
	return err
}
