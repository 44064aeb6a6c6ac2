package audit

import (
	"regexp"
	"strings"
)

// secrets are the forms that this registry's tokens, those of identity providers, and signatures of a store have.
var secrets = regexp.MustCompile(`(bal_[0-9A-Za-z]{10}_)[0-9A-Za-z]+|(eyJ)[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_.-]+|((?i:x-amz-(?:signature|credential|security-token)(?:=|%3d)))[^&\s"]+`)

// Redact returns a text of a client's with whatever looks like a token or a signature left out. Nobody sends one where
// this is used but by mistake, and then it must not be kept.
func Redact(s string) string {
	if !maySecret(s) {
		return s
	}
	return secrets.ReplaceAllString(s, "$1$2$3…")
}

// maySecret spares most texts the pattern.
func maySecret(s string) bool {
	return strings.Contains(s, "bal_") || strings.Contains(s, "eyJ") || strings.Contains(s, "=") || strings.Contains(s, "%3")
}
