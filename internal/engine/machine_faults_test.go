package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
)

// drawRestart closes the engine and opens another on the same index and bucket.
func (m *machine) drawRestart() step {
	return step{
		name: "restart",
		call: func() (err error) {
			if m.engine != nil {
				m.engine.Close()
			}
			e, err := engine.Open(m.Context(), m.opt)
			if err == nil {
				m.engine = e
			}
			return err
		},
		want: func() ballast.Code {
			m.opened = m.now
			m.reap(m.now)
			return ""
		},
	}
}

func (m *machine) restart() { m.do(m.drawRestart()) }

func (m *machine) drawReady() step {
	return step{name: "ready", call: func() error { return m.engine.Ready(m.Context()) }, want: func() ballast.Code { return "" }}
}

// settling is longer than anything waits before it tries again.
const settling = 3 * time.Minute

// drawStorm lets the store fail some calls, before or after they took effect, while something is done. When the store
// has recovered and the engine come to rest, doing it again answers what it would have without the storm.
func (m *machine) drawStorm() step {
	if m.outage || m.nextRound() < 2*settling {
		return step{}
	}
	var s step
	switch pick(m, "in the storm", []string{"ask", "ask", "send", "commit", "commit", "commit", "files", "restart", "end", "copy", "copy"}) {
	case "ask":
		s = m.drawAsk()
	case "send":
		s = m.drawSend()
	case "commit":
		if s = m.drawPush(); m.oneIn(3) {
			s = m.drawCommit()
		}
	case "files":
		s = m.drawFiles()
	case "copy":
		if c := m.anyCopy(); m.opensCopy(c) != nil {
			s = m.copy(c)
		}
	case "end":
		s = m.drawEnd(true)
	case "restart":
		m.restart() // reaps, so that the one in the storm has nothing to reap
		s = m.drawRestart()
	}
	if s.call == nil {
		return s
	}
	m.armFaults(s.name)
	m.tick()
	err := s.call()
	synctest.Wait()
	m.mem.Heal()
	m.seen.add("storm", m.stormCode(s, err))
	time.Sleep(settling)
	synctest.Wait()
	m.tick()
	m.adopt(s.want)
	return s
}

// armFaults makes one to three calls fail, of those that an operation makes.
func (m *machine) armFaults(name string) {
	ops := map[string][]objstoretest.Op{
		"ask":    {objstoretest.OpHead, objstoretest.OpSign, objstoretest.OpCreateMultipart, objstoretest.OpListParts, objstoretest.OpPut},
		"send":   {objstoretest.OpClientPut, objstoretest.OpClientPart},
		"files":  {objstoretest.OpGet, objstoretest.OpSign},
		"retire": {objstoretest.OpPut, objstoretest.OpGet},
		"delete": {objstoretest.OpPut, objstoretest.OpGet},
		"copy": {
			objstoretest.OpCopy, objstoretest.OpCopy, objstoretest.OpCopy, objstoretest.OpPut, objstoretest.OpHead, objstoretest.OpGet, objstoretest.OpWrite,
			objstoretest.OpDelete, objstoretest.OpAbortMultipart,
		},
		"restart": {objstoretest.OpGet, objstoretest.OpPut, objstoretest.OpList},
		"commit": {
			objstoretest.OpPut, objstoretest.OpPut, objstoretest.OpHead, objstoretest.OpGet, objstoretest.OpListParts,
			objstoretest.OpCompleteMultipart, objstoretest.OpWrite, objstoretest.OpDelete, objstoretest.OpListUploads, objstoretest.OpAbortMultipart,
		},
	}[name]
	for range 1 + m.draw("faults", 3) {
		op := pick(m, "fault", ops)
		m.mem.Fail(op, pick(m, "n", []int{1, 1, 1, 2, 3}), objstore.ErrUnavailable, m.oneIn(2))
	}
}

// stormCode is the code of a call in a storm, which nobody may see as a defect. A refusal to start is words for the
// operator, and says that the store does not answer.
func (m *machine) stormCode(s step, err error) ballast.Code {
	code := ballast.CodeOf(err)
	if s.name == "restart" && errors.Is(err, objstore.ErrUnavailable) {
		code = ballast.CodeUnavailable
	}
	if code == ballast.CodeInternal {
		m.Fatalf("%s %s in a storm: %v", s.name, s.show, err)
	}
	return code
}

// adopt learns what a storm left undone. An upload is as it was or, when want moves it, as it must become; a blob is as
// the index has it, if the bytes bear that out.
func (m *machine) adopt(want func() ballast.Code) {
	c := m.contents()
	for _, u := range m.uploads {
		if c.Uploads[u.id].Status != u.status {
			want()
			break
		}
	}
	for _, u := range m.uploads {
		real := c.Uploads[u.id]
		equal(m, "after a storm, upload "+u.id, real.Status, u.status)
		if real.Renewed.Before(u.renewed.Truncate(time.Microsecond)) && u.status == ballast.UploadPending {
			m.Fatalf("after a storm, the lease of upload %s went back from %s to %s", u.id, u.renewed, real.Renewed)
		}
		u.renewed, u.settled = real.Renewed.Time, real.SettledAt.Time
	}
	m.adoptBlobs()
}

func (m *machine) adoptBlobs() {
	c := m.contents()
	clear(m.multiparts)
	for id := range c.Blobs {
		m.adoptBlob(id, c.Blobs[id], c.Pins[id])
	}
}

func (m *machine) adoptBlob(id index.BlobID, real index.Blob, pins map[string]int64) {
	key := ballast.BlobKey(id.Scope, id.Digest)
	b := &modelBlob{state: real.State, method: real.Method, multipart: real.MultipartID, pins: maps.Clone(pins)}
	if b.pins == nil {
		b.pins = map[string]int64{}
	}
	switch real.State {
	case index.BlobVerified:
		bytes, _ := m.mem.Peek(key)
		equal(m, "after a storm, verified bytes", ballast.DigestOf(bytes), id.Digest)
		b.size = real.Size
	case index.BlobUploading:
		b.partSize = real.PartSize
	case index.BlobAbsent:
		b.method = ""
	default:
		m.Fatalf("blob %s is not at rest: %+v", id.Digest, real)
	}
	o, err := m.mem.Head(m.Context(), key)
	if !errors.Is(err, objstore.ErrNotFound) {
		b.object = &modelObject{size: o.Size, tainted: err != nil || len(o.Oddities) > 0 || o.StorageClass != ""}
	}
	m.blobs[id] = b
	for _, open := range must(m.mem.ListUploads(m.Context(), key)) {
		mp := &modelMultipart{id, map[int]objstore.Part{}}
		for p, err := range m.mem.ListParts(m.Context(), key, open.ID, 0) {
			mp.parts[must(p, err).Number] = p
		}
		m.multiparts[open.ID] = mp
	}
}

func (m *machine) contents() index.Contents { return must(m.opt.Index.Contents(m.Context())) }

// drawOutage begins a time in which no record can be written: accepted commits stay sealed, ends pending.
func (m *machine) drawOutage() step {
	if m.outage {
		return step{}
	}
	persist := m.oneIn(2)
	m.do(step{
		name: "record outage",
		call: func() error {
			m.mem.Before(func(_ context.Context, op objstoretest.Op, key string) {
				if op == objstoretest.OpPut && strings.Contains(key, "/models/") {
					m.mem.Fail(op, 1, objstore.ErrUnavailable, persist)
				}
			})
			return nil
		},
		want: func() ballast.Code { m.outage = true; return "" },
	})
	return m.push(ballast.Version{}) // a label that is free, so that something is sealed
}

// endOutage lets what was sealed or ended roll forward.
func (m *machine) endOutage() {
	if !m.outage {
		return
	}
	m.mem.Before(nil)
	m.mem.Heal()
	time.Sleep(settling)
	synctest.Wait()
	m.tick()
	m.outage = false
	c := m.contents()
	for _, n := range m.names {
		for _, v := range n.versions {
			if v.status == ballast.StatusSealed {
				m.publish(v)
				v.upload.settled = c.Uploads[v.upload.id].SettledAt.Time
			}
			if v.due != nil {
				m.say(*v.due)
				if v.restoring() {
					v.status = v.before
				}
				v.due = nil
			}
		}
	}
}

// compare holds everything that the engine shows, and what the index holds below, to the model and to the invariants.
func (m *machine) compare() {
	m.quiet = true
	defer func() { m.quiet = false }()
	found, err := engine.Check(m.Context(), m.opt.Index, m.mem, m.opt.RecordKey)
	if err != nil || len(found) > 0 {
		m.Fatalf("violated: %v, %v", found, err)
	}
	for _, p := range []engine.Principal{writer, reader, other, admin, nobody} {
		m.do(m.models(p, ballast.Scope{}))
		for _, order := range []ballast.VersionOrder{ballast.OrderName, ballast.OrderOldest, ballast.OrderNewest} {
			m.do(m.search("all versions", search{p: p, order: order, filter: ballast.VersionFilter{Status: ballast.ListAll}, limit: 1000}))
		}
		for _, name := range parsed(ballast.ParseName, "m", "org/n") {
			m.do(m.search("versions", search{p: p, name: name, limit: 1000}))
			m.do(m.aliases(p, ballast.Scope{}, name))
			m.do(m.production(p, ballast.Scope{}, name))
			m.do(m.read(p, ballast.Ref{Name: name}))
			for _, alias := range parsed(ballast.ParseAlias, "stable", "beta") {
				m.do(m.read(p, ballast.Ref{Name: name, Alias: alias}))
			}
		}
	}
	for _, id := range m.nameIDs() {
		for _, v := range m.names[id].versions {
			m.do(m.read(reader, ballast.Ref{Scope: v.key.Scope, Name: v.key.Name, Version: v.key.Version}))
			m.do(m.read(both, ballast.Ref{Scope: v.key.Scope, Name: v.key.Name, Version: v.key.Version}))
		}
	}
	m.compareIndex()
}

func (m *machine) nameIDs() []index.NameID {
	return slices.SortedFunc(maps.Keys(m.names), func(a, b index.NameID) int {
		return cmp.Or(cmp.Compare(a.Scope.String(), b.Scope.String()), cmp.Compare(a.Name, b.Name))
	})
}

func (m *machine) compareIndex() {
	c := m.contents()
	equal(m, "uploads", len(c.Uploads), len(m.uploads))
	for _, u := range m.uploads {
		equal(m, "upload "+u.id, c.Uploads[u.id].Status, u.status)
	}
	for id, real := range c.Blobs {
		b := m.blob(id)
		equal(m, fmt.Sprint("blob ", id), fmt.Sprint(real.State, real.Size, c.Pins[id]), fmt.Sprint(b.state, b.size, b.pins))
	}
}
