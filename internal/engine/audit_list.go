package engine

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
	"github.com/ballast-registry/ballast/internal/index"
)

// ListAudit narrows a list of the audit. What is left zero admits all.
type ListAudit struct {
	Scope  ballast.Scope
	Model  ballast.Ref // a name, or one version of it; whether it is there any more does not matter
	Since  time.Time
	Who    string // a principal's name, name@scope, or id
	Action string // an action, or the first word of some
	Limit  int    // 1 … 1000
	Cursor string
}

// auditBudget bounds the bytes of lines that one page reads.
const auditBudget = 8 << 20

// Audit lists who asked for bytes and was refused, as the face wrote it down, and what changed, the newest first. An admin
// sees what is about its scopes; an admin of global sees all, and alone what is about none. A page may be short, even empty,
// and still have a cursor; cursors are good until the registry is started anew.
// Errors: denied, invalid.
func (e *Engine) Audit(ctx context.Context, p Principal, l ListAudit) (ballast.AuditPage, error) {
	if err := p.mayAudit(l); err != nil {
		return ballast.AuditPage{}, err
	}
	if l.Action != "" {
		if err := ballast.CheckAuditAction(l.Action); err != nil {
			return ballast.AuditPage{}, err
		}
	}
	at, err := e.openAuditCursor(l.Cursor)
	if err != nil {
		return ballast.AuditPage{}, err
	}
	lines := audit.Page{Done: true}
	if e.audit != nil && !at.linesDone {
		lines, err = e.audit.Back(ctx, audit.Search{
			From: at.place, Since: l.Since, Limit: l.Limit, Budget: auditBudget,
			Keep: func(a ballast.AuditEntry) bool { return p.audits(a.Scope) && l.admits(a) },
		})
		if err != nil {
			return ballast.AuditPage{}, err
		}
	}
	changes := index.PastEvents{Done: true}
	if !at.changesDone {
		changes, err = e.index.EventsBefore(ctx, at.number, l.Limit, func(c index.Event) bool {
			return p.audits(c.Scope) && !c.At.Before(l.Since) && l.admits(p.auditEntry(c))
		})
		if err != nil {
			return ballast.AuditPage{}, err
		}
	}
	page := ballast.AuditPage{Requests: e.audit != nil}
	if p.administersGlobal() {
		page.Unreadable = lines.Unreadable
	}
	page.Entries, at = p.merge(lines, changes, at, l.Limit)
	if !at.linesDone || !at.changesDone {
		page.Cursor = e.sealAuditCursor(at)
	}
	return page, nil
}

// mayAudit refuses who administers nothing, or not what is asked about.
func (p Principal) mayAudit(l ListAudit) error {
	if !p.isAdmin() {
		return ballast.Errorf(ballast.CodeDenied, "reading the audit needs the role admin in some scope; use a token that has it")
	}
	for _, scope := range []ballast.Scope{l.Scope, l.Model.Scope} {
		if !scope.IsZero() && !p.audits(scope) {
			return ballast.Errorf(ballast.CodeDenied, "reading the audit of %s needs the role admin in that scope, or in global", scope)
		}
	}
	if !l.Scope.IsZero() && !l.Model.Scope.IsZero() && l.Scope != l.Model.Scope {
		return ballast.Errorf(ballast.CodeInvalid, "model: is of scope %s, and scope says %s; leave one out", l.Model.Scope, l.Scope)
	}
	if !l.Model.Alias.IsZero() || l.Model.Digest != "" {
		return ballast.Errorf(ballast.CodeInvalid, "model: write a name, or a name and a version, as in llama/tiny:1.2.0; what an alias or a digest meant then is not what it means now")
	}
	return nil
}

// audits says whether lines about a scope are the principal's to see. Lines about none are for an admin of global.
func (p Principal) audits(scope ballast.Scope) bool {
	return p.administersGlobal() || !scope.IsZero() && p.Role(scope) >= ballast.Admin
}

// admits says whether an entry is among what is asked for.
func (l ListAudit) admits(a ballast.AuditEntry) bool {
	switch {
	case !l.Scope.IsZero() && a.Scope != l.Scope:
	case l.Action != "" && string(a.Action) != l.Action && !strings.HasPrefix(string(a.Action), l.Action+"."):
	case l.Who != "" && !isBy(a, l.Who):
	case !l.Model.Name.IsZero() && !l.isAbout(a):
	default:
		return true
	}
	return false
}

func isBy(a ballast.AuditEntry, who string) bool {
	name := a.By[:max(strings.LastIndexByte(a.By, '@'), 0)] // which may hold one itself
	return who == a.By || who == name || who == a.Principal
}

func (l ListAudit) isAbout(a ballast.AuditEntry) bool {
	k := ballast.Key{Scope: a.Scope, Name: a.Name}
	if a.Key != "" {
		var err error
		if k, err = ballast.ParseKey(a.Key); err != nil {
			return false
		}
	}
	m := l.Model
	return k.Name.Fold() == m.Name.Fold() && (m.Scope.IsZero() || m.Scope == k.Scope) && (m.Version.IsZero() || !k.Version.IsZero() && m.Version.Fold() == k.Version.Fold())
}

func (p Principal) auditEntry(c index.Event) ballast.AuditEntry {
	shown := p.showEvent(c)
	return ballast.AuditEntry{At: c.At, Action: ballast.AuditAction(c.Kind), By: c.By, Scope: c.Scope, Key: shown.Key, Name: c.Name, Change: &shown}
}

// auditPlace is where a list goes on: in the files, and among the events.
type auditPlace struct {
	place                  audit.Place
	number                 int64
	linesDone, changesDone bool
}

// merge takes from both lists what is newest, as far as it is sure that nothing newer is still to come, and says where to
// go on.
func (p Principal) merge(lines audit.Page, changes index.PastEvents, at auditPlace, limit int) ([]ballast.AuditEntry, auditPlace) {
	var horizon time.Time // what is older may come after something that was not read yet
	if !lines.Done {
		horizon = lines.Oldest
	}
	orders := descending(changes)
	if last := len(orders) - 1; !changes.Done && orders[last].After(horizon) {
		horizon = orders[last]
	}
	merged := []ballast.AuditEntry{}
	l, c := 0, 0
	for len(merged) < limit {
		hasLine := l < len(lines.Entries) && !lines.Entries[l].Order.Before(horizon)
		hasChange := c < len(changes.Events) && !orders[c].Before(horizon)
		switch {
		case hasLine && (!hasChange || !lines.Entries[l].Order.Before(orders[c])):
			merged = append(merged, lines.Entries[l].AuditEntry)
			at.place = lines.Entries[l].Before
			l++
			continue
		case hasChange:
			merged = append(merged, p.auditEntry(changes.Events[c]))
			at.number = changes.Events[c].Number
			c++
			continue
		}
		break
	}
	if l == len(lines.Entries) {
		at.place, at.linesDone = lines.Next, lines.Done
	}
	if c == len(changes.Events) {
		at.number, at.changesDone = changes.Next, changes.Done
	}
	return merged, at
}

// descending are the times of events, and last that of the oldest one looked at, none later than the one before it: a
// version becomes ready, and its event is numbered, after the time that its record has.
func descending(changes index.PastEvents) []time.Time {
	orders := make([]time.Time, 0, len(changes.Events)+1)
	for _, c := range changes.Events {
		orders = append(orders, c.At.Time)
	}
	orders = append(orders, changes.Oldest.Time)
	for i := 1; i < len(orders); i++ {
		if orders[i].After(orders[i-1]) {
			orders[i] = orders[i-1]
		}
	}
	return orders
}

// A cursor of the audit is sealed: the places in it would tell how much is written about others.
func newCursorCipher() cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // a key of 32 bytes is good
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // as is a block of 16
	}
	return aead
}

// auditPlaceBytes is the length of a place: three numbers and a byte.
const auditPlaceBytes = 3*8 + 1

func (e *Engine) sealAuditCursor(at auditPlace) string {
	b := make([]byte, 0, auditPlaceBytes)
	for _, n := range []int64{at.place.File, at.place.Offset, at.number} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	done := byte(0)
	for i, is := range []bool{at.linesDone, at.changesDone} {
		if is {
			done |= 1 << i
		}
	}
	return base64.RawURLEncoding.EncodeToString(e.cursors.Seal(nil, nil, append(b, done), nil))
}

func (e *Engine) openAuditCursor(cursor string) (at auditPlace, err error) {
	if cursor == "" {
		return at, nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return at, errCursor()
	}
	b, err := e.cursors.Open(nil, nil, sealed, nil)
	if err != nil || len(b) != auditPlaceBytes {
		return at, ballast.Errorf(ballast.CodeInvalid, "cursor: not one that this list answered since the registry was started; begin again without it")
	}
	n := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	done := b[auditPlaceBytes-1]
	return auditPlace{audit.Place{File: n(0), Offset: n(1)}, n(2), done&1 != 0, done&2 != 0}, nil
}
