package engine_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// timed is a rig whose clock stands still until it is moved, with the first token's holder.
type timed struct {
	*rig
	at   atomic.Int64 // microseconds
	root engine.Principal
}

func newTimed(t *testing.T, db index.Store) *timed {
	t.Helper()
	r := &timed{}
	r.at.Store(time.Date(2026, 11, 22, 8, 0, 30, 0, time.UTC).UnixMicro())
	x := must(index.Open(t.Context(), db, r.now))
	s := memStore(t)
	opt := options(t, s, index.NewMem())
	opt.Index, opt.Now = x, r.now
	opt.Limits.UseInterval = time.Hour
	r.rig = start(t, s, db, opt)
	var first ballast.Secret
	must(r.EnsureAdmin(t.Context(), func(token string) error { first = ballast.Secret(token); return nil }))
	r.root = must(r.Authenticate(t.Context(), first))
	return r
}

func (r *timed) now() time.Time       { return time.UnixMicro(r.at.Load()).UTC() }
func (r *timed) pass(d time.Duration) { r.at.Add(d.Microseconds()) }

func (r *timed) mint(t *testing.T, req ballast.CreateToken, grants ...string) ballast.TokenInfo {
	t.Helper()
	req.Grants = parsed(ballast.ParseGrant, grants...)
	return must(r.CreateToken(t.Context(), r.root, req))
}

// wantHolder authenticates; says is what the refusal has in it, "" when there is to be none.
func (r *timed) wantHolder(t *testing.T, token ballast.Secret, says string) {
	t.Helper()
	_, err := r.Authenticate(t.Context(), token)
	switch {
	case says == "" && err != nil:
		t.Errorf("refused: %v", err)
	case says != "" && (ballast.CodeOf(err) != ballast.CodeUnauthenticated || !strings.Contains(err.Error(), says)):
		t.Errorf("answered %v, want %q", err, says)
	}
}

func seconds(d time.Duration) *int64 {
	n := int64(d / time.Second)
	return &n
}

// TestTokensEnd: from its end on a token is refused, and only who shows its secret hears why.
func TestTokensEnd(t *testing.T) {
	r := newTimed(t, index.NewMem())
	in := r.mint(t, ballast.CreateToken{Name: "in", ExpiresIn: seconds(time.Hour)}, "acme=reader")
	at := r.mint(t, ballast.CreateToken{Name: "at", ExpiresAt: ballast.At(r.now().Add(2 * time.Hour))}, "acme=reader")
	never := r.mint(t, ballast.CreateToken{Name: "never"}, "acme=reader")
	if p := must(r.Authenticate(t.Context(), in.Token)); p.ExpiresAt != ballast.At(r.now().Add(time.Hour)) || in.ExpiresAt != p.ExpiresAt {
		t.Errorf("it ends at %v", p.ExpiresAt)
	}
	r.pass(time.Hour - time.Microsecond)
	r.wantHolder(t, in.Token, "")
	r.pass(time.Microsecond)
	r.wantHolder(t, in.Token, "expired at 2026-11-22T09:00:30Z; ask an admin of acme for another: ballast token create")
	r.wantHolder(t, engine.NewSecret(t, in.ID), "the token is not known here")
	r.wantHolder(t, at.Token, "")
	r.pass(time.Hour)
	r.wantHolder(t, at.Token, "expired at")
	r.pass(100 * 365 * 24 * time.Hour)
	r.wantHolder(t, never.Token, "")
	for _, listed := range must(r.Tokens(t.Context(), r.root, 10, "")).Tokens {
		if want := map[string]ballast.Time{"in": in.ExpiresAt, "at": at.ExpiresAt}[listed.Name]; listed.ExpiresAt != want {
			t.Errorf("%s is listed to end at %v", listed.Name, listed.ExpiresAt)
		}
	}
	_, err := r.RotateToken(t.Context(), r.root, in.ID, ballast.RotateToken{})
	wantCode(t, err, ballast.CodePrecondition)
	for name, req := range map[string]ballast.CreateToken{
		"at once": {ExpiresIn: seconds(0)}, "before": {ExpiresIn: seconds(-time.Second)}, "in the past": {ExpiresAt: ballast.At(r.now())},
		"in 101 years": {ExpiresAt: ballast.At(r.now().AddDate(101, 0, 0))}, "in many years": {ExpiresIn: seconds(1<<63 - 1)},
		"twice": {ExpiresIn: seconds(time.Hour), ExpiresAt: ballast.At(r.now().Add(time.Hour))},
	} {
		req.Grants = parsed(ballast.ParseGrant, "acme=reader")
		if _, err := r.CreateToken(t.Context(), r.root, req); ballast.CodeOf(err) != ballast.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoEndLocksEverybodyOut: of the tokens that administer global one without an end stays.
func TestNoEndLocksEverybodyOut(t *testing.T) {
	r := newTimed(t, index.NewMem())
	ends := r.mint(t, ballast.CreateToken{ExpiresIn: seconds(time.Hour)}, "global=admin")
	e := wantCode(t, r.RevokeToken(t.Context(), r.root, r.root.ID), ballast.CodePrecondition)
	if !strings.Contains(e.Detail, "never expires; mint another with global=admin and no expiry first") {
		t.Error(e.Detail)
	}
	if err := r.RevokeToken(t.Context(), r.root, ends.ID); err != nil {
		t.Errorf("one that ends can go: %v", err)
	}
	heir := r.mint(t, ballast.CreateToken{}, "global=admin")
	if err := r.RevokeToken(t.Context(), r.root, r.root.ID); err != nil {
		t.Fatal(err)
	}
	p := must(r.Authenticate(t.Context(), heir.Token))
	wantCode(t, r.RevokeToken(t.Context(), p, heir.ID), ballast.CodePrecondition)
	if !p.ExpiresAt.IsZero() {
		t.Errorf("it ends at %v", p.ExpiresAt)
	}
}

// TestRotate: the id stays, the secret is another, and those before it are good for the overlap.
func TestRotate(t *testing.T) {
	r := newTimed(t, index.NewMem())
	first := r.mint(t, ballast.CreateToken{Name: "robot", ExpiresIn: seconds(24 * time.Hour)}, "acme=writer", "acme::llama-*=maintainer")
	robot := must(r.Authenticate(t.Context(), first.Token))
	second := must(r.RotateToken(t.Context(), robot, robot.ID, ballast.RotateToken{Overlap: 3600}))
	if second.ID != first.ID || second.Token == first.Token || second.Token == "" || second.ExpiresAt != first.ExpiresAt || !slices.Equal(second.Grants, first.Grants) ||
		second.OverlapUntil != ballast.At(r.now().Add(time.Hour)) || second.RotatedAt != ballast.At(r.now()) {
		t.Errorf("rotated to %+v", second)
	}
	r.wantHolder(t, first.Token, "")
	r.wantHolder(t, second.Token, "")
	r.wantHolder(t, engine.NewSecret(t, second.ID), "not known here")
	r.pass(time.Hour - time.Microsecond)
	r.wantHolder(t, first.Token, "")
	r.pass(time.Microsecond)
	r.wantHolder(t, first.Token, "has another secret since 2026-11-22T08:00:30Z; use the one that `ballast token rotate` printed then")
	r.wantHolder(t, second.Token, "")

	// A lost answer: the secret before rotates again, as often as there is room for.
	lost := []ballast.TokenInfo{second}
	for range index.MaxReplaced {
		lost = append(lost, must(r.RotateToken(t.Context(), robot, robot.ID, ballast.RotateToken{Overlap: 3600})))
	}
	for _, l := range lost {
		r.wantHolder(t, l.Token, "")
	}
	_, err := r.RotateToken(t.Context(), robot, robot.ID, ballast.RotateToken{Overlap: 3600})
	wantCode(t, err, ballast.CodePrecondition)

	// Without an overlap all before it end at once.
	last := must(r.RotateToken(t.Context(), r.root, robot.ID, ballast.RotateToken{}))
	for _, l := range lost {
		if _, err := r.Authenticate(t.Context(), l.Token); ballast.CodeOf(err) != ballast.CodeUnauthenticated {
			t.Errorf("a secret before is answered %v", err)
		}
	}
	r.wantHolder(t, last.Token, "")
	if last.OverlapUntil != (ballast.Time{}) {
		t.Errorf("one before is good until %v", last.OverlapUntil)
	}

	// A shorter overlap shortens the ones before.
	must(r.RotateToken(t.Context(), robot, robot.ID, ballast.RotateToken{Overlap: 7200}))
	short := must(r.RotateToken(t.Context(), robot, robot.ID, ballast.RotateToken{Overlap: 60}))
	r.pass(time.Minute)
	r.wantHolder(t, last.Token, "has another secret")
	r.wantHolder(t, short.Token, "")
	for _, overlap := range []int64{-1, ballast.MaxOverlapSeconds + 1} {
		_, err := r.RotateToken(t.Context(), robot, robot.ID, ballast.RotateToken{Overlap: overlap})
		wantCode(t, err, ballast.CodeInvalid)
	}
}

// TestWhoRotates: the holder, and who administers every scope of it. To others it is not there.
func TestWhoRotates(t *testing.T) {
	r := newTimed(t, index.NewMem())
	made := r.mint(t, ballast.CreateToken{}, "acme=reader", "them=reader")
	holder := must(r.Authenticate(t.Context(), made.Token))
	sibling := must(r.Authenticate(t.Context(), r.mint(t, ballast.CreateToken{}, "acme=maintainer").Token))
	chief := must(r.Authenticate(t.Context(), r.mint(t, ballast.CreateToken{}, "acme=admin").Token))
	for name, c := range map[string]struct {
		p    engine.Principal
		want ballast.Code
	}{"holder": {holder, ""}, "root": {r.root, ""}, "sibling": {sibling, ballast.CodeNotFound}, "admin of one scope": {chief, ballast.CodeNotFound}} {
		_, err := r.RotateToken(t.Context(), c.p, made.ID, ballast.RotateToken{Overlap: 60})
		_, seeErr := r.Token(t.Context(), c.p, made.ID)
		_, absent := r.RotateToken(t.Context(), c.p, "0123456789", ballast.RotateToken{Overlap: 60})
		if ballast.CodeOf(err) != c.want || ballast.CodeOf(seeErr) != c.want || ballast.CodeOf(absent) != ballast.CodeNotFound {
			t.Errorf("%s: rotates %v, sees %v, absent %v", name, err, seeErr, absent)
		}
		if c.want != "" && strings.ReplaceAll(err.Error(), made.ID, "0123456789") != absent.Error() {
			t.Errorf("%s tells %q from %q", name, err, absent)
		}
	}
	page := must(r.Events(t.Context(), r.root, "", 100, 0))
	by := []string{}
	for _, e := range page.Events {
		if e.Kind == ballast.EventTokenRotated {
			by = append(by, e.Token+" by "+e.By)
		}
	}
	slices.Sort(by)
	want := []string{made.ID + " by " + holder.By(), made.ID + " by " + r.root.By()}
	slices.Sort(want)
	if !slices.Equal(by, want) {
		t.Errorf("the feed has %q, want %q", by, want)
	}
}

// TestNamesMakeNoAdmin: who is confined administers nothing, and a tenant's admin confines within its tenant only.
func TestNamesMakeNoAdmin(t *testing.T) {
	r := newTimed(t, index.NewMem())
	chief := must(r.Authenticate(t.Context(), r.mint(t, ballast.CreateToken{}, "acme=admin").Token))
	names := must(ballast.ParseNames("llama-*"))
	for name, c := range map[string]struct {
		grant ballast.Grant
		want  ballast.Code
	}{
		"some names":       {ballast.Grant{Scope: acme, Role: ballast.Maintainer, Names: names}, ""},
		"admin of names":   {ballast.Grant{Scope: acme, Role: ballast.Admin, Names: names}, ballast.CodeInvalid},
		"global's reader":  {ballast.Grant{Scope: ballast.Global, Role: ballast.Reader, Names: names}, ballast.CodeInvalid},
		"names of another": {ballast.Grant{Scope: scope("them"), Role: ballast.Reader, Names: names}, ballast.CodeDenied},
		"names of global":  {ballast.Grant{Scope: ballast.Global, Role: ballast.Writer, Names: names}, ballast.CodeDenied},
	} {
		_, err := r.CreateToken(t.Context(), chief, ballast.CreateToken{Grants: []ballast.Grant{c.grant}})
		if ballast.CodeOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Even one that were stored so would administer nothing.
	p := engine.Principal{ID: "p", Name: "p", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin, Names: names}, {Scope: ballast.Global, Role: ballast.Admin, Names: names}}}
	_, err := r.CreateToken(t.Context(), p, ballast.CreateToken{Grants: parsed(ballast.ParseGrant, "acme=reader")})
	wantCode(t, err, ballast.CodeDenied)
	_, err = r.Tokens(t.Context(), p, 10, "")
	wantCode(t, err, ballast.CodeDenied)
	_, err = r.AddTask(t.Context(), p, "flying")
	wantCode(t, err, ballast.CodeDenied)
}

// TestLastUse is held in memory, goes to the index once in a while, and is there after a stop.
func TestLastUse(t *testing.T) {
	db := index.NewMem()
	r := newTimed(t, db)
	made := r.mint(t, ballast.CreateToken{Name: "used"}, "acme=reader")
	gone := r.mint(t, ballast.CreateToken{Name: "gone"}, "acme=reader")
	want := func(what string, at ballast.Time) {
		t.Helper()
		if got := must(r.Token(t.Context(), r.root, made.ID)).LastUsedAt; got != at {
			t.Errorf("%s: used last at %v, want %v", what, got, at)
		}
		for _, listed := range must(r.Tokens(t.Context(), r.root, 10, "")).Tokens {
			if listed.ID == made.ID && listed.LastUsedAt != at {
				t.Errorf("%s: listed as used last at %v, want %v", what, listed.LastUsedAt, at)
			}
		}
	}
	want("made", ballast.Time{})
	r.wantHolder(t, engine.NewSecret(t, made.ID), "not known")
	want("another secret", ballast.Time{})
	r.wantHolder(t, made.Token, "")
	r.wantHolder(t, gone.Token, "")
	minute := ballast.At(r.now().Truncate(time.Minute))
	want("used", minute)
	if at := must(r.opt.Index.LastUse(t.Context(), made.ID)); !at.IsZero() {
		t.Errorf("a request wrote that it was used at %v", at)
	}
	if err := r.RevokeToken(t.Context(), r.root, gone.ID); err != nil {
		t.Fatal(err)
	}
	r.pass(10 * time.Second)
	r.wantHolder(t, made.Token, "")
	want("in the same minute", minute)
	if err := r.StoreUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at := must(r.opt.Index.LastUse(t.Context(), made.ID)); at != minute {
		t.Errorf("stored %v, want %v", at, minute)
	}
	r.pass(time.Hour)
	r.wantHolder(t, made.Token, "")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if at := must(r.opt.Index.LastUse(t.Context(), made.ID)); at != ballast.At(r.now().Truncate(time.Minute)) {
		t.Errorf("after a stop it is %v", at)
	}
	if at := must(r.opt.Index.LastUse(t.Context(), gone.ID)); !at.IsZero() {
		t.Errorf("of one that is gone it is %v", at)
	}
}

// TestScannersFindTokens holds docs/tokens.md to the tokens: the expression finds each, the example passes the checksum.
func TestScannersFindTokens(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/tokens.md")))
	_, rest, ok := strings.Cut(page, "```regexp\n")
	expression, after, cut := strings.Cut(rest, "\n```")
	if !ok || !cut {
		t.Fatal("docs/tokens.md has no expression")
	}
	find := regexp.MustCompile(expression)
	r := newTimed(t, index.NewMem())
	for range 50 {
		token := r.mint(t, ballast.CreateToken{}, "acme=reader").Token.Reveal()
		for _, text := range []string{token, "export BALLAST_TOKEN=" + token + "\n", `{"token":"` + token + `"}`, "hf_" + token + " ", "https://x:" + token + "@host/"} {
			if got := find.FindString(text); strings.TrimPrefix(got, "hf_") != token {
				t.Fatalf("in %q it finds %q", text, got)
			}
		}
		for _, no := range []string{token[:len(token)-1], token + "0", "x" + token, strings.Replace(token, "bal_", "bal-", 1)} {
			if got := find.FindString(no); got != "" {
				t.Fatalf("in %q it finds %q", no, got)
			}
		}
	}
	example := find.FindString(after)
	if !engine.WellFormed(example) || engine.WellFormed(example[:len(example)-1]+"1") {
		t.Errorf("the example %q does not pass, or passes with another end", example)
	}
}

// Planted violations of what is kept of tokens are reported.
func TestPlantedViolationsOfTokens(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(planter)
		want  engine.Invariant
		says  string
	}{
		"a use of nobody's":       {func(p planter) { p.edit('T', `"name":"used"`, `"name":"used"`); p.edit('T', "", "") }, engine.InvariantKept, "and there is no such token"},
		"an admin of some names":  {func(p planter) { p.edit('T', `"role":"reader"`, `"role":"admin"`) }, engine.InvariantScopes, "administers a whole scope"},
		"another's key":           {func(p planter) { p.edit('T', `"value":{"id":"`, `"value":{"id":"x`) }, engine.InvariantKept, "lies under the key of"},
		"a secret without a hash": {func(p planter) { p.edit('T', `"hash":"`, `"hash":"AAAA","x":"`) }, engine.InvariantBounded, "the hash of its secret has 3 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			m, r := memRig(t, nil)
			r.lost = true // it ends damaged
			made := must(r.CreateToken(t.Context(), admin, ballast.CreateToken{Name: "used", Grants: parsed(ballast.ParseGrant, "acme::llama-*=reader")}))
			must(r.Authenticate(t.Context(), made.Token))
			r.Close()
			if found := violations(t, r.opt); len(found) > 0 {
				t.Fatalf("before: %v", found)
			}
			tc.plant(planter{t, r.index, m})
			found := violations(t, r.opt)
			if !slices.ContainsFunc(found, func(v engine.Violation) bool {
				return v.Invariant == tc.want && strings.Contains(v.What, tc.says)
			}) {
				t.Errorf("reported %v, want %s: …%s…", found, tc.want, tc.says)
			}
		})
	}
}
