package api

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// FuzzHandler drives the face before a real engine with a short sequence of requests of two tenants and of strangers.
// Whatever they send: no panic, no answer of class 5xx but for an injected fault, each answer as docs/openapi.yaml says,
// nothing of one tenant's in an answer to another, and every invariant holds at the end.
func FuzzHandler(f *testing.F) {
	for seed := range uint64(seeds / 4) { // TestFuzzReachesEveryRoute plays them all
		f.Add(randomTape(seed))
	}
	f.Fuzz(func(t *testing.T, tape []byte) {
		newPlay(t, nil, t.Errorf).run(t, tape)
	})
}

// seeds is how many sequences a plain test run plays at least.
const seeds = 160

func randomTape(seed uint64) []byte {
	b := make([]byte, 1<<10)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// TestFuzzReachesEveryRoute is a control: a target that only ever sees refusals would find nothing. The seeds alone make
// every route succeed for somebody and refuse somebody.
func TestFuzzReachesEveryRoute(t *testing.T) {
	outcomes := map[string]int{}
	for seed := range uint64(seeds) {
		p := newPlay(t, nil, t.Errorf)
		p.run(t, randomTape(seed))
		for k, n := range p.outcomes {
			outcomes[k] += n
		}
	}
	for _, k := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%5d %s", outcomes[k], k)
	}
	if outcomes[afterFault] == 0 {
		t.Error("no injected fault was met")
	}
	for _, r := range (&server{}).routes() {
		for _, class := range []string{"accepted", "refused"} {
			if k := r.method + " " + r.path + " " + class; outcomes[k] == 0 && !(isOpen(r.path) && class == "refused") {
				t.Errorf("never: %s", k)
			}
		}
	}
}

// TestFuzzReportsBrokenServices is the other control: each kind of wrong is found within the seeds.
func TestFuzzReportsBrokenServices(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(Service) Service
		want   string
	}{
		"a list of everybody's": {func(s Service) Service { return listsAll{s} }, "shows what only acme wrote"},
		"a version of another":  {func(s Service) Service { return readsAll{s} }, "shows what only acme wrote"},
		"everybody's events":    {func(s Service) Service { return hearsAll{s} }, "shows what only acme wrote"},
		"another's history":     {func(s Service) Service { return remembersAll{s} }, "shows what only acme wrote"},
		"another's retirement":  {func(s Service) Service { return retiresAll{s} }, "shows what only acme wrote"},
		"a write for another":   {func(s Service) Service { return writesAll{s} }, "acts on what is acme's"},
		"an untyped error":      {func(s Service) Service { return untyped{s} }, "answered 500"},
		"a panic":               {func(s Service) Service { return panics{s} }, "answered 500"},
		"a field out of form":   {func(s Service) Service { return malformed{s} }, "openapi.yaml"},
		"anybody's token":       {func(s Service) Service { return letsIn{s} }, "let in"},
	} {
		t.Run(name, func(t *testing.T) {
			var found []string
			said := func(report string) bool { return strings.Contains(report, c.want) } // which report comes first is by chance
			for seed := uint64(0); seed < seeds && !slices.ContainsFunc(found, said); seed++ {
				p := newPlay(t, c.breaks, func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) })
				p.run(t, randomTape(seed))
			}
			if !slices.ContainsFunc(found, said) {
				t.Errorf("found %.300q, want %q", found, c.want)
			}
		})
	}
}

// Services that are broken in one way each. owner is who they take everybody for.
var owner = engine.Principal{ID: "o", Name: "owner", Grants: []ballast.Grant{{Scope: acme, Role: ballast.Admin}}}

type (
	listsAll     struct{ Service }
	readsAll     struct{ Service }
	writesAll    struct{ Service }
	hearsAll     struct{ Service }
	remembersAll struct{ Service }
	retiresAll   struct{ Service }
	untyped      struct{ Service }
	panics       struct{ Service }
	malformed    struct{ Service }
	letsIn       struct{ Service }
)

func (s listsAll) Models(c ctx, _ principal, l engine.ListModels) (ballast.ModelsPage, error) {
	return s.Service.Models(c, owner, l)
}

func (s readsAll) Version(c ctx, _ principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	return s.Service.Version(c, owner, ref)
}

func (s hearsAll) Events(c ctx, _ principal, after string, limit int, wait time.Duration) (ballast.EventsPage, error) {
	return s.Service.Events(c, owner, after, limit, wait)
}

func (s remembersAll) Production(c ctx, _ principal, _ ballast.Scope, name ballast.Name, limit int, cursor string) (ballast.ProductionPage, error) {
	return s.Service.Production(c, owner, acme, name, limit, cursor)
}

func (s retiresAll) Retire(c ctx, _ principal, own engine.Own) (ballast.VersionInfo, bool, error) {
	return s.Service.Retire(c, owner, own)
}

func (s writesAll) AbortUpload(c ctx, _ principal, id string) error {
	return s.Service.AbortUpload(c, owner, id)
}

func (untyped) Aliases(ctx, principal, ballast.Scope, ballast.Name) (ballast.AliasesPage, error) {
	return ballast.AliasesPage{}, errors.New("disk on fire")
}

func (panics) Model(ctx, principal, ballast.Scope, ballast.Name) (ballast.ModelInfo, error) {
	panic(http.StatusTeapot)
}

func (s malformed) Versions(c ctx, p principal, scope ballast.Scope, name ballast.Name, l engine.ListVersions) (ballast.VersionsPage, error) {
	page, err := s.Service.Versions(c, p, scope, name, l)
	for i := range page.Versions {
		page.Versions[i].Digest = "sha256:0"
	}
	return page, err
}

func (s letsIn) Authenticate(c ctx, token ballast.Secret) (engine.Principal, error) {
	p, err := s.Service.Authenticate(c, token)
	if err != nil {
		return engine.Principal{Grants: []ballast.Grant{{Scope: ballast.Global, Role: ballast.Reader}}}, nil
	}
	return p, nil
}
