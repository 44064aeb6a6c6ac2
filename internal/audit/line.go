package audit

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/ballast-registry/ballast"
)

// Request is what a face knows of a request and its answer.
type Request struct {
	Method, Path string // without the query, which may be a signature
	Principal    string // id; empty when nobody was let in
	Anonymous    bool   // anybody may be who was let in
	Name         string // of the principal
	Home         ballast.Scope
	Status       int
	Code         ballast.Code // of a refusal
	Remote       string
	ID           string
	Agent        string
}

// Bounds of one line, in bytes of text.
const (
	maxPath  = 1024
	maxAgent = 200
)

// timeForm is that of ballast.Time, quoted; appendTime writes it.
const timeForm = `"2006-01-02T15:04:05.000000Z"`

// actionOf says what a request is to the audit; "" is nothing.
func actionOf(n noted, r Request) ballast.AuditAction {
	switch {
	case r.Code == ballast.CodeUnauthenticated:
		return ballast.AuditAuth
	case r.Method == http.MethodHead: // has neither bytes nor a URL, and changes nothing
		return ""
	case n.action != "":
		return n.action
	}
	switch r.Code {
	case ballast.CodeDenied, ballast.CodeQuotaExceeded, ballast.CodeRateLimited:
		return ballast.AuditRefused
	case ballast.CodeNotFound, ballast.CodeRetired: // a version that is gone, or another's: a pull asks for it before its bytes
		if r.Principal != "" && (r.Method != http.MethodGet || !n.name.IsZero()) {
			return ballast.AuditRefused
		}
	}
	return ""
}

// crowds says of which lines anybody may make as many as the network carries: those have a rate.
func crowds(action ballast.AuditAction, r Request) bool {
	return action == ballast.AuditAuth || r.Code == ballast.CodeRateLimited || r.Anonymous && r.Code != ""
}

// appendLine appends a line as encoding/json writes a ballast.AuditEntry, which takes far longer: every byte request of
// the registry pays for it.
func appendLine(b []byte, at time.Time, action ballast.AuditAction, n noted, r Request, more int64) []byte {
	b = append(b, `{"at":`...)
	b = appendTime(b, at)
	b = appendField(b, "action", string(action))
	if r.Principal != "" {
		b = append(b, `,"by":"`...)
		b = appendText(b, r.Name)
		b = append(b, '@')
		b = append(appendText(b, r.Home.String()), '"')
	}
	b = appendField(b, "principal", r.Principal)
	if n.scope.IsZero() {
		n.scope = r.Home
	}
	b = appendField(b, "scope", n.scope.String())
	b = appendField(b, "key", Redact(n.key))
	if n.key == "" {
		b = appendField(b, "name", Redact(n.name.String()))
	}
	b = appendField(b, "path", Cut(Redact(n.path), maxPath))
	b = appendField(b, "digest", n.digest.String())
	if r.Status < http.StatusBadRequest && r.Status != http.StatusNotModified {
		b = appendNumber(b, "urls", int64(n.urls))
		b = appendNumber(b, "bytes", n.bytes)
	}
	b = appendField(b, "request", Cut(Redact(r.Method+" "+r.Path), maxPath))
	b = appendNumber(b, "status", int64(r.Status))
	b = appendField(b, "code", string(r.Code))
	b = appendField(b, "remote", r.Remote)
	b = appendField(b, "request_id", r.ID)
	b = appendField(b, "agent", Cut(Redact(r.Agent), maxAgent))
	b = appendNumber(b, "more", more)
	return append(b, "}\n"...)
}

// appendLost appends the line that stands where lines are missing.
func appendLost(b []byte, at time.Time, lost int64) []byte {
	b = appendTime(append(b, `{"at":`...), at)
	b = appendField(b, "action", string(ballast.AuditLost))
	b = appendNumber(b, "lost", lost)
	return append(b, "}\n"...)
}

// appendTime appends a time in timeForm. Package time reads a form of one's own anew for each time.
func appendTime(b []byte, at time.Time) []byte {
	at = at.UTC()
	year, month, day := at.Date()
	hour, minute, second := at.Clock()
	b = append(b, '"')
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = append(appendDigits(b, second, 2), '.')
	return append(appendDigits(b, at.Nanosecond()/1000, 6), 'Z', '"')
}

// appendDigits appends a number with as many digits as are asked for.
func appendDigits(b []byte, n, digits int) []byte {
	b = append(b, "000000"[:digits]...)
	for i := len(b) - 1; n > 0 && digits > 0; i, digits = i-1, digits-1 {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	return append(appendText(b, value), '"')
}

func appendNumber(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

// appendText appends the inside of a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			text, err := json.Marshal(s)
			if err != nil {
				return b // a string can be encoded
			}
			return append(b, text[1:len(text)-1]...)
		}
	}
	return append(b, s...)
}

// Cut shortens a text to at most n bytes.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const dots = "…"
	n -= len(dots)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + dots
}
