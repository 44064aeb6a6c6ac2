package ballast

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// AuditAction says what an entry of the audit is about: one of these, or the kind of an event.
type AuditAction string

// The actions that are no change.
const (
	AuditRead    AuditAction = "bytes.read"      // bytes of a version were asked for: signed GETs, or what the service itself sends
	AuditWrite   AuditAction = "bytes.write"     // signed PUTs were asked for
	AuditAuth    AuditAction = "auth.refused"    // nobody was let in
	AuditRefused AuditAction = "request.refused" // any other request that the caller may not make
	AuditLost    AuditAction = "lines.lost"      // here the file lacks lines: Lost of them
)

// AuditActions returns every action, those of changes included, sorted.
func AuditActions() []AuditAction {
	all := []AuditAction{AuditRead, AuditWrite, AuditAuth, AuditRefused, AuditLost}
	for _, k := range EventKinds() {
		all = append(all, AuditAction(k))
	}
	slices.Sort(all)
	return all
}

// CheckAuditAction refuses what is neither an action nor the first word of some, as bytes is. Errors: invalid.
func CheckAuditAction(s string) error {
	var words []string
	for _, a := range AuditActions() {
		word, _, _ := strings.Cut(string(a), ".")
		if s == string(a) || s == word {
			return nil
		}
		words = append(words, string(a))
	}
	return Errorf(CodeInvalid, "action %s: use one of %s, or the first word of some, as in bytes", quote(s), strings.Join(words, ", "))
}

// AuditEntry is one line of the audit: who asked for what, when, from where, and what became of it. The files of the
// audit hold it as it is here, one a line; a change is an event, and comes with the same fields. It holds no token and no
// signature.
type AuditEntry struct {
	At        Time          `json:"at"`
	Action    AuditAction   `json:"action"`
	By        string        `json:"by,omitempty"`         // name@scope; left out when nobody was let in
	Principal string        `json:"principal,omitempty"`  // id of the token, or of whom another issuer names; a change has none
	Scope     Scope         `json:"scope,omitzero"`       // where what was asked for is; if nothing was found, the caller's own
	Key       string        `json:"key,omitempty"`        // of the version that the reference meant
	Name      Name          `json:"name,omitzero"`        // of the model that was asked for, where no version was found
	Path      string        `json:"path,omitempty"`       // of the file, when one was asked for
	Digest    digest.Digest `json:"digest,omitempty"`     // of the blob, when one may be written
	URLs      int           `json:"urls,omitempty"`       // signed requests in the answer
	Bytes     int64         `json:"bytes,omitempty"`      // what these stand for, or the service itself sent
	Request   string        `json:"request,omitempty"`    // method and path, without the query
	Status    int           `json:"status,omitempty"`     // of the answer
	Code      Code          `json:"code,omitempty"`       // of a refusal
	Remote    string        `json:"remote,omitempty"`     // address of the client, or of the proxy before the service
	RequestID string        `json:"request_id,omitempty"` // as the log has it
	Agent     string        `json:"agent,omitempty"`      // what the client calls itself, cut
	More      int64         `json:"more,omitempty"`       // auth.refused, and code rate_limited: further ones before this that have no line
	Lost      int64         `json:"lost,omitempty"`       // lines.lost
	Change    *Event        `json:"change,omitempty"`     // what an event says beside
}

// AuditPage is one page of GET /v1/audit, the newest entry first. It may be short, even empty; only a missing cursor ends
// the list.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	// Requests says that byte requests and refusals are kept here, and not only changes.
	Requests bool `json:"requests"`
	// Unreadable lines were passed over for this page. Only an admin of global is told.
	Unreadable int64  `json:"unreadable,omitempty"`
	Cursor     string `json:"cursor,omitempty"`
}
