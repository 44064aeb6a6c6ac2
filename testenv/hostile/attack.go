package hostile

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Face is a protocol that a registry is spoken to in.
type Face string

// The faces, and what lies below both.
const (
	Native Face = "native"
	Hub    Face = "hugging face"
	Wire   Face = "listener"
)

// Want is what must be answered to somebody whose token is known. Others are unauthenticated, whatever they ask.
type Want int

// The wants. Each asks for all that the one before it does not.
const (
	Absent  Want = iota // class 4xx, and the answer about what nobody has
	Same                // of any class below 5xx, and the answer about what nobody has
	Refused             // class 4xx, or 501 where nothing of the kind is served
	Clean               // of any class below 5xx: what is asked for may be the caller's own
)

func (w Want) String() string { return [...]string{"absent", "the same", "refused", "clean"}[w] }

// twinned reports whether the answer about what nobody has is a measure.
func (w Want) twinned() bool { return w == Absent || w == Same }

// Attack is one request. Words in braces in its path, body and header stand for what the victim has; see things.
type Attack struct {
	Group, Name  string
	Face         Face
	Method, Path string
	Body, Header string // the header as lines, each ending in CRLF
	Want         Want
	But          []string // callers whose business it is
	As           []string // who tries it; nil: everybody
}

// by reports whether a caller tries an attack.
func (a Attack) by(c Caller) bool { return !c.among(a.But) && (a.As == nil || c.among(a.As)) }

// Title names an attack in a test.
func (a Attack) Title() string { return a.Group + "/" + strings.ReplaceAll(a.Name, "/", "∕") }

// Try sends an attack as every caller, and reports what is not as it must be. It returns the requests that it sent.
func (w *World) Try(a Attack, report func(format string, args ...any)) (sent int) {
	for _, c := range w.callers {
		if !a.by(c) {
			continue
		}
		got := w.ask(a, c, w.theirs, report)
		sent++
		for _, wrong := range w.wrong(a, c, got) {
			report("%s by %s: %s:\n%.600s", w.theirs.fill(a.Method+" "+a.Path+" "+a.Body), c.Name, wrong, got)
		}
		if !a.Want.twinned() {
			continue
		}
		twin := w.ask(a, c, w.nobodys, report)
		sent++
		if there, gone := plain(w.theirs, got), plain(w.nobodys, twin); there != gone {
			report("%s by %s tells what is there from what is not:\n%.600s\nand of what nobody has:\n%.600s", w.theirs.fill(a.Method+" "+a.Path+" "+a.Body), c.Name, there, gone)
		}
	}
	return sent
}

func (w *World) ask(a Attack, c Caller, of things, report func(string, ...any)) Answer {
	got, err := w.wire.exchange(a.Method, write(a.Method, of.fill(a.Path), w.wire.host, c.token, of.fill(a.Header), of.fill(a.Body)))
	if err != nil {
		report("%s by %s: no answer: %v", of.fill(a.Method+" "+a.Path), c.Name, err)
	}
	return got
}

// wrong says what no answer to an attack may be.
func (w *World) wrong(a Attack, c Caller, got Answer) (all []string) {
	say := func(wrong bool, what string) {
		if wrong {
			all = append(all, what)
		}
	}
	text := got.String()
	if !c.known() {
		say(got.Status != 401, "is let in")
	}
	say(got.Status >= 500 && got.Status != 501, "a failure of the service")
	say(strings.Contains(text, canary), "shows what only the victim wrote")
	named := w.theirs.fill(a.Path + a.Body + a.Header)
	say(!strings.Contains(named, Victim) && strings.Contains(text, Victim), "names the victim, whom the request did not")
	for _, outside := range signedOutside(c, text) {
		say(true, "signs outside of the caller's scopes: "+outside)
	}
	if refused := got.Status >= 400 && got.Status < 500 || got.Status == 501; a.Want == Absent || a.Want == Refused {
		say(!refused, "is not refused")
	}
	return all
}

// signed finds URLs with a signature, and with what is around them in JSON what they are for.
var signed = regexp.MustCompile(`(?:"method":"(\w+)","url":")?(https?://[^\s"<>]+X-Amz-Signature=[^\s"<>]*)`)

var blobPath = regexp.MustCompile(`/((?:global|tenants/[a-z0-9-]+))/blobs/sha256/([0-9a-f]{2})/([0-9a-f]{64})$`)

// signedOutside returns the signed URLs of an answer that reach what is not the caller's.
func signedOutside(c Caller, text string) (all []string) {
	for _, m := range signed.FindAllStringSubmatch(text, -1) {
		allowed := c.reads()
		if m[1] == "PUT" {
			allowed = c.writes()
		}
		u, err := url.Parse(m[2])
		if err != nil {
			all = append(all, m[2])
			continue
		}
		at := blobPath.FindStringSubmatch(u.EscapedPath())
		if at == nil || !strings.HasPrefix(at[3], at[2]) || !slices.Contains(allowed, at[1]) {
			all = append(all, m[1]+" "+u.Path)
		}
	}
	return all
}

var (
	volatileQuery = regexp.MustCompile(`(X-Amz-(?:Date|Signature|Expires)|uploadId)=[^&"\s]+`)
	lengthOfBody  = regexp.MustCompile(`Content-Length: \d+\r\n`)
	volatileField = regexp.MustCompile(`"(expires_at|renewed_at)":"[^"]*"`)
	// lastUse is what the time of a token's last use changes in an answer.
	lastUse = regexp.MustCompile(`(?m)^(Etag|Content-Length): [^\r\n]*\r?\n|,"last_used_at":"[^"]*"`)
)

// plain is an answer as it would read about the victim's, without what is new in each.
func plain(of things, a Answer) string {
	text := a.String()
	if strings.Contains(text, `{"tokens":[`) {
		text = lastUse.ReplaceAllString(text, "")
	}
	if strings.Contains(text, "uploadId=") { // of which stores make some longer than others
		text = lengthOfBody.ReplaceAllString(text, "")
	}
	text = volatileQuery.ReplaceAllString(text, "$1=")
	return of.unfill(volatileField.ReplaceAllString(text, `"$1":""`))
}

// Tally counts what was tried.
type Tally map[Face]map[string]int // requests by the caller's name

// Count adds an attack's callers.
func (t Tally) Count(a Attack) {
	for _, c := range callers() {
		if !a.by(c) {
			continue
		}
		if t[a.Face] == nil {
			t[a.Face] = map[string]int{}
		}
		t[a.Face][c.Name]++
	}
}

// Table prints a tally: a row for each caller, a column for each face.
func (t Tally) Table() string {
	var b strings.Builder
	faces := []Face{Native, Hub, Wire}
	fmt.Fprintf(&b, "%-44s", "as")
	for _, f := range faces {
		fmt.Fprintf(&b, "%14s", f)
	}
	b.WriteByte('\n')
	for _, name := range Names() {
		fmt.Fprintf(&b, "%-44s", name)
		for _, f := range faces {
			fmt.Fprintf(&b, "%14d", t[f][name])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
