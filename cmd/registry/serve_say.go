package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ballast-registry/ballast/internal/objstore"
)

// announce says where everything is, in lines to read and to paste. It never shows a secret.
func (s *serving) announce() error {
	var b strings.Builder
	fmt.Fprintf(&b, "ballast %s serves %s\n", version, s.publicURL)
	fmt.Fprintf(&b, "  data     %s\n", s.data)
	fmt.Fprintf(&b, "  store    %s\n", describeStore(s.store, s.embedded != nil))
	if s.embedded != nil {
		fmt.Fprintf(&b, "           AWS_SHARED_CREDENTIALS_FILE=%s aws --endpoint-url %s --region %s s3 ls --recursive s3://%s/\n",
			shellQuote(s.embedded.CredentialsFile), s.embedded.Endpoint, s.embedded.Region, s.embedded.Bucket)
	}
	if s.metrics != nil {
		fmt.Fprintf(&b, "  metrics  http://%s/metrics\n", s.metrics.Addr())
	}
	fmt.Fprintf(&b, "\n  export BALLAST_URL=%s\n", s.publicURL)
	token := filepath.Join(s.data, tokenFile)
	if _, err := os.Stat(token); err == nil {
		fmt.Fprintf(&b, "  export BALLAST_TOKEN=$(cat %s)\n", shellQuote(token))
	}
	to := s.app.stdout
	if s.cmd.Audit.Log == auditStdout { // there each line is JSON
		to = s.app.stderr
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func describeStore(cfg objstore.Config, embedded bool) string {
	text := fmt.Sprintf("%s, bucket %s", cmp.Or(cfg.Endpoint, "AWS"), cfg.Bucket)
	if cfg.Prefix != "" {
		text += ", prefix " + cfg.Prefix
	}
	if embedded {
		text += " (embedded)"
	}
	if cfg.PublicEndpoint != "" && cfg.PublicEndpoint != cfg.Endpoint {
		text += "; clients reach it at " + cfg.PublicEndpoint
	}
	return text
}

// shellQuote writes s so that a shell reads it back as one word.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
