package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/api/apitest"
	"github.com/ballast-registry/ballast/internal/audit/audittest"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
)

// play is a sequence of requests to one registry, read from a tape.
type play struct {
	*tape
	report   func(format string, args ...any)
	memory   *memory
	handler  http.Handler
	doc      *apitest.Description
	acme     *actor // whose secrets nobody else may see
	them     *actor
	root     *actor // who administers the registry
	nobody   *actor // without a token, or with one that is none
	injected bool   // a fault of the store, so that unavailable is an answer from now on
	secrets  []string
	deeds    []sent         // of acme, for others to repeat
	outcomes map[string]int // by method, route, and accepted or refused
}

// actor is somebody who sends requests, and what they learned from the answers.
type actor struct {
	home    string // a name of theirs: 1 is champion and was in production, 7 is, 8 is latest; each with config.json and weightsPath
	tokens  []string
	uploads []string
	imports []string
	minted  []string // ids of tokens
	gone    []string // paths of versions that they deleted
	cursors []string
	signed  []ballast.SignedRequest
	said    strings.Builder // all they sent, lower-case: what they know themselves is no secret
}

// afterFault is the outcome of an answer that only an injected fault excuses.
const afterFault = "unavailable"

// marks are texts that acme's requests and its files in the registry hold.
const (
	markName        = "markname"
	markPath        = "markpath"
	markDescription = "markdescription"
	markTag         = "marktag"
	markAlias       = "markalias"
	markToken       = "marktoken"
	markReason      = "markreason"
	markInbox       = "markinbox"
)

// weightsPath is a weight file that the tenants have.
const weightsPath = "model.safetensors"

func tinyWeights() string {
	return string(weightstest.Safetensors(weightstest.Tensor("w", "F32", 4, 1), weightstest.Tensor("b", "F16", 2, 1)))
}

// scene is what a play opens on: a registry in which both tenants and global have published something.
type scene struct {
	admin      string // token
	db         *index.Mem
	store      *objstoretest.Mem
	acme, them actor
	secrets    []string
}

// playLimits keep the waits of a play short.
var playLimits = engine.Limits{CommitWait: 20 * time.Millisecond, VerifyRetry: 10 * time.Millisecond, ReclaimRetry: 10 * time.Millisecond}

// opening is the scene that each play gets a copy of: to publish it anew costs more than the play itself.
var opening struct {
	once sync.Once
	scene
}

func (s *scene) build(t *testing.T) {
	m := newMemory(t, playLimits)
	ours, theirs := m.token(t, markToken, "acme=admin"), m.token(t, "ci", "them=admin")
	*s = scene{
		admin: m.admin, acme: actor{home: "llama/tiny", tokens: []string{ours.Token}}, them: actor{home: "tiny", tokens: []string{theirs.Token}},
		secrets: []string{markName, markPath, markDescription, markTag, markAlias, markToken, markReason, "tenants/acme/", ours.Token, ours.ID},
	}
	s.acme.minted, s.them.minted = []string{m.token(t, "spare", "acme=reader").ID}, []string{m.token(t, "spare", "them=reader").ID}
	m.publish(t, m.admin, "base:1", ballast.Metadata{}, map[string]string{"config.json": contents[0]})
	m.publish(t, ours.Token, "llama/tiny:1", ballast.Metadata{Description: markDescription, Tags: []string{markTag}}, map[string]string{markPath: contents[1], "config.json": contents[0], weightsPath: tinyWeights()})
	m.publish(t, ours.Token, markName+":1", ballast.Metadata{}, map[string]string{"config.json": contents[0]})
	m.publish(t, theirs.Token, "tiny:1", ballast.Metadata{}, map[string]string{"config.json": contents[0], weightsPath: tinyWeights()})
	m.settleCatalogue(t, ours.Token, s.acme.home)
	m.settleCatalogue(t, theirs.Token, s.them.home)
	s.acme.uploads = []string{m.open(t, ours.Token, "open:1")}
	s.them.uploads = []string{m.open(t, theirs.Token, "open:1")}
	for scope, folders := range map[string][]string{"acme": {"m", "held", markInbox}, "them": {"m", "held"}} {
		for _, folder := range folders {
			m.store.Plant("tenants/"+scope+"/inbox/"+folder+"/config.json", []byte(contents[1]))
		}
	}
	s.acme.imports = []string{m.importing(t, ours.Token, "inbox:held", "held:1")}
	s.them.imports = []string{m.importing(t, theirs.Token, "inbox:held", "held:1")}
	s.secrets = append(s.secrets, s.acme.uploads[0], s.acme.imports[0], markInbox)
	m.settle(t)
	s.db, s.store = m.db.Clone(), m.store.Clone()
}

// newPlay opens a registry on the opening scene. breaks, which may be nil, puts something in front of its engine.
func newPlay(t *testing.T, breaks func(Service) Service, report func(string, ...any)) *play {
	t.Helper()
	opening.once.Do(func() { opening.build(t) })
	acme, them := opening.acme, opening.them
	m := openMemory(t, playLimits, opening.db.Clone(), opening.store.Clone())
	p := &play{report: report, memory: m, acme: &acme, them: &them, root: &actor{home: "base", tokens: []string{opening.admin}}, nobody: &actor{home: "base", tokens: []string{"", "bal_wrong", opening.admin + "x"}}, outcomes: map[string]int{}}
	p.secrets = slices.Clone(opening.secrets)
	for _, a := range []*actor{p.acme, p.them} {
		a.uploads, a.imports, a.minted = slices.Clone(a.uploads), slices.Clone(a.imports), slices.Clone(a.minted)
	}
	var err error
	if p.doc, err = apitest.Load(); err != nil {
		t.Fatal(err)
	}
	var service Service = m
	if breaks != nil {
		service = breaks(m)
	}
	p.handler = New(service, Options{Audit: audittest.Open(t, m.lines).Log})
	for ballast.CodeOf(m.collects(t, opening.admin)) == ballast.CodeUnavailable { // until the bucket's records were listed
		time.Sleep(time.Millisecond)
	}
	return p
}

// collects asks for a dry run of gc.
func (m *memory) collects(t *testing.T, token string) error {
	_, err := m.StartGC(t.Context(), m.principal(t, token), ballast.GCRequest{DryRun: true})
	return err
}

// maxSteps bounds a play.
const maxSteps = 40

func (p *play) run(t *testing.T, b []byte) {
	p.tape = (*tape)(&b)
	faults := p.pick(3) == 0
	for range maxSteps {
		if len(b) == 0 {
			break
		}
		switch kind := p.pick(16); {
		case kind < 2 && faults:
			p.fault()
		case kind < 4:
			p.sendToStore()
		default:
			p.request(t)
		}
	}
	p.memory.store.Heal()
}

// fault makes one of the next calls of the store fail.
func (p *play) fault() {
	ops := []objstoretest.Op{objstoretest.OpPut, objstoretest.OpGet, objstoretest.OpHead, objstoretest.OpList, objstoretest.OpWrite, objstoretest.OpSign, objstoretest.OpListParts, objstoretest.OpCreateMultipart}
	p.injected = true
	p.memory.store.Fail(choose(p.tape, ops), 1+p.pick(3), objstore.ErrUnavailable, p.pick(2) == 0)
}

// sendToStore uses a signed request, most times with the bytes that it is for.
func (p *play) sendToStore() {
	a := p.acme
	if p.pick(2) == 0 {
		a = p.them
	}
	if len(a.signed) == 0 {
		return
	}
	r := choose(p.tape, a.signed)
	body := choose(p.tape, contents)
	if p.pick(8) != 0 {
		for _, c := range contents {
			if r.Headers["x-amz-checksum-sha256"] == ballast.ChecksumHeader(ballast.DigestOf([]byte(c))) {
				body = c
			}
		}
	}
	p.memory.store.Do(r, []byte(body), nil)
}

// request sends one request and holds its answer to every rule.
func (p *play) request(t *testing.T) {
	a := choose(p.tape, []*actor{p.acme, p.them, p.them, p.acme, p.them, p.acme, p.nobody, p.root})
	r, s := p.draw(t, a)
	if r == nil {
		return
	}
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	got := w.Result()
	class := "refused"
	if got.StatusCode < 400 {
		class = "accepted"
		if a == p.acme {
			p.deeds = append(p.deeds, s)
		}
		if path, _, _ := strings.Cut(s.target, "?"); s.method == http.MethodDelete && s.route == versionPath {
			a.gone = append(a.gone, path)
		}
	}
	p.outcomes[s.method+" "+s.route+" "+class]++
	if got.StatusCode == http.StatusServiceUnavailable {
		p.outcomes[afterFault]++
	}
	p.judge(a, r, got, w.Body.Bytes())
	a.learn(p, r, got, w.Body.Bytes())
}

// judge reports what is wrong with an answer.
func (p *play) judge(a *actor, r *http.Request, got *http.Response, body []byte) {
	wrong := func(what string) {
		p.report("%s %s: %d: %s\n%.1000s", r.Method, r.URL, got.StatusCode, what, body)
	}
	switch status := got.StatusCode; {
	case status == http.StatusServiceUnavailable && p.injected:
	case status >= 500:
		wrong("answered " + got.Status[:3])
	case a == p.nobody && status != http.StatusUnauthorized && !isOpen(r.URL.Path):
		wrong("let in")
	}
	if err := p.doc.Check(r, got.StatusCode, got.Header, body); err != nil {
		wrong("not as docs/openapi.yaml says: " + err.Error())
	}
	if a == p.acme || r.URL.Path == descriptionPath || r.Method == http.MethodOptions { // the page's examples are about acme
		return
	}
	seen := shown(got, body)
	for _, secret := range p.secrets {
		if strings.Contains(seen, secret) && !strings.Contains(a.said.String(), secret) {
			wrong("shows what only acme wrote: " + secret)
		}
		if got.StatusCode < 300 && strings.Contains(r.URL.Path, secret) && !absentIsFine(r) {
			wrong("acts on what is acme's: " + secret)
		}
	}
	if got.StatusCode < 400 && strings.Contains(r.URL.Path, "acme::") && a == p.them {
		wrong("acts on what is acme's")
	}
}

// absentIsFine says that a success need not mean that anything was there. With acme:: in the path it still must not be one.
func absentIsFine(r *http.Request) bool {
	return r.Method == http.MethodDelete && r.URL.Query().Get("if_exists") == "true"
}

// shown is all that an answer tells, lower-case, cursors decoded.
func shown(got *http.Response, body []byte) string {
	var b strings.Builder
	_ = got.Header.Write(&b)
	b.Write(body)
	var page struct{ Cursor string }
	if json.Unmarshal(body, &page) == nil {
		at, _ := base64.RawURLEncoding.DecodeString(page.Cursor)
		b.Write(at)
	}
	return strings.ToLower(b.String())
}

// learn keeps what an answer gives for later requests. What acme learns is a secret.
func (a *actor) learn(p *play, r *http.Request, got *http.Response, body []byte) {
	var v struct {
		ID, Token, Cursor string
		Blobs             []ballast.BlobAnswer
	}
	if got.StatusCode >= 300 || json.Unmarshal(body, &v) != nil {
		return
	}
	if a == p.acme && v.ID != "" {
		p.secrets = append(p.secrets, strings.ToLower(v.ID))
	}
	switch {
	case v.Token != "":
		a.tokens = append(a.tokens, v.Token)
		a.minted = append(a.minted, v.ID)
	case r.Method == http.MethodPost && v.ID != "" && strings.HasPrefix(r.URL.Path, "/v1/imports"):
		a.imports = append(a.imports, v.ID)
	case r.Method == http.MethodPost && v.ID != "":
		a.uploads = append(a.uploads, v.ID)
	}
	if v.Cursor != "" {
		a.cursors = append(a.cursors, v.Cursor)
	}
	for _, b := range v.Blobs {
		if b.Request != nil {
			a.signed = append(a.signed, *b.Request)
		}
		for _, part := range b.Parts {
			a.signed = append(a.signed, part.Request)
		}
	}
}

// say remembers what an actor sends.
func (a *actor) say(r *http.Request, body []byte) {
	query, _ := url.QueryUnescape(r.URL.RawQuery)
	a.said.WriteString(strings.ToLower(r.URL.Path + "\n" + r.URL.EscapedPath() + "\n" + query + "\n"))
	var b strings.Builder
	_ = r.Header.Write(&b)
	a.said.WriteString(strings.ToLower(b.String()))
	a.said.Write(bytes.ToLower(body))
	var v any
	if json.Unmarshal(body, &v) == nil { // escapes undone
		plain, _ := json.Marshal(v)
		a.said.Write(bytes.ToLower(plain))
	}
}
