package api

import (
	"reflect"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// versionBodies are versions as they were answered last. The engine is asked each time, gate and all; only the writing is spared
// when it answers what it answered before. All of a version is compared, so that a field that is added later cannot be
// forgotten here.
type versionBodies struct {
	held *cache.Cache[string, versionBody] // by key
}

type versionBody struct {
	of ballast.VersionInfo
	body
}

// Bounds of the bodies that are kept, in bytes of memory.
const (
	maxVersionBodies = 4 << 20
	bodyFactor       = 5 // of one, with the version that it was made of, as a multiple of its text
)

func newVersionBodies() versionBodies {
	return versionBodies{cache.New[string, versionBody](maxVersionBodies)}
}

// of returns the body of a version. What the version points at is shared with whoever has it, and nobody changes it.
func (b versionBodies) of(v ballast.VersionInfo) (body, error) {
	if held, ok := b.held.Get(v.Key); ok && reflect.DeepEqual(held.of, v) {
		return held.body, nil
	}
	made, err := newBody(v)
	if err == nil {
		b.held.Put(v.Key, versionBody{v, made}, int64(bodyFactor*len(made.text)))
	}
	return made, err
}
