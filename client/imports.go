package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/ballast-registry/ballast"
)

// CreateImport has the registry publish what lies in the object store, in the scope's inbox or where its operator lets it
// import from. It goes on by itself: see Import. The same call again while it is under way returns the same import.
//
// Errors: not_found when there is nothing to import at the source, or when it is none of the scope's; those of CreateUpload
// for the label; rate_limited while too many are under way.
func (c *Client) CreateImport(ctx context.Context, in ballast.CreateImport) (ballast.Import, error) {
	return fetch[ballast.Import](ctx, c, call{method: http.MethodPost, path: "/v1/imports", in: in})
}

// Import returns the state of an import. With wait > 0 the registry holds the answer that long at most, until the import
// is settled and has removed the sources that it moves.
func (c *Client) Import(ctx context.Context, id string, wait time.Duration) (ballast.Import, error) {
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	return fetch[ballast.Import](ctx, c, call{method: http.MethodGet, path: "/v1/imports/" + escape(id), query: q, wait: wait})
}

// Imports yields the imports into a scope, the newest first; a zero scope is the principal's own. They have no Result.
func (c *Client) Imports(ctx context.Context, scope ballast.Scope) iter.Seq2[ballast.Import, error] {
	q := url.Values{}
	if !scope.IsZero() {
		q.Set("scope", scope.String())
	}
	return list(ctx, c, "/v1/imports", q, func(p ballast.ImportsPage) ([]ballast.Import, string) { return p.Imports, p.Cursor })
}

// CancelImport gives an import up, whoever began it; writers of its scope may. Errors: conflict once it is sealed.
func (c *Client) CancelImport(ctx context.Context, id string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: "/v1/imports/" + escape(id)})
	return err
}

// importPoll is how long the registry holds an answer about an import; progress comes so often.
const importPoll = 2 * time.Second

// FollowImport waits until an import is settled and has removed the sources that it moves. The error is what it failed with;
// of one that was given up it is lease_lost. Progress tells of PhaseHash, PhaseCopy and PhaseVerify, and in notes of what
// the import waits for.
func (c *Client) FollowImport(ctx context.Context, m ballast.Import, progress Progress) (ballast.Import, error) {
	f := followed{progress: progress}
	for f.tell(m); !m.Over(); f.tell(m) {
		asked := time.Now()
		now, err := c.Import(ctx, m.ID, importPoll)
		if err != nil {
			return m, err
		}
		m = now
		if !m.Over() {
			if err := dontHurry(ctx, asked); err != nil {
				return m, err
			}
		}
	}
	switch {
	case m.Status == ballast.UploadDone:
		return m, nil
	case m.Error != nil:
		return m, m.Error
	}
	return m, ballast.Errorf(ballast.CodeLeaseLost, "import %s is %s", m.ID, m.Status)
}

// followed is how much of an import was told of.
type followed struct {
	progress Progress
	told     *ballast.ImportProgress // nil: nothing yet
	waiting  string
}

func (f *followed) tell(m ballast.Import) {
	if w := m.Waiting; w != nil && w.Detail != f.waiting {
		f.waiting = w.Detail
		f.progress.tell(Event{Phase: PhaseHash, Note: "the import waits: " + w.Detail})
	}
	now := m.Progress
	if now == nil && m.Status == ballast.UploadDone && f.told != nil { // the rest came in between
		all := f.told.Bytes
		now = &ballast.ImportProgress{BytesHashed: all, BytesCopied: all, BytesVerified: all}
	}
	if now == nil {
		return
	}
	if f.told == nil {
		f.told = &ballast.ImportProgress{Bytes: now.Bytes}
		for _, phase := range []Phase{PhaseHash, PhaseCopy, PhaseVerify} {
			f.progress.tell(Event{Phase: phase, Files: now.Files, Total: now.Bytes})
		}
	}
	f.progress.bytes(PhaseHash, "", now.BytesHashed-f.told.BytesHashed)
	f.progress.bytes(PhaseCopy, "", now.BytesCopied-f.told.BytesCopied)
	f.progress.bytes(PhaseVerify, "", now.BytesVerified-f.told.BytesVerified)
	f.told.BytesHashed, f.told.BytesCopied, f.told.BytesVerified = now.BytesHashed, now.BytesCopied, now.BytesVerified
}
