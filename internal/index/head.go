package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// A value that is resolved all the time has a head before its JSON: the little that decides whether and how something is
// served. To decode the whole costs ten times what finding it does.
//
//	0x01, length of the head as a uvarint, head, JSON
//
// A value without a head begins with the "{" of its JSON. Both are read, and a head that does not say what the JSON says
// is damage.
const headForm = 0x01

// headed is a value that is stored with a head. One that returns nil is stored without.
type headed interface{ head() []byte }

// withHead puts a value's head before its JSON.
func withHead(value any, json []byte) []byte {
	h, ok := value.(headed)
	if !ok {
		return json
	}
	head := h.head()
	if head == nil {
		return json
	}
	b := binary.AppendUvarint([]byte{headForm}, uint64(len(head)))
	return append(append(b, head...), json...)
}

// splitHead returns the head in a stored value, nil when it has none, and its JSON.
func splitHead(b []byte) (head, json []byte, err error) {
	if len(b) == 0 || b[0] != headForm {
		return nil, b, nil
	}
	n, used := binary.Uvarint(b[1:])
	rest := b[1+max(used, 0):]
	if used <= 0 || n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("its head is cut: %w", ErrCorrupt)
	}
	return rest[:n:n], rest[n:], nil
}

// checkHead refuses a head that does not belong to a value.
func checkHead(value any, head []byte) error {
	if h, ok := value.(headed); head != nil && (!ok || !bytes.Equal(h.head(), head)) {
		return fmt.Errorf("its head says something else: %w", ErrCorrupt)
	}
	return nil
}

// Head is what of a version decides how it is served.
type Head struct {
	Scope  ballast.Scope // where it was found
	Status ballast.Status
	Digest digest.Digest // of the manifest
	Key    string        // of the version; only ResolveHead fills it in

	base []byte // key of the base model less its kind; empty without one
}

// statuses are by the first byte of a head.
var statuses = [256]ballast.Status{
	'S': ballast.StatusSealed, 'r': ballast.StatusReady, 't': ballast.StatusRetired, 'd': ballast.StatusDeleted, 'l': ballast.StatusLost,
}

// head is the status, the digest's 32 bytes, and the base.
func (v Version) head() []byte {
	h, err := headOf(v)
	if err != nil || h.Digest == "" {
		return nil
	}
	sum, err := hex.DecodeString(h.Digest.Encoded())
	if err != nil || len(sum) != digest.SHA256.Size() || h.Digest.Algorithm() != digest.SHA256 {
		return nil
	}
	if letter := slices.Index(statuses[:], h.Status); letter >= 0 && h.Status != "" {
		return append(append([]byte{byte(letter)}, sum...), h.base...)
	}
	return nil
}

func headOf(v Version) (Head, error) {
	h := Head{Status: v.Status, Digest: v.Digest}
	return h, withBase(v, func(base ballast.Key) error {
		h.base = versionKey(kindVersion, base.Scope, base.Name, base.Version)[1:]
		return nil
	})
}

// found is a version's item, whose head is read and whose rest may be. It is valid inside the transaction only.
type found struct {
	Head
	item Item
}

// version decodes the whole.
func (f found) version() (Version, error) { return decode[Version](f.item.Key, f.item.Value) }

// keyText is the version's key as text, without decoding the rest: an item begins with the three names, as [Version] has
// them, and none of them holds a quote. What begins otherwise is decoded.
func (f found) keyText() (string, error) {
	_, json, err := splitHead(f.item.Value)
	if err != nil {
		return "", err
	}
	rest, ok := bytes.CutPrefix(json, []byte(`{"schema":1,"value":{"scope":"`))
	scope, rest, hasName := bytes.Cut(rest, []byte(`","name":"`))
	name, rest, hasVersion := bytes.Cut(rest, []byte(`","version":"`))
	version, _, ends := bytes.Cut(rest, []byte(`"`))
	if !ok || !hasName || !hasVersion || !ends || bytes.IndexByte(scope, '"') >= 0 || bytes.IndexByte(name, '"') >= 0 {
		v, err := f.version()
		return v.Key().String(), err
	}
	if string(scope) == ballast.Global.String() {
		return string(name) + "::" + string(version), nil
	}
	return string(scope) + "::" + string(name) + "::" + string(version), nil
}

// find reads the head of a version, or answers ErrNotFound.
func find(tx Tx, key []byte) (found, error) {
	b, err := tx.Get(key)
	if err != nil {
		return found{}, err
	}
	return openHead(Item{key, b})
}

func openHead(item Item) (f found, err error) {
	f.item = item
	head, _, err := splitHead(item.Value)
	if err != nil {
		return f, fmt.Errorf("index: decoding %q: %w", item.Key, err)
	}
	if head == nil {
		v, err := f.version()
		if err != nil {
			return f, err
		}
		f.Head, err = headOf(v)
		return f, err
	}
	sum := digest.SHA256.Size()
	if len(head) < 1+sum || statuses[head[0]] == "" {
		return f, fmt.Errorf("index: decoding %q: its head is no version's: %w", item.Key, ErrCorrupt)
	}
	f.Status, f.Digest, f.base = statuses[head[0]], sha256Digest(head[1:1+sum]), head[1+sum:]
	return f, nil
}

// sha256Digest spares the formatting of package digest.
func sha256Digest(sum []byte) digest.Digest {
	var text [len(digest.SHA256) + 1 + 2*sha256.Size]byte
	return digest.Digest(hex.AppendEncode(append(text[:0], digest.SHA256+":"...), sum))
}

// head of an alias is the order of the version that it points at.
func (a Alias) head() []byte {
	if a.Version.IsZero() {
		return nil
	}
	return a.Version.Order()
}

// pointsAt returns the order of the version that an alias points at.
func pointsAt(tx Tx, key []byte) (order []byte, ok bool, err error) {
	b, err := tx.Get(key)
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	head, _, err := splitHead(b)
	if err != nil {
		return nil, false, fmt.Errorf("index: decoding %q: %w", key, err)
	}
	if head == nil {
		a, err := decode[Alias](key, b)
		return a.head(), err == nil, err
	}
	return head, true, nil
}
