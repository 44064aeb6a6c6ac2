package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/failpoint"
	"github.com/ballast-registry/ballast/internal/hash"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// busyRetry is what a client waits before it asks about a busy blob again.
const busyRetry = 1.0

// Blobs says what is there of each blob, pins it, renews the lease, and signs requests for what is not there.
func (e *Engine) Blobs(ctx context.Context, p Principal, id string, req ballast.BlobsRequest) (ballast.BlobsResponse, error) {
	u, err := e.pushed(ctx, p, id)
	if err != nil {
		return ballast.BlobsResponse{}, err
	}
	noteUpload(ctx, u, req)
	wants, err := parseWants(req)
	if err != nil {
		return ballast.BlobsResponse{}, err
	}
	at := e.now()
	expires := ballast.At(at.Add(e.limits.Lease)) // at the earliest, for asking takes its time
	asked, err := e.ask(ctx, u, wants)
	if err != nil {
		return ballast.BlobsResponse{}, err
	}
	e.usedLease(LeaseRenewed, u, at)
	answer := ballast.BlobsResponse{Blobs: make([]ballast.BlobAnswer, 0, len(wants)), ExpiresAt: expires}
	for i, w := range wants {
		a, err := e.answer(ctx, u, w, asked[i])
		if err != nil {
			return ballast.BlobsResponse{}, storeError(err)
		}
		answer.Blobs = append(answer.Blobs, a)
	}
	return answer, nil
}

// ask pins blobs and settles what can be settled by a look at the store: bytes sent by an earlier PUT, empty files.
func (e *Engine) ask(ctx context.Context, u index.Upload, wants []index.Want) ([]index.Asked, error) {
	if err := e.owner.check(ctx); err != nil {
		return nil, err
	}
	signedUntil := e.now().Add(e.limits.PutURLLife)
	asked := make([]index.Asked, 0, len(wants))
	for batch := range chunks(wants) {
		a, err := e.index.Ask(ctx, u.ID, batch, signedUntil, e.limits.Lease)
		if err != nil {
			return nil, err
		}
		asked = append(asked, a...)
	}
	var look []int // which of them may have been sent
	for i, a := range asked {
		if wants[i].Digest == ballast.EmptyDigest && a.Blob.State == index.BlobUploading {
			if err := e.writeBlob(ctx, u.Scope, ballast.EmptyDigest, nil); err != nil {
				return nil, storeError(err)
			}
		}
		if a.Blob.State == index.BlobUploading && a.Blob.Method == ballast.MethodPut && (!a.Fresh || wants[i].Size == 0) {
			look = append(look, i)
		}
	}
	if len(look) == 0 {
		return asked, nil
	}
	return asked, e.askAgain(ctx, u, wants, asked, look)
}

// askAgain settles the PUTs that look picks out and puts in asked what they are then. Errors: integrity when the bytes of
// a digest are there and of another size.
func (e *Engine) askAgain(ctx context.Context, u index.Upload, wants []index.Want, asked []index.Asked, look []int) error {
	files := make([]ballast.File, 0, len(look))
	for _, i := range look {
		files = append(files, ballast.File{Digest: wants[i].Digest, Size: wants[i].Size})
	}
	for batch := range slices.Chunk(files, index.MaxWants) {
		if _, err := e.settlePuts(ctx, u, batch); err != nil && ballast.CodeOf(err) != ballast.CodeIntegrity {
			return err
		}
	}
	blobs, err := e.index.Blobs(ctx, u.Scope, digestsOf(files))
	if err != nil {
		return err
	}
	for n, i := range look {
		if blobs[n].State == index.BlobVerified && blobs[n].Size != wants[i].Size {
			return otherSize(files[n], blobs[n].Size)
		}
		asked[i].Blob = blobs[n]
	}
	return nil
}

// chunks cuts wants so that each Ask fits a transaction.
func chunks(wants []index.Want) func(yield func([]index.Want) bool) {
	return func(yield func([]index.Want) bool) {
		begin, keys, bytes := 0, 0, 0
		for i, w := range wants {
			k, b := w.Weight()
			if i > begin && (i-begin == index.MaxWants || keys+k > index.MaxTouchedKeys*9/10 || bytes+b > index.MaxTouchedBytes*9/10) {
				if !yield(wants[begin:i]) {
					return
				}
				begin, keys, bytes = i, 0, 0
			}
			keys, bytes = keys+k, bytes+b
		}
		if begin < len(wants) {
			yield(wants[begin:])
		}
	}
}

func parseWants(req ballast.BlobsRequest) ([]index.Want, error) {
	if len(req.Blobs) == 0 || len(req.Blobs) > ballast.MaxBlobsPerCall {
		return nil, ballast.Errorf(ballast.CodeInvalid, "blobs: %d entries; send 1 to %d in one call", len(req.Blobs), ballast.MaxBlobsPerCall)
	}
	seen := make(map[digest.Digest]bool, len(req.Blobs))
	wants, parts := make([]index.Want, 0, len(req.Blobs)), 0
	for _, b := range req.Blobs {
		w, err := parseWant(b)
		if err != nil {
			return nil, err
		}
		if seen[w.Digest] {
			return nil, ballast.Errorf(ballast.CodeInvalid, "blob %s: listed twice in one call", w.Digest)
		}
		seen[w.Digest] = true
		wants, parts = append(wants, w), parts+len(w.Parts)+len(w.Chain)
	}
	if parts > ballast.MaxPartsPerCall {
		return nil, ballast.Errorf(ballast.CodeInvalid, "parts and values of chains: %d in all; send at most %d in one call", parts, ballast.MaxPartsPerCall)
	}
	return wants, nil
}

func parseWant(b ballast.BlobRequest) (w index.Want, err error) {
	if w.Digest, err = ballast.ParseDigest(b.Digest.String()); err != nil {
		return w, err
	}
	if b.Size < 0 || b.Size > ballast.MaxFileSize || (b.Size == 0) != (w.Digest == ballast.EmptyDigest) {
		return w, ballast.Errorf(ballast.CodeInvalid, "blob %s: the size %d cannot be its size", w.Digest, b.Size)
	}
	w.Size = b.Size
	if w.Method, err = chooseMethod(b); err != nil {
		return w, err
	}
	if b.PartSize < 0 {
		return w, ballast.Errorf(ballast.CodeInvalid, "blob %s: part_size %d", w.Digest, b.PartSize)
	}
	if w.Method == ballast.MethodMultipart || b.PartSize > 0 {
		w.PartSize = ballast.ClampPartSize(b.Size, b.PartSize)
	}
	if w.PartSize == 0 && len(b.Parts) > 0 {
		return w, ballast.Errorf(ballast.CodeInvalid, "blob %s: parts go with method multipart or a part_size", w.Digest)
	}
	count := ballast.PartCount(w.Size, max(w.PartSize, 1))
	seen := make(map[int]bool, len(b.Parts))
	for _, p := range b.Parts {
		d, err := ballast.ParseSHA256(p.SHA256)
		if err != nil {
			return w, err
		}
		if p.Number < 1 || p.Number > count {
			return w, ballast.Errorf(ballast.CodeInvalid, "blob %s: part %d; %d bytes have parts 1 to %d of %d bytes", w.Digest, p.Number, w.Size, count, w.PartSize)
		}
		if seen[p.Number] {
			return w, ballast.Errorf(ballast.CodeInvalid, "blob %s: part %d is listed twice", w.Digest, p.Number)
		}
		seen[p.Number] = true
		w.Parts = append(w.Parts, index.PartSum{Number: p.Number, Sum: ballast.DigestSum(d)})
	}
	w.LinkSize, w.Chain, err = parseChain(w, b)
	return w, err
}

// parseChain holds a declared chain to the form that clients believe.
func parseChain(w index.Want, b ballast.BlobRequest) (linkSize int64, chain [][32]byte, err error) {
	switch {
	case b.LinkSize == 0 && len(b.Chain) == 0:
		return 0, nil, nil
	case w.Method != ballast.MethodPut:
		return 0, nil, ballast.Errorf(ballast.CodeInvalid, "blob %s: a chain goes with method put; of a multipart the registry takes it itself", w.Digest)
	case b.LinkSize < ballast.MinPartSize || b.LinkSize%hash.BlockSize != 0:
		return 0, nil, ballast.Errorf(ballast.CodeInvalid, "blob %s: link_size %d; it is at least %d and a multiple of %d", w.Digest, b.LinkSize, int64(ballast.MinPartSize), hash.BlockSize)
	case len(b.Chain) != ballast.PartCount(w.Size, b.LinkSize)-1:
		return 0, nil, ballast.Errorf(ballast.CodeInvalid, "blob %s: a chain of %d values; %d bytes in links of %d have %d", w.Digest, len(b.Chain), w.Size, b.LinkSize, ballast.PartCount(w.Size, b.LinkSize)-1)
	}
	for _, text := range b.Chain {
		d, err := ballast.ParseSHA256(text)
		if err != nil {
			return 0, nil, err
		}
		chain = append(chain, ballast.DigestSum(d))
	}
	return b.LinkSize, chain, nil
}

func chooseMethod(b ballast.BlobRequest) (ballast.Method, error) {
	switch {
	case b.Method != "" && b.Method != ballast.MethodPut && b.Method != ballast.MethodMultipart:
		return "", ballast.Errorf(ballast.CodeInvalid, "blob %s: method %q; use put or multipart", b.Digest, b.Method)
	case b.Size == 0:
		return ballast.MethodPut, nil
	case b.Size > ballast.MaxPutSize:
		return ballast.MethodMultipart, nil
	case b.Method != "":
		return b.Method, nil
	case b.Size > ballast.DefaultPartSize:
		return ballast.MethodMultipart, nil
	}
	return ballast.MethodPut, nil
}

// answer says what to send of one blob that was asked about.
func (e *Engine) answer(ctx context.Context, u index.Upload, w index.Want, asked index.Asked) (ballast.BlobAnswer, error) {
	a := ballast.BlobAnswer{Digest: w.Digest, Size: w.Size, State: ballast.BlobMissing, Method: asked.Blob.Method}
	switch asked.Blob.State {
	case index.BlobVerified:
		a.State, a.Method = ballast.BlobVerified, ""
		return a, nil
	case index.BlobStored:
		a.State, a.Method = ballast.BlobStored, ""
		return a, nil
	case index.BlobUploading:
	default:
		return busy(a), nil
	}
	if a.Method == ballast.MethodPut {
		return e.answerPut(ctx, u, w, a)
	}
	return e.answerParts(ctx, u, w, asked, a)
}

func busy(a ballast.BlobAnswer) ballast.BlobAnswer {
	a.State, a.Method, a.RetryAfter = ballast.BlobBusy, "", busyRetry
	return a
}

func (e *Engine) answerPut(ctx context.Context, u index.Upload, w index.Want, a ballast.BlobAnswer) (ballast.BlobAnswer, error) {
	if w.Size > ballast.MaxPutSize {
		return busy(a), nil // somebody else declared a smaller size; their upload has to end first
	}
	req, err := e.signer.SignPut(ctx, ballast.BlobKey(u.Scope, w.Digest), w.Digest, w.Size, e.limits.PutURLLife)
	a.Request = &req
	return a, err
}

func (e *Engine) answerParts(ctx context.Context, u index.Upload, w index.Want, asked index.Asked, a ballast.BlobAnswer) (ballast.BlobAnswer, error) {
	a.PartSize = asked.Blob.PartSize
	count := ballast.PartCount(w.Size, a.PartSize)
	if count > ballast.MaxParts {
		return busy(a), nil
	}
	id := index.BlobID{Scope: u.Scope, Digest: w.Digest}
	b, err := e.openMultipart(ctx, id, asked)
	if err != nil {
		return a, err
	}
	if b.State != index.BlobUploading || b.MultipartID == "" {
		return busy(a), nil
	}
	if len(w.Parts) > 0 && w.PartSize != a.PartSize {
		return a, nil
	}
	if !asked.Fresh {
		a.Have, err = e.have(ctx, u, w, b, count)
		if errors.Is(err, objstore.ErrNoSuchUpload) {
			return busy(a), e.multipartGone(ctx, id, b.MultipartID)
		}
		if err != nil {
			return a, err
		}
	}
	key, have := ballast.BlobKey(u.Scope, w.Digest), toSet(a.Have)
	a.Parts = make([]ballast.PartAnswer, 0, max(len(w.Parts)-len(have), 0))
	for _, p := range w.Parts {
		if have[p.Number] {
			continue
		}
		size := ballast.PartLength(w.Size, a.PartSize, p.Number)
		req, err := e.signer.SignPart(ctx, key, b.MultipartID, p.Number, ballast.DigestFromSum(p.Sum), size, e.limits.PutURLLife)
		if err != nil {
			return a, err
		}
		a.Parts = append(a.Parts, ballast.PartAnswer{Number: p.Number, Request: req})
	}
	return a, nil
}

func toSet(numbers []int) map[int]bool {
	set := make(map[int]bool, len(numbers))
	for _, n := range numbers {
		set[n] = true
	}
	return set
}

// have lists the parts that the store holds as this upload declared them: of those asked about, or of all. Errors:
// objstore.ErrNoSuchUpload.
func (e *Engine) have(ctx context.Context, u index.Upload, w index.Want, b index.Blob, count int) ([]int, error) {
	declared, err := e.index.DeclaredParts(ctx, u.ID, w.Digest, b.PartSize, count)
	if err != nil {
		return nil, err
	}
	first, last := 1, count
	wanted := map[int]bool{}
	for i, p := range w.Parts {
		if i == 0 {
			first, last = p.Number, p.Number
		}
		first, last = min(first, p.Number), max(last, p.Number)
		wanted[p.Number] = true
	}
	var have []int
	for part, err := range e.bucket.ListParts(ctx, ballast.BlobKey(u.Scope, w.Digest), b.MultipartID, first-1) {
		if err != nil {
			return nil, err
		}
		if part.Number > last {
			break
		}
		if matchesDeclared(part, declared) && (len(wanted) == 0 || wanted[part.Number]) {
			have = append(have, part.Number)
		}
	}
	return have, nil
}

// matchesDeclared reports whether a listed part is what the upload declared under its number.
func matchesDeclared(p objstore.Part, declared [][32]byte) bool {
	if p.Number < 1 || p.Number > len(declared) || declared[p.Number-1] == ([32]byte{}) {
		return false
	}
	return p.SHA256 == ballast.DigestFromSum(declared[p.Number-1])
}

// openMultipart makes sure that an uploading blob has a multipart at the store. The intent has been in the index since
// the blob was first asked about, so after a crash in here the next call finds what was left under this key and drops it.
func (e *Engine) openMultipart(ctx context.Context, id index.BlobID, asked index.Asked) (index.Blob, error) {
	if asked.Blob.MultipartID != "" {
		return asked.Blob, nil // without the lock, which a long Complete may hold
	}
	defer e.blobs.lock(id)()
	b, err := e.index.Blob(ctx, id)
	if err != nil || b.State != index.BlobUploading || b.MultipartID != "" {
		return b, err
	}
	key := ballast.BlobKey(id.Scope, id.Digest)
	if !asked.Fresh {
		if err := e.abortAll(ctx, key); err != nil {
			return b, err
		}
	}
	multipart, err := e.bucket.CreateMultipart(ctx, key)
	if err != nil {
		return b, err
	}
	if b, err = e.index.MultipartOpened(ctx, id, multipart); err != nil || b.MultipartID != multipart {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return b, errors.Join(err, e.bucket.AbortMultipart(ctx, key, multipart))
	}
	return b, nil
}

// abortAll drops every open multipart of a key.
func (e *Engine) abortAll(ctx context.Context, key string) error {
	open, err := e.bucket.ListUploads(ctx, key)
	if err != nil {
		return err
	}
	for _, m := range open {
		if err := e.bucket.AbortMultipart(ctx, key, m.ID); err != nil && !errors.Is(err, objstore.ErrNoSuchUpload) {
			return err
		}
	}
	return nil
}

// writeBlob writes bytes that the service itself makes: manifests and empty files. A key that is taken is success; what
// lies there is checked like any other PUT.
func (e *Engine) writeBlob(ctx context.Context, scope ballast.Scope, d digest.Digest, body []byte) error {
	err := failpoint.Do(ctx, failpoint.PutBlob, func(ctx context.Context) error {
		_, err := e.bucket.Put(ctx, ballast.BlobKey(scope, d), body, objstore.Condition{IfAbsent: true})
		return err
	})
	if errors.Is(err, objstore.ErrPrecondition) {
		return nil
	}
	return err
}
