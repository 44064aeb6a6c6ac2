package engine_test

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
)

// commit is what a client commits, and what is wrong with its form, if anything is.
type commit struct {
	ballast.CommitRequest
	files, metadata ballast.Code
}

func (m *machine) drawCommit() step {
	id := m.anyUpload()
	p := m.whose(id)
	c := commit{CommitRequest: ballast.CommitRequest{Files: m.anyFiles(m.upload(id))}}
	if m.oneIn(12) {
		m.spoilFiles(&c)
	}
	if m.oneIn(4) {
		m.addMetadata(&c)
	}
	return m.commit(p, id, c)
}

// anyFiles draws what an upload might publish: what it was committed with, or what it asked about, or something else.
func (m *machine) anyFiles(u *modelUpload) (files []ballast.File) {
	if u == nil {
		return nil
	}
	if u.accepted != nil && !m.oneIn(3) {
		return u.accepted
	}
	paths := []string{"a", "b", "c/d", "e", "f", "g", "h"}
	for i := len(u.asked) - 1; i >= 0 && len(files) < len(paths); i-- {
		f := u.asked[i]
		if !slices.ContainsFunc(files, func(g ballast.File) bool { return g.Digest == f.Digest }) {
			f.Path = paths[len(files)]
			files = append(files, f)
		}
	}
	switch m.draw("which files", 10) {
	case 0:
		files = files[:len(files)/2]
	case 1:
		files = append(files, ballast.File{Path: "unasked", Size: 4, Digest: ballast.DigestOf(random(4, 9))})
	case 2:
		files = append(files, ballast.File{Path: "empty", Digest: ballast.EmptyDigest})
		files = slices.CompactFunc(files, func(f, g ballast.File) bool { return f.Digest == g.Digest })
	case 3:
		if len(files) > 0 && files[0].Size > 0 {
			files[0].Size++
		}
	}
	return files
}

func (m *machine) spoilFiles(c *commit) {
	one := ballast.File{Path: "A", Size: 1, Digest: ballast.DigestOf([]byte("a"))}
	c.files = ballast.CodeInvalid
	switch m.draw("how spoilt", 4) {
	case 0:
		one.Path = "../escape"
		c.Files = []ballast.File{one}
	case 1:
		twin := one
		twin.Path = "a"
		c.Files = []ballast.File{one, twin}
	case 2:
		below := one
		below.Path = "a/b"
		c.Files = []ballast.File{one, below}
	case 3:
		c.files = ballast.CodeTooLarge
		c.Files = slices.Repeat([]ballast.File{one}, ballast.MaxFiles+1)
	}
}

func (m *machine) addMetadata(c *commit) {
	switch m.draw("metadata", 10) {
	case 0:
		c.Metadata.Metrics, c.metadata = map[string]float64{"loss": math.NaN()}, ballast.CodeInvalid
	case 1:
		c.Metadata.Description, c.metadata = strings.Repeat("long ", ballast.MaxMetadataBytes/5), ballast.CodeTooLarge
	case 2:
		c.Metadata.BaseModel = "no::such::name::version"
	case 3:
		c.Metadata.BaseModel = "unheard-of:1"
	default:
		m.describe(&c.Metadata)
		if m.oneIn(2) {
			c.Metadata.BaseModel = m.anyRef().String()
		}
	}
}

func (m *machine) commit(p engine.Principal, id string, c commit) step {
	var got ballast.Upload
	var refused *ballast.Error
	var missing []digest.Digest
	return step{
		name: "commit", show: args(p.Name, id, len(c.Files), c.Metadata.BaseModel),
		call: func() (err error) {
			got, err = m.engine.Commit(m.Context(), p, id, c.CommitRequest)
			refused = ballast.AsError(err)
			return err
		},
		want: func() (code ballast.Code) {
			u, code := m.access(p, id)
			if code == "" && u.imported {
				return ballast.CodeConflict
			}
			if code == "" {
				code = c.files
			}
			if code == "" {
				missing, code = m.committed(p, u, c)
			}
			if code == ballast.CodeMissing && refused != nil {
				slices.Sort(missing)
				equal(m, "missing", slices.Sorted(slices.Values(refused.Missing)), missing)
			}
			return code
		},
		check: func() { m.sameUpload(got, m.upload(id)) },
	}
}

// committed is the model's Commit of well-formed files.
func (m *machine) committed(p engine.Principal, u *modelUpload, c commit) (missing []digest.Digest, code ballast.Code) {
	_, body, err := ballast.BuildManifest(c.Files)
	if err != nil {
		m.Fatalf("the machine drew bad files: %v", err)
	}
	manifest := ballast.DigestOf(body)
	switch {
	case u.status == ballast.UploadPending:
		return m.accept(p, u, c, manifest, int64(len(body)))
	case u.status == ballast.UploadFailed || u.closed() == ballast.CodeLeaseLost:
		return nil, u.closed()
	case u.manifest != manifest:
		return nil, ballast.CodeConflict
	}
	return nil, ""
}

func (m *machine) accept(p engine.Principal, u *modelUpload, c commit, manifest digest.Digest, size int64) (missing []digest.Digest, code ballast.Code) {
	if c.metadata != "" {
		return nil, c.metadata
	}
	if !m.knowsTask(c.Metadata.Task) {
		return nil, ballast.CodeInvalid
	}
	base, code := m.base(p, u.scope, c.Metadata.BaseModel)
	if code != "" {
		return nil, code
	}
	u.renewed = m.now
	if slices.ContainsFunc(c.Files, func(f ballast.File) bool { return f.Size == 0 }) {
		if code := m.own(u, ballast.EmptyDigest, 0); code != "" {
			return nil, code
		}
	}
	missing, code = m.allThere(u, c.Files)
	switch {
	case code != "":
		m.fail(u, code)
		return nil, code
	case len(missing) > 0:
		return missing, ballast.CodeMissing
	}
	if code := m.own(u, manifest, size); code != "" {
		return nil, code
	}
	u.accepted, u.said, u.manifest, u.status = c.Files, saidIn(c.Metadata), manifest, ballast.UploadVerifying
	for f := range distinctFiles(c.Files) {
		code = cmp.Or(m.complete(u, f), code)
	}
	if code != "" {
		m.fail(u, code)
		return nil, code
	}
	sorted := slices.SortedFunc(slices.Values(c.Files), func(a, b ballast.File) int { return strings.Compare(a.Path, b.Path) })
	v, code := m.seal(u, sorted, base)
	if code != "" {
		m.fail(u, code)
		return nil, code
	}
	if v.status == ballast.StatusSealed && !m.outage {
		m.publish(v)
	}
	return nil, ""
}

func (m *machine) fail(u *modelUpload, code ballast.Code) {
	u.failed = code
	m.settle(u, ballast.UploadFailed, m.now)
}

// base is the exact key of a ready version that may have children.
func (m *machine) base(p engine.Principal, scope ballast.Scope, text string) (string, ballast.Code) {
	if text == "" {
		return "", ""
	}
	ref, err := ballast.ParseRef(text)
	if err != nil {
		return "", ballast.CodeInvalid
	}
	v, code := m.resolve(p, ref)
	if code == ballast.CodeNotFound || code == ballast.CodeRetired || code == "" && v.status != ballast.StatusReady {
		return "", ballast.CodePrecondition
	}
	if code != "" {
		return "", code
	}
	if scope == ballast.Global && v.key.Scope != ballast.Global || len(m.bases(v)) >= index.MaxLineage {
		return "", ballast.CodePrecondition
	}
	return v.key.String(), ""
}

// own writes a blob of the service's own making.
func (m *machine) own(u *modelUpload, d digest.Digest, size int64) ballast.Code {
	w := want{BlobRequest: ballast.BlobRequest{Digest: d, Size: size, Method: ballast.MethodPut}}
	id := w.id(u.scope)
	if fresh := m.pin(u, w); !fresh && m.blob(id).state == index.BlobUploading && m.blob(id).method == ballast.MethodPut {
		m.look(id)
	}
	if b := m.blob(id); b.state == index.BlobUploading {
		if b.object == nil {
			b.object = &modelObject{size: size}
		}
		delete(m.multiparts, b.multipart)
		if m.look(id); m.blob(id).state == index.BlobAbsent {
			return ballast.CodeIntegrity
		}
	}
	if m.blob(id).state != index.BlobVerified {
		return ballast.CodeBusy
	}
	return ""
}

// allThere settles what can be settled of the files of a commit, and says what is missing, or that bytes are a lie.
func (m *machine) allThere(u *modelUpload, files []ballast.File) (missing []digest.Digest, code ballast.Code) {
	for f := range distinctFiles(files) {
		if b := m.blob(index.BlobID{Scope: u.scope, Digest: f.Digest}); b.state == index.BlobVerified && b.size != f.Size {
			return nil, ballast.CodeIntegrity
		}
	}
	for f := range distinctFiles(files) {
		id := index.BlobID{Scope: u.scope, Digest: f.Digest}
		pinned, ok := m.blob(id).pins[u.id]
		there := m.there(u, f)
		if m.blob(id).state == index.BlobUploading && m.blob(id).method == ballast.MethodPut && there {
			m.look(id)
			if b := m.blob(id); b.state != index.BlobVerified || b.size != f.Size {
				code = ballast.CodeIntegrity
			}
		}
		if !there || !ok || pinned != f.Size {
			missing = append(missing, f.Digest)
		}
	}
	return missing, code
}

// there reports whether the store holds something for a file: an object, or every part as the upload declared it.
func (m *machine) there(u *modelUpload, f ballast.File) bool {
	b := m.blob(index.BlobID{Scope: u.scope, Digest: f.Digest})
	switch {
	case b.state != index.BlobUploading:
		return b.state == index.BlobVerified
	case b.method == ballast.MethodPut:
		return b.object != nil
	}
	mp := m.multiparts[b.multipart]
	for n := 1; n <= ballast.PartCount(f.Size, b.partSize); n++ {
		if mp == nil || mp.parts[n].Size != ballast.PartLength(f.Size, b.partSize, n) || !u.declares(f.Digest, b.partSize, mp.parts[n]) {
			return false
		}
	}
	return true
}

// complete makes the object of a file's parts, if it came in parts, and re-reads it.
func (m *machine) complete(u *modelUpload, f ballast.File) ballast.Code {
	id := index.BlobID{Scope: u.scope, Digest: f.Digest}
	b := m.blob(id)
	if b.state != index.BlobUploading {
		return ""
	}
	good := m.honest(f, b)
	switch {
	case b.object == nil && good:
		b.object = &modelObject{size: f.Size}
	case b.object == nil:
		b.object = &modelObject{size: f.Size, tainted: true}
	}
	delete(m.multiparts, b.multipart)
	m.look(id)
	if b := m.blob(id); b.state != index.BlobVerified || b.size != f.Size {
		return ballast.CodeIntegrity
	}
	return ""
}

// honest reports whether the parts in the store add up to what the digest says.
func (m *machine) honest(f ballast.File, b *modelBlob) bool {
	i := slices.IndexFunc(m.bodies, func(c body) bool { return c.digest == f.Digest })
	if i < 0 || int64(len(m.bodies[i].bytes)) != f.Size {
		return false
	}
	w := want{ballast.BlobRequest{Size: f.Size}, m.bodies[i].bytes}
	w.inParts(b.partSize)
	for _, p := range w.Parts {
		if m.multiparts[b.multipart].parts[p.Number].SHA256.Encoded() != p.SHA256 {
			return false
		}
	}
	return true
}

// distinctFiles yields one file for each digest.
func distinctFiles(files []ballast.File) func(yield func(ballast.File) bool) {
	return func(yield func(ballast.File) bool) {
		seen := map[digest.Digest]bool{}
		for _, f := range files {
			if !seen[f.Digest] && !yield(f) {
				return
			}
			seen[f.Digest] = true
		}
	}
}

// drawPush does all that an honest client does.
func (m *machine) drawPush() step { return m.push(m.anyVersion()) }

func (m *machine) push(label ballast.Version) step {
	p := m.actor(acme)
	req := ballast.CreateUpload{Name: m.anyName(), Version: label, Attempt: fmt.Sprintf("attempt-of-push-%d", m.steps)}
	var id string
	m.seen.add("push", "")
	if m.do(m.create(p, req, &id)); m.upload(id) == nil {
		return step{}
	}
	var files []ballast.File
	for _, path := range []string{"a", "b"}[:1+m.draw("files", 2)] {
		b := m.anyBody()
		w := want{ballast.BlobRequest{Digest: b.digest, Size: int64(len(b.bytes)), Method: ballast.MethodPut}, b.bytes}
		if m.oneIn(3) && len(b.bytes) > 0 {
			w.inParts(ballast.MinPartSize)
		}
		files = append(files, ballast.File{Path: path, Size: w.Size, Digest: w.Digest})
		before := len(m.sends)
		m.do(m.ask(p, id, []want{w}, false))
		for _, s := range m.sends[min(before, len(m.sends)):] {
			m.do(m.send(s, http.Header{}))
		}
	}
	c := commit{CommitRequest: ballast.CommitRequest{Files: files}}
	if m.oneIn(2) {
		m.describe(&c.Metadata)
	}
	return m.commit(p, id, c)
}
