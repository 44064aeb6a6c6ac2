package engine_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

func args(all ...any) []any { return all }

// body is content that uploads share, and as many bytes that are not it.
type body struct {
	bytes, lie []byte
	digest     digest.Digest
}

// newBodies makes the contents of all machines: an empty one, small ones, the manifest of a folder, and one of two parts.
func newBodies() (all []body) {
	texts := [][]byte{nil}
	for n := 1; n <= 24; n++ {
		texts = append(texts, bytes.Repeat([]byte{'a'}, n))
	}
	_, manifest, err := ballast.BuildManifest([]ballast.File{{Path: "a", Size: 1, Digest: ballast.DigestOf(texts[1])}})
	if err != nil {
		panic(err)
	}
	for _, b := range append(texts, manifest, random(ballast.MinPartSize+9, 1)) {
		lie := slices.Clone(b)
		if len(lie) > 0 {
			lie[0] ^= 1
		}
		all = append(all, body{b, lie, ballast.DigestOf(b)})
	}
	return all
}

// anyBody draws the large one seldom: it takes time.
func (m *machine) anyBody() body {
	if m.oneIn(80) {
		return m.bodies[len(m.bodies)-1]
	}
	return pick(m, "body", m.bodies[:len(m.bodies)-1])
}

// want is one entry of an ask, and the bytes that will be sent for it.
type want struct {
	ballast.BlobRequest
	bytes []byte
}

func (w want) id(s ballast.Scope) index.BlobID { return index.BlobID{Scope: s, Digest: w.Digest} }

// anyWant draws how a client asks about a body: honestly in several ways, with another size, with parts of other bytes.
func (m *machine) anyWant(b body) want {
	w := want{ballast.BlobRequest{Digest: b.digest, Size: int64(len(b.bytes))}, b.bytes}
	if len(b.bytes) == 0 {
		return w
	}
	switch m.draw("how", 13) {
	case 0, 1, 2, 3:
		w.Method = ballast.MethodPut
	case 4, 5:
		w.inParts(ballast.MinPartSize)
	case 6:
		w.inParts(ballast.MinPartSize + 1<<20) // other parts
	case 7:
		w.bytes = b.lie
		w.inParts(ballast.MinPartSize)
	case 8:
		w.bytes = append(slices.Clone(b.bytes), "more"...)
		w.Size = int64(len(w.bytes))
		w.inParts(ballast.MinPartSize)
	case 9:
		w.Size++ // and sends what it has
	case 10:
		w.Method = ballast.MethodMultipart // asks what is there
	case 11:
		w.inParts(ballast.MinPartSize)
		w.Parts = w.Parts[:1]
	}
	return w
}

func (w *want) inParts(size int64) {
	w.Method, w.PartSize, w.Parts = ballast.MethodMultipart, size, nil
	for n := 1; n <= ballast.PartCount(w.Size, size); n++ {
		w.Parts = append(w.Parts, ballast.PartDigest{Number: n, SHA256: ballast.DigestOf(w.part(n)).Encoded()})
	}
}

func (w want) part(n int) []byte {
	begin := int64(n-1) * w.PartSize
	return w.bytes[begin:min(begin+w.PartSize, w.Size)]
}

// method and partSize are what the service makes of the proposal.
func (w want) method() ballast.Method {
	if w.Method == "" {
		return ballast.MethodPut
	}
	return w.Method
}

func (w want) partSize() int64 {
	if w.method() == ballast.MethodMultipart || w.BlobRequest.PartSize > 0 {
		return ballast.ClampPartSize(w.Size, w.BlobRequest.PartSize)
	}
	return 0
}

func (m *machine) drawAsk() step {
	id := m.anyUpload()
	p := m.whose(id)
	wants := []want{m.anyWant(m.anyBody())}
	if second := m.anyBody(); m.oneIn(4) && second.digest != wants[0].Digest {
		wants = append(wants, m.anyWant(second))
	}
	malformed := m.oneIn(15)
	if malformed {
		wants = m.malformed(wants[0])
	}
	return m.ask(p, id, wants, malformed)
}

// malformed spoils a call about one blob.
func (m *machine) malformed(w want) []want {
	switch m.draw("how malformed", 8) {
	case 0:
		return nil
	case 1:
		return []want{w, w}
	case 2:
		w.Digest = "sha256:AB"
	case 3:
		w.Size = -1
	case 4:
		w.Method = "carrier pigeon"
	case 5:
		w.BlobRequest.PartSize = -1
	case 6:
		w.Size, w.Digest = 0, ballast.DigestOf([]byte("not empty"))
	case 7:
		w.Parts = []ballast.PartDigest{{Number: 20_000, SHA256: w.Digest.Encoded()}}
	}
	return []want{w}
}

// answer is what a call says of one blob, less the requests themselves.
type answer struct {
	state    ballast.BlobState
	method   ballast.Method
	partSize int64
	put      bool
	have     []int
	parts    []int
}

func (m *machine) ask(p engine.Principal, id string, wants []want, malformed bool) step {
	var got ballast.BlobsResponse
	var expected []answer
	req := ballast.BlobsRequest{}
	for _, w := range wants {
		req.Blobs = append(req.Blobs, w.BlobRequest)
	}
	return step{
		name: "ask", show: args(p.Name, id, req),
		call: func() (err error) { got, err = m.engine.Blobs(m.Context(), p, id, req); return err },
		want: func() (code ballast.Code) {
			u, code := m.access(p, id)
			switch {
			case code != "":
				return code
			case u.imported:
				return ballast.CodeConflict
			case malformed:
				return ballast.CodeInvalid
			}
			expected, code = m.asked(u, wants)
			return code
		},
		check: func() {
			for i, b := range got.Blobs {
				equal(m, "answer about "+b.Digest.String(), answerOf(b), expected[i])
				m.keep(m.upload(id), wants[i], b)
			}
		},
	}
}

func answerOf(b ballast.BlobAnswer) answer {
	a := answer{state: b.State, method: b.Method, partSize: b.PartSize, put: b.Request != nil, have: b.Have}
	if b.State == ballast.BlobBusy {
		a.partSize = 0 // says nothing
	}
	for _, p := range b.Parts {
		a.parts = append(a.parts, p.Number)
	}
	return a
}

// asked is the model's Blobs.
func (m *machine) asked(u *modelUpload, wants []want) (answers []answer, code ballast.Code) {
	if code := u.closed(); code != "" {
		return nil, code
	}
	otherSize := func(w want) bool {
		b := m.blob(w.id(u.scope))
		return b.state == index.BlobVerified && b.size != w.Size
	}
	if slices.ContainsFunc(wants, otherSize) {
		return nil, ballast.CodeInvalid
	}
	u.renewed = m.now
	fresh, busy := make([]bool, len(wants)), make([]bool, len(wants))
	for i, w := range wants {
		fresh[i] = m.pin(u, w)
		u.asked = append(u.asked, ballast.File{Size: w.Size, Digest: w.Digest})
	}
	for i, w := range wants {
		b := m.blob(w.id(u.scope))
		if b.state == index.BlobUploading && b.method == ballast.MethodPut && (!fresh[i] || w.Size == 0) {
			if w.Size == 0 && b.object == nil {
				b.object = &modelObject{} // the service writes empty files itself
			}
			m.look(w.id(u.scope))
			busy[i] = m.blob(w.id(u.scope)).state == index.BlobAbsent // what lay there is being removed
		}
	}
	if slices.ContainsFunc(wants, otherSize) { // just seen
		return nil, ballast.CodeIntegrity
	}
	for i, w := range wants {
		a := answer{state: ballast.BlobBusy}
		if !busy[i] {
			a = m.answer(u, w, fresh[i])
		}
		answers = append(answers, a)
	}
	return answers, ""
}

// pin begins a blob's upload if need be, pins it, and notes the parts that are declared.
func (m *machine) pin(u *modelUpload, w want) (fresh bool) {
	b := m.blob(w.id(u.scope))
	_, own := b.pins[u.id]
	alone := len(b.pins) == 0 || len(b.pins) == 1 && own && w.method() == ballast.MethodMultipart // nobody else waits for the PUT
	if fresh = b.state == index.BlobAbsent || b.state == index.BlobUploading && b.method == ballast.MethodPut && alone; fresh {
		b.state, b.method, b.partSize = index.BlobUploading, w.method(), 0
		if b.method == ballast.MethodMultipart {
			b.partSize = w.partSize()
		}
	}
	b.pins[u.id] = w.Size
	if b.method != ballast.MethodMultipart || b.partSize != w.partSize() || len(w.Parts) == 0 {
		return fresh
	}
	declared := u.declared[w.Digest]
	if declared.partSize != b.partSize {
		declared = modelDeclared{b.partSize, map[int]digest.Digest{}}
	}
	for _, p := range w.Parts {
		declared.sums[p.Number] = digest.Digest("sha256:" + p.SHA256)
	}
	u.declared[w.Digest] = declared
	return fresh
}

// look settles a blob by the object under its key.
func (m *machine) look(id index.BlobID) {
	b := m.blob(id)
	switch {
	case b.object == nil:
	case b.object.tainted:
		m.remove(id)
	default:
		*b = modelBlob{state: index.BlobVerified, method: b.method, size: b.object.size, pins: b.pins, object: b.object}
	}
}

func (m *machine) answer(u *modelUpload, w want, fresh bool) answer {
	id := w.id(u.scope)
	b := m.blob(id)
	switch {
	case b.state == index.BlobVerified:
		return answer{state: ballast.BlobVerified}
	case b.method == ballast.MethodPut:
		return answer{state: ballast.BlobMissing, method: ballast.MethodPut, put: true}
	}
	if b.multipart == "" {
		m.abortParts(id)
		b.multipart = must(m.opt.Index.Blob(m.Context(), id)).MultipartID
		m.multiparts[b.multipart] = &modelMultipart{id, map[int]objstore.Part{}}
	}
	a := answer{state: ballast.BlobMissing, method: ballast.MethodMultipart, partSize: b.partSize}
	if len(w.Parts) > 0 && w.partSize() != b.partSize {
		return a
	}
	if mp := m.multiparts[b.multipart]; mp == nil { // the store dropped it
		m.lost(id)
		return answer{state: ballast.BlobBusy}
	} else if !fresh {
		a.have = u.have(w, b, mp)
	}
	for _, p := range w.Parts {
		if !slices.Contains(a.have, p.Number) {
			a.parts = append(a.parts, p.Number)
		}
	}
	return a
}

// have are the parts in the store that the upload declared, of those it asks about or of all.
func (u *modelUpload) have(w want, b *modelBlob, mp *modelMultipart) (have []int) {
	for _, n := range slices.Sorted(maps.Keys(mp.parts)) {
		wanted := len(w.Parts) == 0 || slices.ContainsFunc(w.Parts, func(p ballast.PartDigest) bool { return p.Number == n })
		if wanted && u.declares(w.Digest, b.partSize, mp.parts[n]) {
			have = append(have, n)
		}
	}
	return have
}

// lost settles a blob whose multipart the store does not know any more.
func (m *machine) lost(id index.BlobID) {
	if b := m.blob(id); b.object == nil {
		*b = modelBlob{pins: b.pins}
		return
	}
	m.look(id)
}

// send is a signed request in a client's hand, with the bytes that go with it.
type send struct {
	id        index.BlobID
	req       ballast.SignedRequest
	bytes     []byte
	size      int64 // signed
	sum       digest.Digest
	signed    time.Time
	multipart string
	number    int
}

// keep notes what a client was given.
func (m *machine) keep(u *modelUpload, w want, b ballast.BlobAnswer) {
	if b.Request != nil {
		m.sends = append(m.sends, send{id: w.id(u.scope), req: *b.Request, bytes: w.bytes, size: w.Size, sum: w.Digest, signed: m.now})
	}
	for _, p := range b.Parts {
		bytes := w.part(p.Number)
		m.sends = append(m.sends, send{
			id: w.id(u.scope), req: p.Request, bytes: bytes, size: int64(len(bytes)), sum: ballast.DigestOf(bytes), signed: m.now,
			multipart: m.blob(w.id(u.scope)).multipart, number: p.Number,
		})
	}
	m.sends = m.sends[max(0, len(m.sends)-12):]
}

func (m *machine) drawSend() step {
	if len(m.sends) == 0 {
		return step{}
	}
	s := pick(m, "request", m.sends[max(0, len(m.sends)-1-m.draw("back to", 6)):])
	extra := http.Header{}
	switch m.draw("how sent", 20) {
	case 0:
		s.bytes = slices.Concat(s.bytes, s.bytes)
	case 1:
		s.bytes = make([]byte, len(s.bytes))
	case 2:
		extra.Set("Content-Encoding", "gzip")
	case 3:
		extra.Set("X-Amz-Meta-Note", "mine")
	case 4:
		extra.Set("X-Amz-Storage-Class", "GLACIER")
	case 5:
		extra.Set("X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256")
	}
	return m.send(s, extra)
}

// send makes a client's request. Its codes are the store's: "http 412".
func (m *machine) send(s send, extra http.Header) step {
	return step{
		name: "send", show: args(s.req.Method, s.id, s.number, extra),
		call: func() error { return httpError(m.mem.Do(s.req, s.bytes, extra)) },
		want: func() ballast.Code { return ballast.CodeOf(httpError(m.sent(s, extra))) },
	}
}

func httpError(status int) error {
	if status == http.StatusOK {
		return nil
	}
	return ballast.Errorf(ballast.Code(fmt.Sprint("http ", status)), "the store refuses")
}

// sent is the store's answer to a client's request.
func (m *machine) sent(s send, extra http.Header) int {
	b := m.blob(s.id)
	mp := m.multiparts[s.multipart]
	switch {
	case m.now.After(s.signed.Truncate(time.Second).Add(time.Hour)) || int64(len(s.bytes)) != s.size:
		return http.StatusForbidden
	case ballast.DigestOf(s.bytes) != s.sum:
		return http.StatusBadRequest
	case s.number == 0 && b.object != nil:
		return http.StatusPreconditionFailed
	case s.number == 0:
		b.object = &modelObject{size: s.size, tainted: len(extra) > 0}
	case mp == nil:
		return http.StatusNotFound
	default:
		mp.parts[s.number] = objstore.Part{Number: s.number, Size: s.size, SHA256: s.sum, Modified: m.now.Truncate(time.Millisecond)}
	}
	return http.StatusOK
}

// drawDropParts makes the store forget a multipart, as stores do after a day.
func (m *machine) drawDropParts() step {
	ids := slices.Sorted(maps.Keys(m.multiparts))
	if len(ids) == 0 {
		return step{}
	}
	id := pick(m, "multipart", ids)
	return step{
		name: "drop parts",
		call: func() error { m.mem.DropUpload(id); return nil },
		want: func() ballast.Code { delete(m.multiparts, id); return "" },
	}
}
