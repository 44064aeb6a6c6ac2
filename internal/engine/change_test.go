package engine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// keeper may change what acme publishes.
var keeper = engine.Principal{ID: "k", Name: "ops", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Maintainer}}}

func own(s string) engine.Own { return engine.Own{Ref: ref(s)} }

func (r *rig) mustRetire(t *testing.T, p engine.Principal, of string) ballast.VersionInfo {
	t.Helper()
	v, recorded, err := r.Retire(t.Context(), p, own(of))
	if err != nil || !recorded {
		t.Fatalf("retiring %s: recorded %t, %v", of, recorded, err)
	}
	return v
}

func (r *rig) mustDelete(t *testing.T, p engine.Principal, of string) {
	t.Helper()
	if _, recorded, err := r.Delete(t.Context(), p, own(of)); err != nil || !recorded {
		t.Fatalf("deleting %s: recorded %t, %v", of, recorded, err)
	}
}

// pushOn publishes a version that has a base.
func (r *rig) pushOn(t *testing.T, p engine.Principal, base, target string) (ballast.VersionInfo, error) {
	t.Helper()
	u, err := r.open(t, p, target)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	f := small(target)
	if err := r.sendAll(t, p, u.ID, f); err != nil {
		return ballast.VersionInfo{}, err
	}
	return r.commit(t, p, u.ID, f.files(), ballast.Metadata{BaseModel: base})
}

// TestGlobalBasesAreGlobal: what everybody reads does not name, or follow the retirement of, what is a tenant's.
func TestGlobalBasesAreGlobal(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, admin, "g:1", small("g"))
	_, err := r.pushOn(t, publisher, "acme::m:1", "global::child:1")
	wantCode(t, err, ballast.CodePrecondition)
	for target, base := range map[string]string{"acme::child:1": "acme::m:1", "global::child:2": "global::g:1", "acme::child:2": "global::g:1"} {
		if _, err := r.pushOn(t, publisher, base, target); err != nil {
			t.Errorf("%s on %s: %v", target, base, err)
		}
	}
}

// changes are all that a principal can do to a version, each with the role that it needs.
func (r *rig) changes(t *testing.T, p engine.Principal, of string) map[string]func() error {
	return map[string]func() error{
		"patch": func() error {
			_, err := r.Patch(t.Context(), p, own(of), ballast.PatchVersion{Metadata: map[string]json.RawMessage{"task": []byte(`"ner"`)}})
			return err
		},
		"stage": func() error {
			_, err := r.Patch(t.Context(), p, own(of), ballast.PatchVersion{Stage: ballast.StageValidated})
			return err
		},
		"promote":  func() error { _, err := r.Promote(t.Context(), p, own(of), ""); return err },
		"rollback": func() error { _, err := r.Rollback(t.Context(), p, ref(of).Scope, ref(of).Name, "why"); return err },
		"retire":   func() error { _, _, err := r.Retire(t.Context(), p, own(of)); return err },
		"delete":   func() error { _, _, err := r.Delete(t.Context(), p, own(of)); return err },
	}
}

// Whose role is too weak is denied; who has none in the scope does not find it, nor does a tenant its name in global.
func TestWhoMayChange(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, admin, "g:1", small("g"))
	for _, tc := range []struct {
		p          engine.Principal
		of         string
		patch, all ballast.Code
	}{
		{reader, "m:1", ballast.CodeDenied, ballast.CodeDenied},
		{writer, "m:1", "", ballast.CodeDenied},
		{other, "acme::m:1", ballast.CodeNotFound, ballast.CodeNotFound},
		{other, "m:1", ballast.CodeNotFound, ballast.CodeNotFound},
		{nobody, "m:1", ballast.CodeNotFound, ballast.CodeNotFound},
		{keeper, "g:1", ballast.CodeNotFound, ballast.CodeNotFound}, // its own scope has none, and global is not its
		{keeper, "global::g:1", ballast.CodeDenied, ballast.CodeDenied},
	} {
		for what, change := range r.changes(t, tc.p, tc.of) {
			want := tc.all
			if what == "patch" {
				want = tc.patch
			}
			if err := change(); ballast.CodeOf(err) != want {
				t.Errorf("%s: %s of %s: %v, want %q", tc.p.Name, what, tc.of, err, want)
			}
		}
	}
	if v := must(r.Version(t.Context(), reader, ref("g:1"))); v.Revision != 1 || v.Status != ballast.StatusReady {
		t.Errorf("the global one is %+v", v)
	}
}

// What is said of a version outlives the process, to the digit, and what is left out stays.
func TestPatchOutlivesTheProcess(t *testing.T) {
	s, db := memStore(t), index.NewMem()
	opt := options(t, s, db)
	r := start(t, s, db, opt)
	r.mustPush(t, writer, "m:1", small("a"))
	patch := func(p engine.Principal, o engine.Own, fields string) (ballast.VersionInfo, error) {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(fields), &m); err != nil {
			t.Fatal(err)
		}
		return r.Patch(t.Context(), p, o, ballast.PatchVersion{Metadata: m})
	}
	const extra = `{"n":12345678901234567890.10,"text":"é"}`
	v, err := patch(writer, own("m"), `{"extra":`+extra+`,"num_parameters":9223372036854775807,"metrics":{"validation_accuracy":0.9}}`)
	if err != nil || v.Revision != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	stale, fresh := int64(1), int64(2)
	_, err = patch(writer, engine.Own{Ref: ref("m:1"), IfMatch: &stale}, `{"task":"ner"}`)
	wantCode(t, err, ballast.CodePrecondition)
	must(patch(writer, engine.Own{Ref: ref("m:1"), IfMatch: &fresh}, `{"task":"ner","metrics":{"test_accuracy":0.1}}`))
	r.Close()
	r = start(t, s, db, opt)
	v = must(r.Version(t.Context(), reader, ref("m:1")))
	if got := string(must(json.Marshal(v.Metadata))); got != `{"task":"ner","metrics":{"test_accuracy":0.1,"validation_accuracy":0.9},"num_parameters":9223372036854775807,"extra":`+extra+`}` {
		t.Errorf("it came back as %s", got)
	}
}

func TestPromotionThroughTheEngine(t *testing.T) {
	r := newRig(t, memStore(t))
	for i := range 3 {
		r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i)))
	}
	_, err := r.Rollback(t.Context(), keeper, acme, ref("m").Name, "why")
	wantCode(t, err, ballast.CodePrecondition)
	page := must(r.Production(t.Context(), reader, ballast.Scope{}, ref("m").Name, 10, ""))
	if b := must(json.Marshal(page.Promotions)); string(b) != "[]" || !page.Version.IsZero() {
		t.Errorf("nothing in production is shown as %s", b)
	}
	for _, of := range []string{"m:1", "m:2"} {
		must(r.Promote(t.Context(), keeper, own(of), "it is good"))
	}
	for _, reason := range []string{"", " ", "a\nb", "a\x7f", string([]byte{0xff}), strings.Repeat("x", ballast.MaxReasonBytes+1)} {
		_, err := r.Rollback(t.Context(), keeper, acme, ref("m").Name, reason)
		wantCode(t, err, ballast.CodeInvalid)
	}
	if v := must(r.Rollback(t.Context(), keeper, ballast.Scope{}, ref("M").Name, "it is slow")); v.Key != "acme::m::1" || v.Stage != ballast.StageProduction {
		t.Errorf("rolled back to %+v", v)
	}
	if v := must(r.Version(t.Context(), reader, ref("m@production"))); v.Key != "acme::m::1" {
		t.Errorf("production is %s", v.Key)
	}
	var all []string
	for cursor, more := "", true; more; more = cursor != "" {
		page := must(r.Production(t.Context(), reader, ballast.Scope{}, ref("m").Name, 2, cursor))
		for _, how := range page.Promotions {
			all = append(all, fmt.Sprint(how.Number, how.Kind, how.From, how.To, how.Reason, how.By))
		}
		cursor = page.Cursor
	}
	if want := []string{"3 rolled_back 2 1 it is slow ops@acme", "2 promoted 1 2 it is good ops@acme", "1 promoted  1 it is good ops@acme"}; !slices.Equal(squeezed(all), squeezed(want)) {
		t.Errorf("history %q, want %q", all, want)
	}
	_, err = r.Production(t.Context(), reader, ballast.Scope{}, ref("m").Name, 2, "no cursor!")
	wantCode(t, err, ballast.CodeInvalid)
}

func squeezed(lines []string) (all []string) {
	for _, l := range lines {
		all = append(all, strings.ReplaceAll(l, " ", ""))
	}
	return all
}

// A model is refused when one of its bases is retired, for bytes by every reference; what is known of it stays.
func TestChildrenOfTheRetired(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, admin, "base:1", small("base"))
	must(r.pushOn(t, writer, "base", "m:1"))
	must(r.pushOn(t, engine.Principal{ID: "x", Name: "x", Grants: []ballast.Grant{{Scope: scope("other"), Role: ballast.Writer}}}, "base:1", "secret:1"))
	_, _, err := r.Delete(t.Context(), admin, own("base:1"))
	e := wantCode(t, err, ballast.CodeReferenced)
	if len(e.References) != 0 || !strings.Contains(e.Detail, "where you do not see them") {
		t.Errorf("who sees neither child is told %+v", e)
	}
	both := engine.Principal{ID: "b", Name: "b", Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Maintainer}, {Scope: acme, Role: ballast.Reader}}}
	_, _, err = r.Delete(t.Context(), both, own("base:1"))
	if e := wantCode(t, err, ballast.CodeReferenced); len(e.References) != 1 || e.References[0].Name != "acme::m::1" || strings.Contains(e.Detail, "secret") {
		t.Errorf("who sees one is told %+v", e)
	}
	r.mustRetire(t, admin, "base:1")
	for what, read := range map[string]func() error{
		"version": func() error { _, err := r.Version(t.Context(), reader, ref("m:1")); return err },
		"files": func() error {
			_, err := r.Files(t.Context(), reader, ref("m"), engine.ListFiles{URLs: true, Limit: 1})
			return err
		},
		"file": func() error { _, err := r.File(t.Context(), reader, ref("m:1"), "config.json"); return err },
		"base": func() error { _, err := r.File(t.Context(), reader, ref("base:1"), "config.json"); return err },
	} {
		if e := wantCode(t, read(), ballast.CodeRetired); !strings.Contains(e.Detail, "base::1") {
			t.Errorf("%s: %q does not name the base", what, e.Detail)
		}
	}
	_, err = r.pushOn(t, writer, "m:1", "n:1") // as any base that cannot be one
	if e := wantCode(t, err, ballast.CodePrecondition); !strings.Contains(e.Detail, "base model m:1") || !strings.Contains(e.Detail, "base::1 was retired") {
		t.Errorf("as a base: %q does not name the base", e.Detail)
	}
	page := must(r.Children(t.Context(), reader, ref("base:1"), 10, ""))
	if page.Key != "base::1" || len(page.Children) != 1 || page.Children[0].Key != "acme::m::1" {
		t.Errorf("children are %+v", page)
	}
	_, err = r.Children(t.Context(), reader, ref("acme::base:1"), 10, "")
	wantCode(t, err, ballast.CodeNotFound)
}

func TestLineageHasADepth(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m0:1", small("0"))
	for i := 1; i <= index.MaxLineage; i++ {
		if _, err := r.pushOn(t, writer, fmt.Sprintf("m%d:1", i-1), fmt.Sprintf("m%d:1", i)); err != nil {
			t.Fatalf("base %d: %v", i, err)
		}
	}
	_, err := r.pushOn(t, writer, fmt.Sprintf("m%d:1", index.MaxLineage), "m:1")
	wantCode(t, err, ballast.CodePrecondition)
}

// Without a label it is the highest version that is served, so that what is retired already stands in nobody's way.
func TestRetireWithoutALabel(t *testing.T) {
	r := newRig(t, memStore(t))
	for i := range 3 {
		r.mustPush(t, writer, fmt.Sprintf("m:%d", i+1), small(fmt.Sprint(i)))
	}
	for _, want := range []string{"acme::m::3", "acme::m::2", "acme::m::1"} {
		if v := r.mustRetire(t, keeper, "m"); v.Key != want || v.Status != ballast.StatusRetired {
			t.Errorf("retired %+v, want %s", v, want)
		}
	}
	_, _, err := r.Retire(t.Context(), keeper, own("m"))
	wantCode(t, err, ballast.CodeRetired)
}

// Whoever pushes what is retired hears that, whatever label it is to have.
func TestPushOfWhatIsRetired(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustRetire(t, keeper, "m:1")
	for _, target := range []string{"m:1", "m:1.0.0", "m:2", "m"} {
		_, err := r.push(t, writer, target, small("a"))
		if e := wantCode(t, err, ballast.CodeRetired); !strings.Contains(e.Detail, "acme::m::1") {
			t.Errorf("%s: %q does not name the version", target, e.Detail)
		}
	}
	if v := r.mustPush(t, writer, "m", small("b")); v.Key != "acme::m::2" {
		t.Errorf("other files became %s", v.Key)
	}
	r.mustPush(t, writer, "n:1", small("a"))
	r.mustDelete(t, keeper, "m:2")
	for target, code := range map[string]ballast.Code{"m:2": ballast.CodeAlreadyExists, "m:2.0.0": ballast.CodeAlreadyExists} {
		_, err := r.push(t, writer, target, small("b"))
		wantCode(t, err, code)
	}
	if v := r.mustPush(t, writer, "m", small("b")); v.Key != "acme::m::3" {
		t.Errorf("what was deleted came back as %s", v.Key)
	}
}

// What an own name once had is not served from global instead.
func TestNothingShowsThroughAnEnd(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, admin, "m:1", small("a"))
	r.mustPush(t, admin, "m:9", small("g"))
	v := r.mustPush(t, writer, "m:1", small("a"))
	refs := []string{"m:1", "m", "m@" + v.Digest.String(), "m@production"}
	want := func(codes ...ballast.Code) {
		t.Helper()
		for i, code := range codes {
			_, err := r.Version(t.Context(), reader, ref(refs[i]))
			if ballast.CodeOf(err) != code {
				t.Errorf("%s: %v, want %q", refs[i], err, code)
			}
		}
	}
	want("", "", "", ballast.CodeNotFound)
	r.mustRetire(t, keeper, "m:1")
	want(ballast.CodeRetired, ballast.CodeRetired, ballast.CodeRetired, ballast.CodeNotFound)
	r.mustDelete(t, keeper, "m:1")
	want(ballast.CodeNotFound, ballast.CodeNotFound, ballast.CodeNotFound, ballast.CodeNotFound)
	if v := must(r.Version(t.Context(), reader, ref("m:9"))); v.Key != "m::9" {
		t.Errorf("a label that the own name never had: %s", v.Key)
	}
}

func (r *rig) feed(t *testing.T, p engine.Principal, after string) (kinds []string, cursor string) {
	t.Helper()
	for cursor = after; ; {
		page := must(r.Events(t.Context(), p, cursor, 2, 0))
		for _, e := range page.Events {
			kinds = append(kinds, strings.TrimSpace(string(e.Kind)+" "+e.Key))
		}
		if page.Cursor == cursor {
			return kinds, cursor
		}
		cursor = page.Cursor
	}
}

func TestWhoHearsWhat(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, admin, "m:1", small("a"))
	must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}}))
	must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Reader}}}))
	chief := engine.Principal{ID: "c", Name: "c", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	for _, tc := range []struct {
		p    engine.Principal
		want string
	}{
		{reader, "[version.ready acme::m::1 version.ready m::1]"},
		{other, "[version.ready m::1]"},
		{nobody, "[]"},
		{admin, "[version.ready m::1 token.created token.created]"}, // it administers every scope
		{chief, "[version.ready acme::m::1 version.ready m::1 token.created]"},
	} {
		kinds, end := r.feed(t, tc.p, "")
		if fmt.Sprint(kinds) != tc.want {
			t.Errorf("%s hears %v, want %s", tc.p.Name, kinds, tc.want)
		}
		if page := must(r.Events(t.Context(), tc.p, engine.NewestEvent, 10, 0)); len(page.Events) != 0 || page.Cursor != end {
			t.Errorf("%s: now is %+v, want %s", tc.p.Name, page, end)
		}
	}
	for _, bad := range []string{"x", "now1-1", "1-1 "} {
		_, err := r.Events(t.Context(), reader, bad, 10, 0)
		wantCode(t, err, ballast.CodeInvalid)
	}
}

// Who waits for the feed hears of each change as it happens, and not of what is not for it.
func TestFollowersAreWoken(t *testing.T) {
	r := newRig(t, memStore(t))
	r.mustPush(t, writer, "m:1", small("a"))
	r.mustPush(t, writer, "m:2", small("b"))
	one, champion := ref("m:1"), must(ballast.ParseAlias("champion"))
	chief := engine.Principal{ID: "c", Name: "c", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}
	_, cursor := r.feed(t, chief, "")
	var token ballast.TokenInfo
	for _, tc := range []struct {
		kind   ballast.EventKind
		change func()
	}{
		{ballast.EventAliasSet, func() { must(r.SetAlias(t.Context(), writer, acme, one.Name, champion, one.Version, nil)) }},
		{ballast.EventAliasGone, func() { must(0, r.DeleteAlias(t.Context(), writer, acme, one.Name, champion, nil)) }},
		{ballast.EventTokenMinted, func() {
			token = must(r.CreateToken(t.Context(), chief, ballast.CreateToken{Grants: []ballast.Grant{{Scope: acme, Role: ballast.Reader}}}))
		}},
		{ballast.EventTokenRotated, func() { must(r.RotateToken(t.Context(), chief, token.ID, ballast.RotateToken{})) }},
		{ballast.EventTokenGone, func() { must(0, r.RevokeToken(t.Context(), chief, token.ID)) }},
		{ballast.EventPromoted, func() { must(r.Promote(t.Context(), keeper, own("m:1"), "")) }},
		{ballast.EventRetired, func() { r.mustRetire(t, keeper, "m:2") }},
		{ballast.EventDeleted, func() { r.mustDelete(t, keeper, "m:2") }},
		{ballast.EventReady, func() { r.mustPush(t, writer, "m:3", small("c")) }},
	} {
		heard := make(chan ballast.EventsPage)
		began := time.Now()
		go func() {
			page, err := r.Events(t.Context(), chief, cursor, 10, time.Minute)
			if err != nil {
				t.Error(err)
			}
			heard <- page
		}()
		waitFor(t, "somebody waits", func() bool { return time.Since(began) > 20*time.Millisecond }) // most often after it began to
		r.mustPush(t, admin, fmt.Sprintf("elsewhere%d:1", time.Now().UnixNano()), small("e"))
		tc.change()
		page := <-heard
		for !slices.ContainsFunc(page.Events, func(e ballast.Event) bool { return e.Kind == tc.kind }) {
			if time.Since(began) > 50*time.Second {
				t.Fatalf("%s was not heard of but when the wait was over: %+v", tc.kind, page)
			}
			page = must(r.Events(t.Context(), chief, page.Cursor, 10, time.Minute))
		}
		cursor = page.Cursor
	}
}
