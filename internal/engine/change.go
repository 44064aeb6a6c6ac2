package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

// Own says which version a change is about, and from which revision.
type Own struct {
	Ref      ballast.Ref
	IfMatch  *int64 // a revision; nil: whatever it is
	IfExists bool   // to delete what is not there is a success
}

// own returns the key of the version that a change is about. It lies in the scope that the reference names, else in the
// principal's own, and never in another by fallback. Retired versions are found by their label.
func (e *Engine) own(ctx context.Context, p Principal, ref ballast.Ref, role ballast.Role) (ballast.Key, error) {
	p.asks(ctx, ref)
	scope, err := e.changeable(p, ref.Scope, ref.Name, role)
	if err != nil {
		return ballast.Key{}, err
	}
	ref.Scope = scope
	if !ref.Version.IsZero() {
		return ballast.Key{Scope: ref.Scope, Name: ref.Name, Version: ref.Version}, nil
	}
	v, err := e.index.Resolve(ctx, index.Lookup{Scopes: []ballast.Scope{ref.Scope}, Retired: true}, ref)
	return v.Key(), err
}

// scopeOf is where a change takes place: in the scope that is named, else in the principal's own.
func (p Principal) scopeOf(named ballast.Scope) ballast.Scope {
	if named.IsZero() {
		return p.Home()
	}
	return named
}

// Patch changes what people say of a version; its stage takes the role maintainer. Errors: not_found, denied, invalid,
// too_large; precondition for another revision, or a move of the stage that is not allowed.
func (e *Engine) Patch(ctx context.Context, p Principal, own Own, req ballast.PatchVersion) (ballast.VersionInfo, error) {
	role := ballast.Writer
	if req.Stage != "" {
		role = ballast.Maintainer
	}
	k, err := e.own(ctx, p, own.Ref, role)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	v, err := e.index.Patch(ctx, k, index.Change{By: p.By(), IfRevision: own.IfMatch}, req.Metadata, req.Stage)
	return e.changedVersion(ctx, v, err)
}

// changedVersion shows a version that a change has left.
func (e *Engine) changedVersion(ctx context.Context, v index.Version, err error) (ballast.VersionInfo, error) {
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	e.changed.notify(v.Scope)
	shown, err := e.showVersions(ctx, v)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	return shown[0], nil
}

// Promote puts a version into production, and what was there back to staged. Errors: not_found, denied, retired;
// precondition for another revision, or a stage that cannot be promoted.
func (e *Engine) Promote(ctx context.Context, p Principal, own Own, reason string) (ballast.VersionInfo, error) {
	if err := checkReason(reason, false); err != nil {
		return ballast.VersionInfo{}, err
	}
	k, err := e.own(ctx, p, own.Ref, ballast.Maintainer)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	v, err := e.index.Promote(ctx, k, index.Change{By: p.By(), IfRevision: own.IfMatch}, reason)
	return e.changedVersion(ctx, v, err)
}

func checkReason(reason string, required bool) error {
	bad := func(r rune) bool { return r < 0x20 || r == 0x7f }
	switch {
	case required && strings.TrimSpace(reason) == "":
		return ballast.Errorf(ballast.CodeInvalid, "reason: say why; it is kept in the history")
	case len(reason) > ballast.MaxReasonBytes:
		return ballast.Errorf(ballast.CodeInvalid, "reason: %d bytes; at most %d", len(reason), ballast.MaxReasonBytes)
	case !utf8.ValidString(reason) || strings.ContainsFunc(reason, bad):
		return ballast.Errorf(ballast.CodeInvalid, "reason: holds a control character or invalid UTF-8")
	}
	return nil
}

// Rollback puts the newest earlier version of production that is still served back. Errors: not_found, denied,
// precondition, invalid without a reason.
func (e *Engine) Rollback(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name, reason string) (ballast.VersionInfo, error) {
	if err := checkReason(reason, true); err != nil {
		return ballast.VersionInfo{}, err
	}
	p.asks(ctx, ballast.Ref{Scope: scope, Name: name})
	scope, err := e.changeable(p, scope, name, ballast.Maintainer)
	if err != nil {
		return ballast.VersionInfo{}, err
	}
	v, err := e.index.Rollback(ctx, scope, name, p.By(), reason)
	return e.changedVersion(ctx, v, err)
}

// Production returns what is in production under a name and how that came about, the newest first. Errors: not_found.
func (e *Engine) Production(ctx context.Context, p Principal, scope ballast.Scope, name ballast.Name, limit int, cursor string) (ballast.ProductionPage, error) {
	at, err := decodeCursor(cursor)
	if err != nil {
		return ballast.ProductionPage{}, err
	}
	below, err := parseNumber(at)
	if err != nil {
		return ballast.ProductionPage{}, err
	}
	m, now, found, next, err := e.index.Production(ctx, p.lookup(scope, name).Scopes, name, below, limit)
	if err != nil {
		return ballast.ProductionPage{}, err
	}
	return ballast.ProductionPage{Scope: m.Scope, Name: m.Name.Name, Version: now, Promotions: append([]ballast.Promotion{}, found...), Cursor: encodeCursor(formatNumber(next))}, nil
}

// Retire takes a version out of service for good. recorded is false while the bucket does not hold the record of it yet,
// which it will: the version is refused from now on all the same. Retiring what is retired changes nothing.
// Errors: not_found, denied; precondition for another revision.
func (e *Engine) Retire(ctx context.Context, p Principal, own Own) (info ballast.VersionInfo, recorded bool, err error) {
	return e.end(ctx, p, own, e.index.Retire)
}

// Delete removes a version for good: it is not found from now on, and its label stays used. recorded is as for Retire.
// Deleting what is deleted changes nothing. With IfExists what is not there is a success too, and info is zero; a name
// that the principal may not write is none. Errors: not_found, denied; referenced with what points at it; precondition.
func (e *Engine) Delete(ctx context.Context, p Principal, own Own) (info ballast.VersionInfo, recorded bool, err error) {
	info, recorded, err = e.end(ctx, p, own, e.index.Delete)
	if ballast.CodeOf(err) == ballast.CodeNotFound && own.IfExists && p.RoleOf(p.scopeOf(own.Ref.Scope), own.Ref.Name) >= ballast.Maintainer {
		return info, true, nil
	}
	if refused := ballast.AsError(err); ballast.CodeOf(err) == ballast.CodeReferenced {
		err = p.visible(refused)
	}
	return info, recorded, err
}

// visible leaves out of a refusal what the principal may not see, and counts it.
func (p Principal) visible(refused *ballast.Error) error {
	shown := *refused
	shown.References = slices.DeleteFunc(slices.Clone(refused.References), func(r ballast.Reference) bool {
		k, err := ballast.ParseKey(r.Name)
		return r.Kind == ballast.ReferenceChild && (err != nil || !p.sees(k.Scope, k.Name))
	})
	if hidden := len(refused.References) - len(shown.References); hidden > 0 {
		shown.Detail += "; some are where you do not see them"
	}
	return &shown
}

// Restore takes the deletion of a version back: it is what it was, under the same label and with the same files. recorded is
// as for Retire; until then it is not found. Restoring what was restored and is there changes nothing. Errors: not_found,
// denied; precondition for another revision, for what was never deleted, and without its base; gone once its bytes are
// being removed; quota_exceeded.
func (e *Engine) Restore(ctx context.Context, p Principal, own Own) (info ballast.VersionInfo, recorded bool, err error) {
	return e.end(ctx, p, own, e.index.Undelete)
}

type ending func(context.Context, ballast.Key, index.Change, func(index.Version) ([]byte, string, error)) (index.Version, error)

// endTries bounds how often an ending waits for an earlier record of the version.
const endTries = 3

// end retires, deletes or restores: the index says so first, then the bucket. From the first on it only goes forward; a start takes
// up what was left.
func (e *Engine) end(ctx context.Context, p Principal, own Own, do ending) (info ballast.VersionInfo, recorded bool, err error) {
	k, err := e.own(ctx, p, own.Ref, ballast.Maintainer)
	if err != nil {
		return info, false, err
	}
	var v index.Version
	for range endTries {
		if v, err = do(ctx, k, index.Change{By: p.By(), IfRevision: own.IfMatch}, e.recordKey.nextRecord); !errors.Is(err, index.ErrPending) {
			break
		}
		if err := e.rollForward(ctx, k); err != nil {
			return info, false, err
		}
	}
	if errors.Is(err, index.ErrPending) {
		busy := ballast.Errorf(ballast.CodeBusy, "%s: an earlier change of it is still being recorded in the bucket; try again", k)
		busy.RetryAfter = busyRetry
		return info, false, busy
	}
	if err != nil {
		return info, false, err
	}
	if recorded, err = e.record(ctx, v.Key()); err != nil {
		return info, false, err
	}
	if recorded && v.Due != nil { // what was restored is there only now
		if v, err = e.index.Version(ctx, v.Key()); err != nil {
			return info, false, err
		}
	}
	info, err = e.changedVersion(ctx, v, nil)
	return info, recorded, err
}

// record writes the pending record of a version, now if the store answers soon, else later. It reports whether it is in
// the bucket. Errors: unavailable when this instance may write it no more.
func (e *Engine) record(ctx context.Context, k ballast.Key) (recorded bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.limits.CommitWait)
	defer cancel()
	err = e.rollForward(ctx, k)
	if err == nil {
		return true, nil
	}
	if verdict := e.owner.verdict(); verdict != nil {
		return false, verdict
	}
	e.log.WarnContext(ctx, "recording the end of a version", "key", k.String(), "error", err)
	e.recordLater(k)
	return false, nil
}

// recordLater writes the pending record of a version in the background, however long the store takes to come back.
func (e *Engine) recordLater(k ballast.Key) {
	e.persist("record "+k.String(), func(ctx context.Context) error { return e.rollForward(ctx, k) })
}

// Children lists the versions that have a version as their base, of those that the principal sees. The base may be
// retired. Errors: not_found.
func (e *Engine) Children(ctx context.Context, p Principal, ref ballast.Ref, limit int, cursor string) (ballast.ChildrenPage, error) {
	l := p.lookup(ref.Scope, ref.Name)
	l.Retired = true
	v, err := e.index.Resolve(ctx, l, ref)
	if err != nil {
		return ballast.ChildrenPage{}, err
	}
	after, err := decodeCursor(cursor)
	if err != nil {
		return ballast.ChildrenPage{}, err
	}
	found, next, err := e.index.Children(ctx, v, p.everything(), []byte(after), limit)
	if err != nil {
		return ballast.ChildrenPage{}, err
	}
	page := ballast.ChildrenPage{Key: v.Key().String(), Children: make([]ballast.Child, 0, len(found)), Cursor: encodeCursor(string(next))}
	for _, child := range found {
		page.Children = append(page.Children, ballast.Child{Key: child.Key().String(), Status: child.Status, Stage: child.Stage})
	}
	return page, nil
}

// hears reports whether an event is for the principal: the readers of a name hear of its versions and aliases, those of the
// scope of its quota, admins of the scope of tokens.
func (p Principal) hears(e index.Event) bool {
	if e.Token != "" {
		return p.mayGrant(e.Scope)
	}
	return p.sees(e.Scope, e.Name)
}

// NewestEvent as after means: only what happens from now on.
const NewestEvent = "now"

// Events lists the changes behind a cursor of the names that the principal reads, the oldest first, and those of tokens in
// the scopes that it administers; wait holds the answer while there are none. Errors: gone, with the cursor to begin with.
func (e *Engine) Events(ctx context.Context, p Principal, after string, limit int, wait time.Duration) (ballast.EventsPage, error) {
	at, err := e.eventCursor(ctx, after)
	if err != nil {
		return ballast.EventsPage{}, err
	}
	timeout := time.NewTimer(min(wait, MaxWait))
	defer timeout.Stop()
	changed, leave := e.changed.listen(p.listensTo()...)
	defer leave()
	for {
		found, next, err := e.index.Events(ctx, at, limit, p.hears)
		if err != nil {
			return ballast.EventsPage{}, err
		}
		if len(found) > 0 || wait <= 0 {
			return p.showEvents(found, next), nil
		}
		if at != next { // past what is not for this principal; there may be more
			at = next
			continue
		}
		select {
		case <-changed:
		case <-timeout.C:
			return p.showEvents(nil, next), nil
		case <-ctx.Done():
			return p.showEvents(nil, next), nil
		case <-e.hurry.Done():
			return p.showEvents(nil, next), nil
		}
	}
}

func (e *Engine) eventCursor(ctx context.Context, after string) (index.EventCursor, error) {
	if after == NewestEvent {
		return e.index.LastEvent(ctx)
	}
	return index.ParseEventCursor(after)
}

func (p Principal) showEvents(found []index.Event, next index.EventCursor) ballast.EventsPage {
	page := ballast.EventsPage{Events: make([]ballast.Event, 0, len(found)), Cursor: next.String()}
	for _, e := range found {
		page.Events = append(page.Events, p.showEvent(e))
	}
	return page
}

func (p Principal) showEvent(e index.Event) ballast.Event {
	shown := ballast.Event{
		Cursor: index.EventCursor{Epoch: e.Epoch, Number: e.Number}.String(), At: e.At, By: e.By, Kind: e.Kind, Scope: e.Scope, Name: e.Name,
		Alias: e.Alias, Token: e.Token, Task: e.Task, From: e.From, Before: e.Before, After: e.After, Fields: e.Fields,
	}
	if p.RoleOf(e.Scope, e.Name) >= ballast.Writer { // where a scope may import from is nobody else's business
		shown.Source = e.Source
	}
	if !e.Version.IsZero() {
		shown.Key = ballast.Key{Scope: e.Scope, Name: e.Name, Version: e.Version}.String()
	}
	return shown
}

const dropEventsBatch = 500

// dropEvents removes the events that are older than they are kept.
func (e *Engine) dropEvents(ctx context.Context) error {
	for {
		more, err := e.index.DropEvents(ctx, e.now().Add(-e.limits.EventLife), dropEventsBatch)
		if err != nil || !more {
			return err
		}
	}
}
