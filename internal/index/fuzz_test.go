package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/ballast-registry/ballast"
)

// FuzzUnsealValue: only what sealValue made for this key is believed, and it is returned as it was.
func FuzzUnsealValue(f *testing.F) {
	key := []byte("b\x00acme\x00")
	f.Add(key, sealValue(key, nil))
	f.Add(key, sealValue(key, []byte(`{"schema":1,"value":{}}`)))
	f.Add([]byte("another"), sealValue(key, []byte("value")))
	f.Add(key, []byte{1, 2, 3})
	f.Add([]byte{}, sealValue(nil, bytes.Repeat([]byte{7}, MaxValueBytes+1)))
	f.Fuzz(func(t *testing.T, key, sealed []byte) {
		if len(sealed) <= MaxValueBytes {
			if value, err := unsealValue(key, sealValue(key, sealed)); err != nil || !bytes.Equal(value, sealed) {
				t.Errorf("%q sealed under %q reads back as %q, %v", sealed, key, value, err)
			}
		}
		value, err := unsealValue(key, sealed)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("refused for another reason: %v", err)
			}
			return
		}
		if len(value) > MaxValueBytes || cap(value) != len(value) || !bytes.Equal(sealValue(key, value), sealed) {
			t.Errorf("%q under %q passes as the value %q", sealed, key, value)
		}
	})
}

// FuzzDecode reads bytes as each kind of value that the index stores. What can be read is written back and read again as
// the same; what cannot is damage or of a newer program, never another error.
func FuzzDecode(f *testing.F) {
	name, version := mustParse(ballast.ParseName, "llama/tiny"), mustParse(ballast.ParseVersion, "1.0.0-rc.1")
	scope, d := mustParse(ballast.ParseScope, "acme"), ballast.DigestOf([]byte("a"))
	for _, v := range []any{
		Name{Name: name, Ready: 1}, Version{Scope: scope, Name: name, Version: version, Digest: d}, Alias{}, Upload{ID: "u", Scope: scope, Name: name},
		Blob{State: BlobUploading, Size: 5, PartSize: 5 << 20}, VerifyJob{}, Token{ID: "t", Grants: []ballast.Grant{{Scope: scope, Role: ballast.Writer}}},
	} {
		b, err := json.Marshal(stored[any]{schema, v})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(bytes.Replace(b, []byte(`"schema":1`), []byte(`"schema":2`), 1))
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		decodes[Name](t, b)
		decodes[Version](t, b)
		decodes[Alias](t, b)
		decodes[Upload](t, b)
		decodes[Blob](t, b)
		decodes[VerifyJob](t, b)
		decodes[Token](t, b)
	})
}

func mustParse[T any](parse func(string) (T, error), s string) T {
	v, err := parse(s)
	if err != nil {
		panic(err)
	}
	return v
}

func decodes[T any](t *testing.T, b []byte) {
	t.Helper()
	v, err := decode[T]([]byte("key"), b)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Errorf("%q as %T is refused for another reason: %v", b, v, err)
		}
		return
	}
	text, err := json.Marshal(stored[T]{schema, v})
	if err != nil {
		t.Fatalf("%q is a %T and cannot be written: %v", b, v, err)
	}
	again, err := decode[T]([]byte("key"), text)
	if err != nil {
		if !bytes.Contains(text, []byte(`""`)) { // the zero value of a field that was left out
			t.Errorf("%q is a %T, written %s, which is none: %v", b, v, text, err)
		}
		return
	}
	if after, err := json.Marshal(stored[T]{schema, again}); err != nil || !bytes.Equal(after, text) {
		t.Errorf("%q is a %T, written %s, then %s, %v", b, v, text, after, err)
	}
}

// FuzzParseBlobID: a key is that of a blob's queue entry, or refused as damage.
func FuzzParseBlobID(f *testing.F) {
	d := ballast.DigestOf([]byte("a"))
	good := blobKey(kindReclaim, ballast.Global, d)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 'x', 0))
	f.Add(bytes.ToUpper(good))
	f.Add([]byte{kindReclaim})
	f.Add([]byte{kindReclaim, 0, 0})
	f.Fuzz(func(t *testing.T, k []byte) {
		if len(k) == 0 {
			return // no scan finds it
		}
		id, err := parseBlobID(k)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%q is refused for another reason: %v", k, err)
			}
			return
		}
		if again := blobKey(k[0], id.Scope, id.Digest); !bytes.Equal(again, k) {
			t.Errorf("%q passes as the key %q", k, again)
		}
	})
}

// FuzzPartPage: whatever lies in the place of a page of part digests, as many are read as the blob has, and none from
// beyond the page.
func FuzzPartPage(f *testing.F) {
	page := append([]byte{0, 0, 0, 0, 0, 0x50, 0, 0}, bytes.Repeat([]byte{9}, 64)...)
	for _, b := range [][]byte{page, page[:39], page[:8], page[:7], nil, append(bytes.Clone(page), 1), bytes.Repeat([]byte{0, 0, 0, 0, 0, 0x50, 0, 0}, 8000)} {
		f.Add(b, 2)
		f.Add(b, 1000)
	}
	prefix := blobKey(kindPart, ballast.Global, ballast.DigestOf([]byte("a")))
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		if count < 1 || count > ballast.MaxParts || len(b) > MaxValueBytes {
			return
		}
		store := NewMem()
		err := store.Update(t.Context(), func(tx Tx) error { return tx.Put(pageKey(prefix, 0), b) })
		if err != nil {
			t.Fatal(err)
		}
		var sums [][32]byte
		err = store.View(t.Context(), func(tx Tx) (err error) {
			sums, err = readParts(tx, prefix, 5<<20, count)
			return err
		})
		if err != nil || len(sums) != count {
			t.Fatalf("%d sums of %d, %v", len(sums), count, err)
		}
		for i, sum := range sums {
			at := 8 + 32*i
			known := i < partsPerPage && len(b) >= at+32 && bytes.Equal(b[:8], []byte{0, 0, 0, 0, 0, 0x50, 0, 0})
			if known && !bytes.Equal(sum[:], b[at:at+32]) || !known && sum != ([32]byte{}) {
				t.Errorf("part %d of %q is %x", i+1, b, sum)
			}
		}
	})
}
