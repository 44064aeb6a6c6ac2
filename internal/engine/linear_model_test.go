package engine_test

import (
	"github.com/ballast-registry/ballast"
)

// Bounds of what may happen to one name in one history. Number 0 is none, everywhere.
const (
	linearUploads  = 40
	linearVersions = 40
	linearAliases  = 2
	linearContents = 3
	linearLabels   = 2 // that uploads ask for by name; greater ones are allocated
	linearAttempts = 6
)

// linearState is all that there is to a name, one call at a time. It is a value, as the checker wants it.
type linearState struct {
	uploads  [linearUploads]linearUpload   // by number
	versions [linearVersions]linearVersion // by label
	aliases  [linearAliases]linearAlias
}

type linearUpload struct {
	status  linearStatus
	attempt int8
	label   int8 // asked for, or known since the seal
	content int8 // since the commit was accepted
}

type linearVersion struct {
	content int8
	ready   bool
}

type linearAlias struct{ to, revision int8 }

type linearStatus int8

const (
	linearPending linearStatus = iota + 1
	linearVerifying
	linearSealed // shown as verifying
	linearDone
	linearAborted
)

func (s linearStatus) shown() ballast.UploadStatus {
	return [...]ballast.UploadStatus{
		"", ballast.UploadPending, ballast.UploadVerifying, ballast.UploadVerifying, ballast.UploadDone, ballast.UploadAborted,
	}[s]
}

func (s linearStatus) open() bool { return s >= linearPending && s <= linearSealed }

// linearStep moves the state, and reports whether it could have answered what it did.
type linearStep func(linearState) (linearState, bool)

// linearLabelOf is the label that an attempt asks for: the last third leaves it out.
func linearLabelOf(attempt int8) int8 {
	if label := (attempt + 1) / 2; label <= linearLabels {
		return label
	}
	return 0
}

// find returns the number of the upload that is the one, or 0.
func (s *linearState) find(is func(linearUpload) bool) int8 {
	for n, u := range s.uploads {
		if n > 0 && u.status.open() && is(u) {
			return int8(n)
		}
	}
	return 0
}

// latest is the greatest label that is ready, or 0.
func (s *linearState) latest(is func(linearVersion) bool) (label int8) {
	for l, v := range s.versions {
		if v.ready && is(v) {
			label = int8(l)
		}
	}
	return label
}

// next is 1 + the greatest label ever used or now held.
func (s *linearState) next() (label int8) {
	for l, v := range s.versions {
		if v.content > 0 {
			label = int8(l)
		}
	}
	for _, u := range s.uploads {
		if u.status.open() {
			label = max(label, u.label)
		}
	}
	return label + 1
}

// linearOutcome is what a call answered, in numbers.
type linearOutcome struct {
	code     ballast.Code
	upload   int8 // made or found; of a conflict the holder
	created  bool
	status   ballast.UploadStatus
	label    int8
	content  int8
	ready    bool
	revision int8
}

// create registers an upload: one attempt has one open upload, one label one open upload and one content.
func (out linearOutcome) create(attempt int8) linearStep {
	label := linearLabelOf(attempt)
	return func(s linearState) (linearState, bool) {
		if open := s.find(func(u linearUpload) bool { return u.attempt == attempt }); open > 0 {
			return s, out.code == "" && !out.created && out.upload == open && out.status == s.uploads[open].status.shown()
		}
		if label > 0 {
			if v := s.versions[label]; v.content > 0 {
				return s, out.code == ballast.CodeAlreadyExists && out.content == v.content
			}
			if holder := s.find(func(u linearUpload) bool { return u.label == label }); holder > 0 {
				return s, out.code == ballast.CodeConflict && out.upload == holder
			}
		}
		if out.code != "" || !out.created || out.status != ballast.UploadPending || s.uploads[out.upload].status != 0 {
			return s, false
		}
		s.uploads[out.upload] = linearUpload{status: linearPending, attempt: attempt, label: label}
		return s, true
	}
}

// A commit is three steps, each seen by somebody: it fixes the files, it passes the point of no return, and it shows the
// version to readers. All of them lie between the call and an answer of done.

func linearAccept(n, content int8) linearStep {
	return func(s linearState) (linearState, bool) {
		if s.uploads[n].status == linearPending {
			s, _ = linearTryAccept(n, content)(s)
		}
		u := s.uploads[n]
		return s, u.status >= linearVerifying && u.status <= linearDone && u.content == content
	}
}

// linearTryAccept is the step of a commit that did not succeed: it may have come this far.
func linearTryAccept(n, content int8) linearStep {
	return func(s linearState) (linearState, bool) {
		if s.uploads[n].status == linearPending {
			s.uploads[n].status, s.uploads[n].content = linearVerifying, content
		}
		return s, true
	}
}

func linearSeal(n, label int8) linearStep {
	return func(s linearState) (linearState, bool) {
		s, _ = linearTrySeal(n)(s)
		u := s.uploads[n]
		return s, (u.status == linearSealed || u.status == linearDone) && u.label == label
	}
}

func linearTrySeal(n int8) linearStep {
	return func(s linearState) (linearState, bool) {
		u := &s.uploads[n]
		if u.status != linearVerifying {
			return s, true
		}
		latest := s.latest(func(linearVersion) bool { return true })
		switch {
		case u.label == 0 && latest > 0 && s.versions[latest].content == u.content:
			u.status, u.label = linearDone, latest // nothing is minted
			return s, true
		case u.label == 0:
			u.label = s.next()
		}
		u.status = linearSealed
		s.versions[u.label] = linearVersion{content: u.content}
		return s, true
	}
}

func linearReady(n int8) linearStep {
	return func(s linearState) (linearState, bool) {
		s, _ = linearTryReady(n)(s)
		return s, s.uploads[n].status == linearDone
	}
}

func linearTryReady(n int8) linearStep {
	return func(s linearState) (linearState, bool) {
		if u := &s.uploads[n]; u.status == linearSealed {
			u.status = linearDone
			s.versions[u.label].ready = true
		}
		return s, true
	}
}

// linearGone is the answer to a commit that its upload was aborted.
func linearGone(n int8) linearStep {
	return func(s linearState) (linearState, bool) { return s, s.uploads[n].status == linearAborted }
}

// linearOther is the answer to a commit that the upload publishes other files.
func linearOther(n, content int8) linearStep {
	return func(s linearState) (linearState, bool) {
		u := s.uploads[n]
		return s, u.status >= linearVerifying && u.status <= linearDone && u.content != content
	}
}

func (out linearOutcome) abort(n int8) linearStep {
	return func(s linearState) (linearState, bool) {
		if s.uploads[n].status == linearSealed {
			return s, out.code == ballast.CodeConflict
		}
		s, _ = linearTryAbort(n)(s)
		return s, out.code == ""
	}
}

func linearTryAbort(n int8) linearStep {
	return func(s linearState) (linearState, bool) {
		if u := &s.uploads[n]; u.status == linearPending || u.status == linearVerifying {
			u.status = linearAborted
		}
		return s, true
	}
}

// show reads an upload.
func (out linearOutcome) show(n int8) linearStep {
	return func(s linearState) (linearState, bool) {
		u := s.uploads[n]
		if out.code != "" || out.status != u.status.shown() {
			return s, false
		}
		return s, u.status != linearDone || out.label == u.label && out.content == s.versions[u.label].content
	}
}

// read reads a version; which finds its label, 0 for none. Writers see what is sealed.
func (out linearOutcome) read(writer bool, which func(*linearState) int8) linearStep {
	return func(s linearState) (linearState, bool) {
		label := which(&s)
		v := s.versions[label]
		if v.content == 0 || !v.ready && !writer {
			return s, out.code == ballast.CodeNotFound
		}
		return s, out.code == "" && out.label == label && out.content == v.content && out.ready == v.ready
	}
}

// setAlias moves an alias; ifMatch is the revision that it must have, −1 for any.
func (out linearOutcome) setAlias(alias, to, ifMatch int8) linearStep {
	return func(s linearState) (linearState, bool) {
		old := s.aliases[alias]
		switch {
		case !s.versions[to].ready:
			return s, out.code == ballast.CodeNotFound
		case ifMatch >= 0 && ifMatch != old.revision:
			return s, out.code == ballast.CodePrecondition
		}
		s, _ = linearTrySetAlias(alias, to, ifMatch)(s)
		return s, out.code == "" && out.label == to && out.revision == s.aliases[alias].revision
	}
}

func linearTrySetAlias(alias, to, ifMatch int8) linearStep {
	return func(s linearState) (linearState, bool) {
		if a := &s.aliases[alias]; s.versions[to].ready && a.to != to && (ifMatch < 0 || ifMatch == a.revision) {
			*a = linearAlias{to, a.revision + 1}
		}
		return s, true
	}
}

func (out linearOutcome) deleteAlias(alias, ifMatch int8) linearStep {
	return func(s linearState) (linearState, bool) {
		old := s.aliases[alias]
		switch {
		case old.revision == 0:
			return s, out.code == ballast.CodeNotFound
		case ifMatch >= 0 && ifMatch != old.revision:
			return s, out.code == ballast.CodePrecondition
		}
		s.aliases[alias] = linearAlias{}
		return s, out.code == ""
	}
}

// listAliases reads all aliases of the name at once.
func listAliases(code ballast.Code, got [linearAliases]linearAlias) linearStep {
	return func(s linearState) (linearState, bool) {
		if s.latest(func(linearVersion) bool { return true }) == 0 {
			return s, code == ballast.CodeNotFound
		}
		return s, code == "" && got == s.aliases
	}
}
