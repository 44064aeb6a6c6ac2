package hub

import (
	"net/http"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// commitDigits are the digits of a commit. Clients take nothing else for one that cannot change.
const commitDigits = 40

// commitOf is the commit of a version. Versions with the same files share it.
func commitOf(v ballast.VersionInfo) string { return v.Digest.Encoded()[:commitDigits] }

// isLatest reports whether a revision means the latest version. HEAD is what the JavaScript client asks for.
func isLatest(rev string) bool { return rev == "" || rev == "main" || rev == "HEAD" || rev == "latest" }

// name is the name that {repo} spells. What cannot be one reads as a repository that does not exist.
func (r *request) name(w http.ResponseWriter) (ballast.Name, error) {
	name, err := ballast.ParseName(r.repo)
	if err != nil {
		w.Header().Set(headerCode, repoNotFound)
		return name, ballast.Errorf(ballast.CodeNotFound, "%q: not found", r.repo)
	}
	return name, nil
}

// ref is the reference that a revision of a repository stands for.
func (h *Hub) ref(r *request, name ballast.Name) (ballast.Ref, error) {
	rev := r.rev
	for _, kind := range []string{"refs/heads/", "refs/tags/"} {
		rev = strings.TrimPrefix(rev, kind)
	}
	switch {
	case isLatest(rev):
		return ballast.Ref{Name: name}, nil
	case ballast.IsCommit(rev):
		return h.service.AtCommit(r.Context(), r.principal, name, rev)
	}
	for _, selector := range []string{rev, "@" + rev} {
		if ref, err := ballast.ParseRefIn(name.String(), selector); err == nil {
			return ref, nil
		}
	}
	return ballast.Ref{}, noRevision(r, name)
}

// noRevision is the one answer for a revision that is absent and one that the caller may not see.
func noRevision(r *request, name ballast.Name) error {
	return ballast.Errorf(ballast.CodeNotFound, "%s has no revision %q: it is main, a version, an alias or a commit of 40 digits", name, r.rev)
}

// snapshot opens the revision that a request names, and names in X-Error-Code what is missing.
func (h *Hub) snapshot(w http.ResponseWriter, r *request) (engine.Snapshot, error) {
	name, err := r.name(w)
	if err != nil {
		return engine.Snapshot{}, err
	}
	ref, err := h.ref(r, name)
	if err != nil {
		return engine.Snapshot{}, h.missing(w, r, name, err)
	}
	s, err := h.service.Snapshot(r.Context(), r.principal, ref)
	if err != nil {
		return s, h.missing(w, r, name, err)
	}
	w.Header().Set(headerCommit, commitOf(s.Version))
	return s, nil
}

// missing says in X-Error-Code whether it is the repository or its revision that was not found. A name that the
// principal does not see is answered like one that nobody has.
func (h *Hub) missing(w http.ResponseWriter, r *request, name ballast.Name, err error) error {
	if ballast.CodeOf(err) != ballast.CodeNotFound {
		return err
	}
	_, seen := h.service.Model(r.Context(), r.principal, ballast.Scope{}, name)
	switch {
	case seen == nil:
		w.Header().Set(headerCode, revisionNotFound)
		return noRevision(r, name)
	case ballast.CodeOf(seen) != ballast.CodeNotFound:
		return seen
	}
	w.Header().Set(headerCode, repoNotFound)
	return ballast.Errorf(ballast.CodeNotFound, "%s: not found, or not open to this token", name)
}

// pinned is the reference to exactly the files of a snapshot.
func pinned(s engine.Snapshot) ballast.Ref {
	return ballast.Ref{Scope: s.Version.Scope, Name: s.Version.Name, Digest: s.Version.Digest}
}
