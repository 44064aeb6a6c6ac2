package hub

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/ballast-registry/ballast"
)

// Headers that clients read.
const (
	headerCode       = "X-Error-Code"
	headerMessage    = "X-Error-Message"
	headerWarning    = "X-Hf-Warning"
	headerCommit     = "X-Repo-Commit"
	headerLinkedETag = "X-Linked-Etag"
	headerLinkedSize = "X-Linked-Size"
	headerLink       = "Link"
	headerTotal      = "X-Total-Count"
	headerRateLimit  = "RateLimit"
)

// The codes of X-Error-Code, by which clients tell one refusal from another.
const (
	repoNotFound     = "RepoNotFound"
	revisionNotFound = "RevisionNotFound"
	entryNotFound    = "EntryNotFound"
	gatedRepo        = "GatedRepo" // the one refusal that the Python client shows as it is and never papers over with its cache
)

// badCredentials is what huggingface.co says of a token that it does not know. The Python client compares it to the
// letter: anything else it reports as a repository that does not exist.
const badCredentials = "Invalid credentials in Authorization header"

// refusal is the body of a refusal.
type refusal struct {
	Error  string    `json:"error"`
	Errors []problem `json:"errors,omitempty"` // validate-yaml, whose answer is read before its status is
}

type problem struct {
	Message string `json:"message"`
}

// Refuse answers a refused request in the way that clients of Hugging Face read. What was not found the handler has
// named in X-Error-Code.
func (h *Hub) Refuse(w http.ResponseWriter, r *http.Request, e *ballast.Error) {
	header, detail := w.Header(), e.Detail
	message := detail
	switch e.Code {
	case ballast.CodeUnauthenticated:
		header.Set("WWW-Authenticate", `Bearer realm="ballast"`)
		detail = "set HF_TOKEN to a token that `ballast token create` printed, with hf_ before it where the client asks for that"
		if r.Header.Get("Authorization") == "" {
			header.Set(headerCode, repoNotFound)
			message = detail
		} else {
			message, detail = badCredentials, badCredentials+": "+detail
		}
	case ballast.CodeRetired, ballast.CodeDenied:
		header.Set(headerCode, gatedRepo)
	}
	if e.RetryAfter > 0 {
		seconds := strconv.Itoa(int(math.Ceil(e.RetryAfter)))
		header.Set("Retry-After", seconds)
		if e.Code == ballast.CodeRateLimited {
			header.Set(headerRateLimit, `"api";r=0;t=`+seconds)
		}
	}
	writeRefusal(w, e.Status, message, refusal{Error: detail})
}

func writeRefusal(w http.ResponseWriter, status int, message string, body refusal) {
	header := w.Header()
	header.Del("ETag")
	header.Set("Cache-Control", "no-store")
	header.Set(headerMessage, oneLine(message))
	_ = writeJSON(w, status, body) // a refusal is JSON, and a client that is gone hears nothing
}

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// writeJSON writes an answer. Whoever has not said otherwise may keep it, and has to ask again.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	header := w.Header()
	if header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "private, no-cache")
	}
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return nil
}
