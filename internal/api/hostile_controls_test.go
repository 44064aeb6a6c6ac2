package api

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv/hostile"
)

var victim = must(ballast.ParseScope(hostile.Victim))

// TestHostileTenantNotices is the control: for each group of attacks a service, or a face, that is wrong in one way, and
// fails there.
func TestHostileTenantNotices(t *testing.T) {
	for name, c := range map[string]struct {
		group  string // of attacks
		breaks func(*memory) Service
		doctor func(http.Handler) http.Handler
		want   string // in a report
	}{
		"a version of anybody":        {"another's version", func(m *memory) Service { return readsVictims{m.Engine} }, nil, "is not refused"},
		"who says what is there":      {"another's version", func(m *memory) Service { return hintsVictims{m.Engine} }, nil, "tells what is there"},
		"a model of anybody":          {"another's model", func(m *memory) Service { return saysWhatIsThere{m.Engine} }, nil, "tells what is there"},
		"uploads without a scope":     {"another's id", func(m *memory) Service { return anybodysUploads{m.Engine} }, nil, "is not refused"},
		"uploads that anybody ends":   {"another's id", func(m *memory) Service { return endsUploads{m.Engine} }, nil, "the victim's"},
		"imports without a scope":     {"another's id", func(m *memory) Service { return anybodysImports{m.Engine} }, nil, "is not refused"},
		"tokens of anybody":           {"another's id", func(m *memory) Service { return revokesTokens{m.Engine} }, nil, "the victim's"},
		"a scope as it is named":      {"another's scope", func(m *memory) Service { return listsNamed{m.Engine} }, nil, "tells what is there"},
		"a base of anybody":           {"another's key as reference", func(m *memory) Service { return findsBases{m.Engine} }, nil, "is not refused"},
		"bytes of anybody":            {"another's digest", func(m *memory) Service { return knowsBytes{m.Engine} }, nil, "tells what is there"},
		"a cursor that is believed":   {"another's cursor", func(m *memory) Service { return believesCursors{m.Engine} }, nil, "names the victim"},
		"everybody's list":            {"one's own lists", func(m *memory) Service { return listsVictims{m.Engine} }, nil, "names the victim"},
		"everybody's tasks":           {"everybody's", func(m *memory) Service { return addsTasks{m.Engine} }, nil, "is not refused"},
		"a stranger is somebody":      {"one's own lists", func(m *memory) Service { return letsIn{m.Engine} }, nil, "is let in"},
		"a key made of a path":        {"crafted: the path of a file", func(m *memory) Service { return signsByPath{m.Engine, m.store} }, nil, "signs outside"},
		"a path that is decoded anew": {"crafted: the path of a file", nil, decodesAnew, "no answer"},
		"a path that is cleaned":      {"crafted: a name", nil, cleansPaths, "is not refused"},
		"a name that is folded":       {"crafted: a name", nil, foldsPaths, "is not refused"},
		"a name that ends at NUL":     {"crafted: a name", nil, cutsPaths, "is not refused"},
		"a service that breaks":       {"crafted: a base", func(m *memory) Service { return breaksOnBases{m.Engine} }, nil, "a failure of the service"},
	} {
		t.Run(name, func(t *testing.T) {
			w := besiege(t, c.breaks, c.doctor)
			var found strings.Builder
			note := func(format string, args ...any) { fmt.Fprintf(&found, format+"\n", args...) }
			tried := 0
			for _, a := range append(hostile.NativeAttacks(), hostile.CraftedAttacks(hostile.Native)...) {
				if a.Group == c.group && !strings.Contains(found.String(), c.want) {
					w.Try(a, note)
					tried++
				}
			}
			w.verify(note)
			if !strings.Contains(found.String(), c.want) {
				t.Errorf("%d attacks reported %.500q, want %q", tried, found.String(), c.want)
			}
		})
	}
}

// Services that take everybody for the victim in one call, or are wrong in another way.
type (
	readsVictims    struct{ *engine.Engine }
	hintsVictims    struct{ *engine.Engine }
	anybodysUploads struct{ *engine.Engine }
	endsUploads     struct{ *engine.Engine }
	anybodysImports struct{ *engine.Engine }
	revokesTokens   struct{ *engine.Engine }
	listsNamed      struct{ *engine.Engine }
	findsBases      struct{ *engine.Engine }
	knowsBytes      struct{ *engine.Engine }
	believesCursors struct{ *engine.Engine }
	listsVictims    struct{ *engine.Engine }
	addsTasks       struct{ *engine.Engine }
	breaksOnBases   struct{ *engine.Engine }
	signsByPath     struct {
		*engine.Engine
		store *objstoretest.Mem
	}
)

func (s readsVictims) Version(c ctx, p principal, ref ballast.Ref) (ballast.VersionInfo, error) {
	v, err := s.Engine.Version(c, p, ref)
	if err != nil && ref.Scope == victim {
		return s.Engine.Version(c, asOwner(victim), ref)
	}
	return v, err
}

func (s hintsVictims) Files(c ctx, p principal, ref ballast.Ref, l engine.ListFiles) (ballast.FilesPage, error) {
	page, err := s.Engine.Files(c, p, ref, l)
	if err != nil {
		if _, there := s.Engine.Files(c, asOwner(victim), ref, l); there == nil {
			err = ballast.Errorf(ballast.CodeDenied, "not yours")
		}
	}
	return page, err
}

func (s anybodysUploads) Upload(c ctx, _ principal, id string, wait time.Duration) (ballast.Upload, error) {
	return s.Engine.Upload(c, asOwner(victim), id, wait)
}

func (s endsUploads) AbortUpload(c ctx, p principal, id string) error {
	err := s.Engine.AbortUpload(c, p, id)
	_ = s.Engine.AbortUpload(c, asOwner(victim), id)
	return err
}

func (s anybodysImports) Import(c ctx, _ principal, id string, wait time.Duration) (ballast.Import, error) {
	return s.Engine.Import(c, asOwner(victim), id, wait)
}

func (s revokesTokens) RevokeToken(c ctx, p principal, id string) error {
	err := s.Engine.RevokeToken(c, p, id)
	_ = s.Engine.RevokeToken(c, asOwner(victim), id)
	return err
}

func (s listsNamed) Models(c ctx, p principal, l engine.ListModels) (ballast.ModelsPage, error) {
	if !l.Scope.IsZero() {
		p = asOwner(l.Scope)
	}
	return s.Engine.Models(c, p, l)
}

func (s findsBases) AllVersions(c ctx, p principal, l engine.ListAllVersions) (ballast.VersionsPage, error) {
	if l.Filter.Base != (ballast.Ref{}) {
		if _, err := s.Engine.Version(c, asOwner(victim), l.Filter.Base); err == nil {
			l.Filter.Base = ballast.Ref{}
		}
	}
	return s.Engine.AllVersions(c, p, l)
}

func (s knowsBytes) Blobs(c ctx, p principal, id string, req ballast.BlobsRequest) (ballast.BlobsResponse, error) {
	a, err := s.Engine.Blobs(c, p, id, req)
	v, _ := s.Engine.Files(c, asOwner(victim), must(ballast.ParseRef("subject:7.7.7")), engine.ListFiles{Limit: 10})
	for i, b := range a.Blobs {
		for _, f := range v.Files {
			if f.SHA256 == b.Digest.Encoded() {
				a.Blobs[i] = ballast.BlobAnswer{Digest: b.Digest, Size: b.Size, State: ballast.BlobVerified}
			}
		}
	}
	return a, err
}

func (s believesCursors) Models(c ctx, p principal, l engine.ListModels) (ballast.ModelsPage, error) {
	if l.Cursor != "" {
		p = asOwner(victim)
	}
	return s.Engine.Models(c, p, l)
}

func (s listsVictims) Models(c ctx, _ principal, l engine.ListModels) (ballast.ModelsPage, error) {
	return s.Engine.Models(c, asOwner(victim), l)
}

func (s addsTasks) AddTask(c ctx, _ principal, task string) (ballast.TaskInfo, error) {
	return s.Engine.AddTask(c, asOwner(ballast.Global), task)
}

func (breaksOnBases) AllVersions(ctx, principal, engine.ListAllVersions) (ballast.VersionsPage, error) {
	panic("a defect")
}

// File signs for a key that it makes of the path, as a service would that keeps files by name.
func (s signsByPath) File(c ctx, p principal, ref ballast.Ref, name string) (ballast.FileInfo, error) {
	r, err := s.store.SignGet(c, path.Join(p.Home().Path(), "files", name), "", time.Minute)
	return ballast.FileInfo{Path: name, Size: 1, Request: &r}, err
}

func onPaths(h http.Handler, change func(path string) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.URL.RawPath = change(r.URL.Path), ""
		h.ServeHTTP(w, r)
	})
}

func decodesAnew(h http.Handler) http.Handler {
	return onPaths(h, func(path string) string {
		decoded, err := url.PathUnescape(path)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return decoded
	})
}

func cleansPaths(h http.Handler) http.Handler { return onPaths(h, path.Clean) }

func foldsPaths(h http.Handler) http.Handler {
	return onPaths(h, func(path string) string { return strings.ToLower(strings.ToUpper(path)) })
}

func cutsPaths(h http.Handler) http.Handler {
	return onPaths(h, func(path string) string {
		before, after, _ := strings.Cut(path, "\x00")
		if _, rest, ok := strings.Cut(after, "/"); ok {
			return before + "/" + rest
		}
		return before
	})
}
