package engine_test

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

const (
	machineLease = 3 * time.Hour
	machineReap  = machineLease / 10 // between two rounds of the reaper
)

// model is what an engine at rest must be, in maps.
type model struct {
	now    time.Time
	opened time.Time // when the engine was: its rounds count from there
	outage bool      // records cannot be written

	uploads    []*modelUpload // remembered ones, the oldest first
	blobs      map[index.BlobID]*modelBlob
	names      map[index.NameID]*modelName
	multiparts map[string]*modelMultipart // open at the store, by id
	tasks      map[string]bool            // that an admin added
	events     []modelEvent
}

type modelUpload struct {
	id, attempt, principal string
	scope                  ballast.Scope
	name                   ballast.Name
	version                ballast.Version // given, or known since the seal
	sealed                 bool
	status                 ballast.UploadStatus
	renewed                time.Time
	settled                time.Time
	failed                 ballast.Code                    // why, when failed
	manifest               digest.Digest                   // since the commit was accepted
	declared               map[digest.Digest]modelDeclared // parts
	asked, accepted        []ballast.File                  // asked are without a path
	said                   map[string]string               // of what it publishes, as JSON, by field; since then too
	imported               bool                            // and so no client commits it or asks about its blobs
}

// modelDeclared are part digests as an upload declared them.
type modelDeclared struct {
	partSize int64
	sums     map[int]digest.Digest
}

// modelBlob is a digest in a scope, and the object under its key.
type modelBlob struct {
	state     index.BlobState
	method    ballast.Method
	partSize  int64
	multipart string
	size      int64
	pins      map[string]int64 // declared size by upload
	object    *modelObject
}

type modelObject struct {
	size    int64
	tainted bool
}

type modelMultipart struct {
	blob  index.BlobID
	parts map[int]objstore.Part
}

type modelName struct {
	name     ballast.Name // as first typed
	maxMajor uint64
	versions []*modelVersion
	aliases  map[ballast.Alias]modelAlias
	hadReady bool // from then on it shadows the global one

	production *modelVersion
	history    []modelPromotion // the oldest first
}

type modelVersion struct {
	key    ballast.Key
	digest digest.Digest
	files  []ballast.File // sorted
	base   string
	upload *modelUpload

	created ballast.Time // once a list has asked

	status   ballast.Status
	stage    ballast.Stage
	revision int64
	said     map[string]string // of the metadata, as JSON, by field
	due      *modelEvent       // of its end or its restoration, while the record is not written
	before   ballast.Status    // its deletion
	restored bool              // ever
}

type modelAlias struct {
	to       *modelVersion
	revision int64
}

func newModel() model {
	return model{
		now: time.Now(), opened: time.Now(), blobs: map[index.BlobID]*modelBlob{}, names: map[index.NameID]*modelName{}, multiparts: map[string]*modelMultipart{},
		tasks: map[string]bool{},
	}
}

// tick brings the model to the present: the reaper has made its rounds.
func (m *model) tick() {
	now := time.Now()
	for round := m.opened.Add(m.now.Sub(m.opened).Truncate(machineReap) + machineReap); !round.After(now); round = round.Add(machineReap) {
		m.reap(round)
	}
	m.now = now
}

// nextRound is how long the reaper will rest.
func (m *model) nextRound() time.Duration {
	return machineReap - m.now.Sub(m.opened)%machineReap
}

func (m *model) reap(at time.Time) {
	for _, u := range slices.Clone(m.uploads) {
		switch {
		case u.status == ballast.UploadPending && !at.Before(u.renewed.Add(machineLease)):
			if m.partsArrive(u) {
				u.renewed = at
			} else {
				m.settle(u, ballast.UploadExpired, at)
			}
		case u.status.Settled() && !at.Before(u.settled.Add(index.SettledLife)):
			m.uploads = slices.DeleteFunc(m.uploads, func(v *modelUpload) bool { return v == u })
		}
	}
}

// partsArrive reports whether the store took a part that the upload declared since its lease was renewed.
func (m *model) partsArrive(u *modelUpload) bool {
	for id, b := range m.blobs {
		mp := m.multiparts[b.multipart]
		if _, pinned := b.pins[u.id]; !pinned || b.state != index.BlobUploading || mp == nil {
			continue
		}
		for _, p := range mp.parts {
			if p.Modified.After(u.renewed) && u.declares(id.Digest, b.partSize, p) {
				return true
			}
		}
	}
	return false
}

// declares reports whether a part in the store is what the upload declared.
func (u *modelUpload) declares(d digest.Digest, partSize int64, p objstore.Part) bool {
	declared := u.declared[d]
	return declared.partSize == partSize && p.SHA256 != "" && declared.sums[p.Number] == p.SHA256
}

// settle ends an upload and lets go of what it held.
func (m *model) settle(u *modelUpload, status ballast.UploadStatus, at time.Time) {
	u.status, u.settled = status, at
	for id, b := range m.blobs {
		if _, pinned := b.pins[u.id]; !pinned {
			continue
		}
		delete(b.pins, u.id)
		if len(b.pins) == 0 && b.state == index.BlobUploading && b.method == ballast.MethodMultipart {
			m.abortParts(id)
			*b = modelBlob{pins: b.pins, object: b.object}
		}
	}
}

func (m *model) abortParts(id index.BlobID) {
	maps.DeleteFunc(m.multiparts, func(_ string, mp *modelMultipart) bool { return mp.blob == id })
}

// remove is what becomes of a blob whose object may not be there.
func (m *model) remove(id index.BlobID) {
	m.abortParts(id)
	m.blobs[id] = &modelBlob{pins: m.blob(id).pins}
}

func (m *model) blob(id index.BlobID) *modelBlob {
	if m.blobs[id] == nil {
		m.blobs[id] = &modelBlob{pins: map[string]int64{}}
	}
	return m.blobs[id]
}

func (m *model) upload(id string) *modelUpload {
	for _, u := range m.uploads {
		if u.id == id {
			return u
		}
	}
	return nil
}

// access is the first check of every call on an upload.
func (m *model) access(p engine.Principal, id string) (*modelUpload, ballast.Code) {
	u := m.upload(id)
	switch {
	case u == nil || roleIn(p, u.scope) == ballast.NoRole:
		return nil, ballast.CodeNotFound
	case roleIn(p, u.scope) < ballast.Writer:
		return nil, ballast.CodeDenied
	}
	return u, ""
}

// closed is why an upload takes no more blobs, or "".
func (u *modelUpload) closed() ballast.Code {
	switch u.status {
	case ballast.UploadPending:
		return ""
	case ballast.UploadVerifying, ballast.UploadDone:
		return ballast.CodeConflict
	case ballast.UploadFailed:
		return u.failed
	}
	return ballast.CodeLeaseLost
}

func roleIn(p engine.Principal, s ballast.Scope) (role ballast.Role) {
	if s == ballast.Global && len(p.Grants) > 0 {
		role = ballast.Reader
	}
	for _, g := range p.Grants {
		if g.Scope == s {
			role = max(role, g.Role)
		}
	}
	return role
}

// home is where a principal writes when it names no scope.
func home(p engine.Principal, named ballast.Scope) ballast.Scope {
	if named.IsZero() && len(p.Grants) > 0 {
		return p.Grants[0].Scope
	}
	return named
}

// mayWrite is the first check of every change.
func mayWrite(p engine.Principal, s ballast.Scope) ballast.Code {
	switch role := roleIn(p, s); {
	case role == ballast.NoRole:
		return ballast.CodeNotFound
	case role < ballast.Writer:
		return ballast.CodeDenied
	}
	return ""
}

func nameID(s ballast.Scope, n ballast.Name) index.NameID {
	return index.NameID{Scope: s, Name: n.Fold()}
}

// name returns what is known of a name; nobody may change what an unknown one returns.
func (m *model) name(s ballast.Scope, n ballast.Name) *modelName {
	if known := m.names[nameID(s, n)]; known != nil {
		return known
	}
	return &modelName{}
}

// at returns the version that is or was at a label's position, in whatever state, or nil.
func (n *modelName) at(v ballast.Version) *modelVersion {
	for _, known := range n.versions {
		if known.key.Version.Compare(v) == 0 {
			return known
		}
	}
	return nil
}

// ready returns the ready versions, the highest first.
func (n *modelName) ready() (ready []*modelVersion) {
	for _, v := range n.versions {
		if v.status == ballast.StatusReady {
			ready = append(ready, v)
		}
	}
	slices.SortFunc(ready, highestFirst)
	return ready
}

func highestFirst(a, b *modelVersion) int { return b.key.Version.Compare(a.key.Version) }

// latest is the highest release of those that are ready and neither archived nor deprecated, else the highest
// pre-release, or nil.
func (n *modelName) latest() *modelVersion {
	ready := slices.DeleteFunc(n.ready(), func(v *modelVersion) bool {
		return v.stage == ballast.StageArchived || v.stage == ballast.StageDeprecated
	})
	slices.SortStableFunc(ready, func(a, b *modelVersion) int {
		return cmp.Compare(boolInt(b.key.Version.IsRelease()), boolInt(a.key.Version.IsRelease()))
	})
	if len(ready) == 0 {
		return nil
	}
	return ready[0]
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// holder is the open upload that holds a label, or nil.
func (m *model) holder(s ballast.Scope, n ballast.Name, v ballast.Version) *modelUpload {
	for _, u := range m.uploads {
		if !u.status.Settled() && u.scope == s && u.name.Fold() == n.Fold() && !u.version.IsZero() && u.version.Compare(v) == 0 {
			return u
		}
	}
	return nil
}

// seal makes the version that an accepted upload publishes, or ends it with the one that has its files already.
// Errors: retired when its files were, and are not served under another label.
func (m *model) seal(u *modelUpload, files []ballast.File, base string) (*modelVersion, ballast.Code) {
	n := m.name(u.scope, u.name)
	if same := n.latest(); u.version.IsZero() && same != nil && same.digest == u.manifest {
		u.version = same.key.Version
		m.settle(u, ballast.UploadDone, m.now)
		return same, ""
	}
	with := func(status ballast.Status) bool {
		return slices.ContainsFunc(n.versions, func(v *modelVersion) bool { return v.digest == u.manifest && v.status == status })
	}
	if with(ballast.StatusRetired) && !with(ballast.StatusReady) {
		return nil, ballast.CodeRetired
	}
	if n.name.IsZero() {
		n = &modelName{name: u.name, aliases: map[ballast.Alias]modelAlias{}}
		m.names[nameID(u.scope, u.name)] = n
	}
	if u.version.IsZero() {
		u.version = ballast.MajorVersion(1 + m.greatest(u.scope, u.name, n.maxMajor))
	}
	n.maxMajor = max(n.maxMajor, u.version.Major())
	v := &modelVersion{
		key: ballast.Key{Scope: u.scope, Name: n.name, Version: u.version}, digest: u.manifest, files: files, base: base, upload: u,
		status: ballast.StatusSealed, stage: ballast.StageNone, revision: 1, said: map[string]string{},
	}
	for field, value := range u.said {
		v.said[field] = value
	}
	n.versions = append(n.versions, v)
	u.sealed = true
	return v, ""
}

// greatest is the greatest major number that a name used, or that an open upload holds.
func (m *model) greatest(s ballast.Scope, n ballast.Name, used uint64) uint64 {
	for _, u := range m.uploads {
		if !u.status.Settled() && u.scope == s && u.name.Fold() == n.Fold() {
			used = max(used, u.version.Major())
		}
	}
	return used
}

// publish makes a sealed version ready.
func (m *model) publish(v *modelVersion) {
	v.status = ballast.StatusReady
	m.names[nameID(v.key.Scope, v.key.Name)].hadReady = true
	m.settle(v.upload, ballast.UploadDone, m.now)
	m.say(modelEvent{kind: ballast.EventReady, of: v, after: 1, by: by(v.upload.principal)})
}
