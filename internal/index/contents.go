package index

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// Contents is everything an index holds, read in one snapshot. It is for checks: it takes memory in proportion to the
// index.
type Contents struct {
	Owner      Owner
	Names      map[NameID]Name
	Versions   map[string]Version // by key text, folded
	Candidates map[string]bool    // keys of versions that latest chooses from, folded
	ByDigest   map[string]bool    // "key digest" of versions found by digest
	ByManifest map[string]bool    // "key digest" of versions found by their manifest
	ByTime     map[string]bool    // keys of versions found by the time of their registration, folded
	Records    map[string][]byte  // pending records by key text, folded
	Production map[NameID]Production
	History    map[NameID][]ballast.Promotion // the oldest first
	Children   map[string]bool                // "base child" by key text, folded
	Aliases    map[AliasID]Alias
	AliasOf    map[string]bool // "key alias" of versions that aliases point at
	Tokens     map[string]Token
	TokenUses  map[string]bool // ids of tokens whose last use is noted
	Events     []Event         // the oldest first
	LastEvent  int64           // number last given
	Uploads    map[string]Upload
	Imports    map[string]bool // "scope id" of imports
	Importing  map[string]bool // of these, the ones that are not settled
	Sources    map[string]map[int]SourceFile
	Verifying  map[string]bool   // ids of accepted commits and imports to finish
	Releasing  map[string]bool   // ids of settled uploads whose pins still go
	Holds      map[string]string // upload id by "scope name order"
	Blobs      map[BlobID]Blob
	Pins       map[BlobID]map[string]int64       // size by upload id
	OwnPins    map[BlobID]map[string]bool        // of these, the ones of the registry's own
	PinsOf     map[string]map[digest.Digest]bool // by upload id: the same, the other way round
	References map[BlobID]map[digest.Digest]bool // manifests by blob
	Queue      map[BlobID]VerifyJob
	Reclaim    map[BlobID]bool
	Usage      map[ballast.Scope]ballast.Usage
	Unreadable []string // keys whose values are damaged
	Largest    int      // bytes of the largest value
}

// NameID names a name: the scope, and the name folded.
type NameID struct {
	Scope ballast.Scope
	Name  string
}

// Version is the VersionID of one of the name's versions.
func (n NameID) Version(v ballast.Version) string {
	return versionID(n.Scope.String(), n.Name, v.Order())
}

// AliasID names an alias.
type AliasID struct {
	NameID
	Alias string
}

// VersionID is the text under which Contents holds a version: its key, folded, always with its scope.
func VersionID(scope ballast.Scope, name ballast.Name, v ballast.Version) string {
	return versionID(scope.String(), name.Fold(), v.Order())
}

func versionID(scope, foldedName string, order []byte) string {
	return fmt.Sprintf("%s::%s::%x", scope, foldedName, order)
}

// Contents reads the whole index.
func (x *Index) Contents(ctx context.Context) (c Contents, err error) {
	err = x.store.View(ctx, func(tx Tx) error {
		c = Contents{
			Names: map[NameID]Name{}, Versions: map[string]Version{}, Candidates: map[string]bool{}, ByDigest: map[string]bool{},
			ByManifest: map[string]bool{}, ByTime: map[string]bool{}, Records: map[string][]byte{},
			Production: map[NameID]Production{}, History: map[NameID][]ballast.Promotion{}, Children: map[string]bool{},
			Aliases: map[AliasID]Alias{}, AliasOf: map[string]bool{}, Uploads: map[string]Upload{}, Verifying: map[string]bool{},
			Imports: map[string]bool{}, Importing: map[string]bool{}, Sources: map[string]map[int]SourceFile{},
			Tokens: map[string]Token{}, TokenUses: map[string]bool{}, Releasing: map[string]bool{}, Holds: map[string]string{}, Blobs: map[BlobID]Blob{}, Pins: map[BlobID]map[string]int64{},
			OwnPins: map[BlobID]map[string]bool{}, Usage: map[ballast.Scope]ballast.Usage{},
			PinsOf: map[string]map[digest.Digest]bool{}, References: map[BlobID]map[digest.Digest]bool{}, Queue: map[BlobID]VerifyJob{}, Reclaim: map[BlobID]bool{},
		}
		for item, err := range tx.Scan(nil, nil, false) {
			if err == nil {
				err = c.add(item)
			}
			if err != nil && len(item.Key) == 0 {
				return err
			}
			if err != nil {
				c.Unreadable = append(c.Unreadable, fmt.Sprintf("%q: %v", item.Key, err))
			}
			c.Largest = max(c.Largest, len(item.Value))
		}
		return nil
	})
	return c, err
}

// parts cuts the body of a key into n terminated parts and what follows them.
func parts(key []byte, n int) (terminated []string, rest []byte) {
	rest = key[1:]
	for range n {
		before, after, _ := strings.Cut(string(rest), "\x00")
		terminated, rest = append(terminated, before), []byte(after)
	}
	return terminated, rest
}

func (c *Contents) add(item Item) (err error) {
	switch item.Key[0] {
	case kindMeta:
		switch string(item.Key) {
		case string(metaOwner):
			c.Owner, err = decode[Owner](item.Key, item.Value)
		case string(metaEvents):
			c.LastEvent, err = decode[int64](item.Key, item.Value)
		}
		return err
	case kindEvent:
		e, err := decode[Event](item.Key, item.Value)
		if err == nil {
			c.Events = append(c.Events, e)
		}
		return err
	case kindToken:
		c.Tokens[partAfter(item.Key, []byte{kindToken})], err = decode[Token](item.Key, item.Value)
		return err
	case kindTokenUse:
		_, err = decode[TokenUse](item.Key, item.Value)
		c.TokenUses[partAfter(item.Key, []byte{kindTokenUse})] = true
		return err
	case kindName, kindVersion, kindCandidate, kindByDigest, kindByManifest, kindRecord, kindHold, kindByTime:
		return c.addVersioned(item)
	case kindProduction, kindHistory, kindChild, kindAlias, kindAliasOf:
		return c.addPointer(item)
	case kindUsage:
		return c.addUsage(item)
	case kindUpload, kindVerifying, kindRelease, kindImport, kindImporting, kindSource:
		return c.addUpload(item)
	case kindBlob, kindPin, kindPinOf, kindReference, kindVerifyQueue, kindReclaim:
		return c.addBlob(item)
	}
	return nil
}

func (c *Contents) addVersioned(item Item) (err error) {
	p, order := parts(item.Key, 2)
	id := versionID(p[0], p[1], order)
	switch item.Key[0] {
	case kindName:
		scope, err := ballast.ParseScope(p[0])
		if err != nil {
			return err
		}
		c.Names[NameID{scope, p[1]}], err = decode[Name](item.Key, item.Value)
		return err
	case kindByTime:
		scope, place, _ := strings.Cut(string(item.Key[1:]), "\x00")
		t, err := timedAt([]byte(place))
		c.ByTime[versionID(scope, t.fold, t.order)] = true
		return err
	case kindVersion:
		c.Versions[id], err = decode[Version](item.Key, item.Value)
	case kindCandidate:
		c.Candidates[versionID(p[0], p[1], order[1:])] = true
	case kindRecord:
		c.Records[id] = append([]byte(nil), item.Value...)
	case kindHold:
		c.Holds[id], err = decode[string](item.Key, item.Value)
	case kindByDigest:
		p, order := parts(item.Key, 3)
		c.ByDigest[versionID(p[0], p[1], order)+" "+p[2]] = true
	case kindByManifest:
		p, order := parts(item.Key, 3)
		c.ByManifest[versionID(p[0], p[2], order)+" "+p[1]] = true
	}
	return err
}

// addPointer adds what leads to a version.
func (c *Contents) addPointer(item Item) error {
	p, rest := parts(item.Key, 3)
	scope, err := ballast.ParseScope(p[0])
	if err != nil {
		return err
	}
	name := NameID{scope, p[1]}
	switch item.Key[0] {
	case kindProduction:
		c.Production[name], err = decode[Production](item.Key, item.Value)
	case kindHistory:
		how, err := decode[ballast.Promotion](item.Key, item.Value)
		c.History[name] = append(c.History[name], how)
		return err
	case kindAlias:
		c.Aliases[AliasID{name, p[2]}], err = decode[Alias](item.Key, item.Value)
	case kindAliasOf:
		order, err := hex.DecodeString(p[2])
		c.AliasOf[versionID(p[0], p[1], order)+" "+partAfter(rest, nil)] = true
		return err
	case kindChild:
		base, err := hex.DecodeString(p[2])
		child, order := parts(append([]byte{kindChild}, rest...), 2)
		c.Children[versionID(p[0], p[1], base)+" "+versionID(child[0], child[1], order)] = true
		return err
	}
	return err
}

func (c *Contents) addUpload(item Item) (err error) {
	p, _ := parts(item.Key, 1)
	switch item.Key[0] {
	case kindUpload:
		c.Uploads[p[0]], err = decode[Upload](item.Key, item.Value)
	case kindVerifying:
		c.Verifying[p[0]] = true
	case kindRelease:
		c.Releasing[p[0]] = true
	case kindImport, kindImporting:
		p, _ := parts(item.Key, 2)
		set := map[byte]map[string]bool{kindImport: c.Imports, kindImporting: c.Importing}[item.Key[0]]
		set[p[0]+" "+p[1]] = true
	case kindSource:
		f, err := decode[SourceFile](item.Key, item.Value)
		nested(c.Sources, p[0])[pageOf(item.Key, key(kindSource, p[0]))] = f
		return err
	}
	return err
}

func (c *Contents) addBlob(item Item) (err error) {
	if item.Key[0] == kindPinOf {
		p, _ := parts(item.Key, 2)
		nested(c.PinsOf, p[0])[digest.Digest("sha256:"+p[1])] = true
		return nil
	}
	p, rest := parts(item.Key, 2)
	scope, err := ballast.ParseScope(p[0])
	if err != nil {
		return err
	}
	id := BlobID{Scope: scope, Digest: digest.Digest("sha256:" + p[1])}
	last := strings.TrimSuffix(string(rest), "\x00")
	switch item.Key[0] {
	case kindBlob:
		c.Blobs[id], err = decode[Blob](item.Key, item.Value)
	case kindPin:
		declared, err := decode[pin](item.Key, item.Value)
		nested(c.Pins, id)[last] = declared.Size
		if declared.Own {
			nested(c.OwnPins, id)[last] = true
		}
		return err
	case kindReference:
		nested(c.References, id)[digest.Digest("sha256:"+last)] = true
	case kindVerifyQueue:
		c.Queue[id], err = decode[VerifyJob](item.Key, item.Value)
	case kindReclaim:
		c.Reclaim[id] = true
	}
	return err
}

func (c *Contents) addUsage(item Item) error {
	scope, err := ballast.ParseScope(partAfter(item.Key, item.Key[:1]))
	if err != nil {
		return err
	}
	c.Usage[scope], err = decode[ballast.Usage](item.Key, item.Value)
	return err
}

// nested returns the inner map of a key, making it first.
func nested[K, L comparable, V any](m map[K]map[L]V, k K) map[L]V {
	if m[k] == nil {
		m[k] = map[L]V{}
	}
	return m[k]
}
