package engine

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/atomicfile"
	"github.com/ballast-registry/ballast/internal/index"
)

// RecordKind is what a record of a version's chain says.
type RecordKind string

// The kinds. Legal chains: ready; ready → retired; ready or retired → deleted; deleted → restored.
const (
	RecordReady    RecordKind = "ready"
	RecordRetired  RecordKind = "retired"
	RecordDeleted  RecordKind = "deleted"
	RecordRestored RecordKind = "restored"
)

// Record is the body of one object under models/<name>/versions/<version>/: append-only, so that the bucket alone
// rebuilds the index. Scope, name and version come from the object's key; the body holds them as typed and must agree.
type Record struct {
	Schema       int               `json:"schema"`
	Kind         RecordKind        `json:"kind"`
	Number       int               `json:"number"`
	Scope        ballast.Scope     `json:"scope"`
	Name         ballast.Name      `json:"name"`
	Version      ballast.Version   `json:"version"`
	Digest       digest.Digest     `json:"digest"` // of the manifest
	ManifestSize int64             `json:"manifest_size"`
	Size         int64             `json:"size"`
	Files        int               `json:"files"`
	Assurance    ballast.Assurance `json:"assurance"`
	Weights      *ballast.Weights  `json:"weights,omitempty"`
	Metadata     ballast.Metadata  `json:"metadata"`
	CreatedBy    string            `json:"created_by"`
	CreatedAt    ballast.Time      `json:"created_at"`
	By           string            `json:"by"` // who caused this record
	At           ballast.Time      `json:"at"`
}

// sealedRecord is a Record as it lies in the bucket.
type sealedRecord struct {
	KeyID string          `json:"key_id"`
	HMAC  string          `json:"hmac"` // hex HMAC-SHA-256 over path, body and the previous record's HMAC
	Body  json.RawMessage `json:"body"`
}

const (
	recordSchema   = 1
	maxRecordBytes = 48 << 10
)

// recordPath is the key of record n of a version, relative to the registry's prefix.
func recordPath(k ballast.Key, n int) string {
	return fmt.Sprintf("%s/models/%s/versions/%s/%08d.json", k.Scope.Path(), k.Name.Fold(), k.Version.Fold(), n)
}

// parseRecordPath reads what recordPath wrote; name and version are folded.
func parseRecordPath(scope ballast.Scope, key string) (k ballast.Key, n int, ok bool) {
	rest, ok := strings.CutPrefix(key, scope.Path()+"/models/")
	if !ok {
		return k, 0, false
	}
	name, tail, ok := strings.Cut(rest, "/versions/")
	if !ok {
		return k, 0, false
	}
	version, file, _ := strings.Cut(tail, "/")
	if _, err := fmt.Sscanf(file, "%08d.json", &n); err != nil || n < 1 {
		return k, 0, false
	}
	var err error
	k.Scope = scope
	if k.Name, err = ballast.ParseName(name); err != nil {
		return k, 0, false
	}
	if k.Version, err = ballast.ParseVersion(version); err != nil {
		return k, 0, false
	}
	return k, n, recordPath(k, n) == key
}

// RecordKey signs records, so that what somebody else wrote into the bucket is told from what the registry wrote. It may
// know keys that were replaced: they verify what they signed, and sign nothing more.
type RecordKey struct {
	ID       string
	secret   []byte
	replaced []RecordKey
}

const recordKeyComment = `# Ballast signs the version records in the bucket with this key. Keep a copy somewhere safe.
# Lost, the bucket can still be rebuilt, but only by re-hashing every blob (ballast rebuild --accept-unsigned).
# Leaked, somebody who can also write to the bucket can forge versions: replace it.
`

// LoadRecordKey reads a file with a key in each line, 64 hex digits, comments with #. The first one signs; those after it
// were replaced, and verify. With create it makes a missing file with one key, mode 0600.
func LoadRecordKey(path string, create bool) (RecordKey, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && create {
		return createRecordKey(path)
	}
	if err != nil {
		return RecordKey{}, fmt.Errorf("record key: %w", err)
	}
	var keys []RecordKey
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		secret, err := hex.DecodeString(line)
		if err != nil || len(secret) != sha256.Size {
			return RecordKey{}, fmt.Errorf("record key %s: a line is no key, which has 64 hex digits", path)
		}
		keys = append(keys, NewRecordKey(secret))
	}
	if len(keys) == 0 {
		return RecordKey{}, fmt.Errorf("record key %s: no line of 64 hex digits", path)
	}
	return keys[0].Replacing(keys[1:]...), nil
}

// Replacing returns the key as one that also verifies what others have signed.
func (k RecordKey) Replacing(old ...RecordKey) RecordKey {
	k.replaced = append(append([]RecordKey(nil), k.replaced...), old...)
	return k
}

// byID finds the key that signs or has signed under an id.
func (k RecordKey) byID(id string) (RecordKey, bool) {
	if k.ID == id {
		return k, true
	}
	for _, old := range k.replaced {
		if old.ID == id {
			return old, true
		}
	}
	return RecordKey{}, false
}

func createRecordKey(path string) (RecordKey, error) {
	secret := make([]byte, sha256.Size)
	if _, err := rand.Read(secret); err != nil {
		return RecordKey{}, err
	}
	if err := atomicfile.Create(path, recordKeyComment+hex.EncodeToString(secret)+"\n"); err != nil {
		return RecordKey{}, fmt.Errorf("record key: %w", err)
	}
	return NewRecordKey(secret), nil
}

// NewRecordKey makes a key of 32 secret bytes; its id is derived from them.
func NewRecordKey(secret []byte) RecordKey {
	sum := sha256.Sum256(append([]byte("ballast record key id\x00"), secret...))
	return RecordKey{ID: hex.EncodeToString(sum[:8]), secret: secret}
}

// String hides the secret.
func (k RecordKey) String() string { return "record key " + k.ID }

func (k RecordKey) mac(path string, body []byte, previous string) string {
	h := hmac.New(sha256.New, k.secret)
	for _, part := range []string{path, string(body), previous} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// nextRecord makes the record that a version in its present state adds to its chain: every byte of it follows from the
// version and the key.
func (k RecordKey) nextRecord(v index.Version) (bytes []byte, mac string, err error) {
	r := Record{
		Schema: recordSchema, Number: v.Records + 1, Scope: v.Scope, Name: v.Name, Version: v.Version,
		Digest: v.Digest, ManifestSize: v.ManifestSize, Size: v.Size, Files: v.Files, Assurance: v.Assurance,
		Weights: v.Weights, Metadata: v.Metadata, CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt,
	}
	switch v.Status {
	case ballast.StatusSealed:
		r.Kind, r.By, r.At = RecordReady, v.CreatedBy, v.CreatedAt
	case ballast.StatusRetired:
		r.Kind, r.By, r.At = RecordRetired, v.RetiredBy, v.RetiredAt
	case ballast.StatusDeleted:
		r.Kind, r.By, r.At = RecordDeleted, v.DeletedBy, v.DeletedAt
		if v.Due != nil && v.Due.Kind == ballast.EventRestored {
			r.Kind, r.By, r.At = RecordRestored, v.RestoredBy, v.RestoredAt
		}
	default:
		return nil, "", fmt.Errorf("engine: a version that is %s adds no record", v.Status)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, "", err
	}
	mac = k.mac(recordPath(v.Key(), r.Number), body, v.RecordMAC)
	bytes, err = json.Marshal(sealedRecord{KeyID: k.ID, HMAC: mac, Body: body})
	if err == nil && len(bytes) > maxRecordBytes {
		err = ballast.Errorf(ballast.CodeTooLarge, "the version's record has %d bytes; at most %d: shorten the metadata", len(bytes), maxRecordBytes)
	}
	return bytes, mac, err
}

// errRecord says that an object is not the record that its key promises.
var errRecord = errors.New("engine: not a record of this version")

// openRecord reads a record that lies under path, which names k and n. previous is the HMAC of record n−1, "" for the
// first. Errors wrap errRecord: an unknown key id, a wrong HMAC, a schema or kind that is not known, or a body that
// disagrees with the path.
func (k RecordKey) openRecord(path string, want ballast.Key, n int, b []byte, previous string) (r Record, mac string, err error) {
	read, err := k.read(path, want, n, b, previous)
	if err == nil && !read.known {
		err = fmt.Errorf("%w: signed with the unknown key %q", errRecord, read.keyID)
	}
	if err != nil {
		return r, "", err
	}
	return read.Record, read.mac, nil
}

// read is openRecord that leaves it to its caller what a record with an unknown key is worth.
func (k RecordKey) read(path string, want ballast.Key, n int, b []byte, previous string) (r readRecord, err error) {
	var s sealedRecord
	if err := ballast.StrictUnmarshal(b, &s); err != nil {
		return r, fmt.Errorf("%w: %w", errRecord, err)
	}
	r.keyID, r.mac = s.KeyID, s.HMAC
	signer, known := k.byID(s.KeyID)
	if known && !hmac.Equal([]byte(signer.mac(path, s.Body, previous)), []byte(s.HMAC)) {
		return r, fmt.Errorf("%w: its HMAC is wrong", errRecord)
	}
	r.known = known
	if err := json.Unmarshal(s.Body, &r.Record); err != nil {
		return r, fmt.Errorf("%w: %w", errRecord, err)
	}
	if r.Schema != recordSchema || r.Kind != RecordReady && r.Kind != RecordRetired && r.Kind != RecordDeleted && r.Kind != RecordRestored {
		return r, fmt.Errorf("%w: schema %d and kind %q are not known here; a newer program may have written it", errRecord, r.Schema, r.Kind)
	}
	if r.Number != n || r.Scope != want.Scope || r.Name.Fold() != want.Name.Fold() || r.Version.Fold() != want.Version.Fold() {
		return r, fmt.Errorf("%w: it speaks of %s record %d", errRecord, ballast.Key{Scope: r.Scope, Name: r.Name, Version: r.Version}, r.Number)
	}
	return r, nil
}

// again makes the head of a chain once more, as record n signed with this key: it vouches for a chain whose key is lost.
func (k RecordKey) again(head readRecord) (n int, bytes []byte, mac string, err error) {
	r := head.Record
	r.Number++
	body, err := json.Marshal(r)
	if err != nil {
		return 0, nil, "", err
	}
	mac = k.mac(recordPath(ballast.Key{Scope: r.Scope, Name: r.Name, Version: r.Version}, r.Number), body, head.mac)
	bytes, err = json.Marshal(sealedRecord{KeyID: k.ID, HMAC: mac, Body: body})
	return r.Number, bytes, mac, err
}
