package client

import (
	"bytes"
	"encoding/json"

	"github.com/ballast-registry/ballast"
)

// saidOf reports whether v has all the metadata that m says. What m leaves out does not count.
func saidOf(v ballast.VersionInfo, m ballast.Metadata) bool {
	if m.BaseModel != "" && isBase(m.BaseModel, v.Metadata.BaseModel) {
		m.BaseModel = v.Metadata.BaseModel
	}
	held := fields(v.Metadata)
	for name, value := range fields(m) {
		if !bytes.Equal(held[name], value) {
			return false
		}
	}
	return true
}

// fields are those of metadata that are set, as JSON writes them. Metadata was checked, so that it can be written.
func fields(m ballast.Metadata) (set map[string]json.RawMessage) {
	b, err := json.Marshal(m)
	if err == nil {
		_ = json.Unmarshal(b, &set)
	}
	return set
}

// isBase reports whether a reference, as it was pushed, can be the one that became key.
func isBase(pushed, key string) bool {
	ref, err := ballast.ParseRef(pushed)
	if err != nil {
		return false
	}
	held, err := ballast.ParseKey(key)
	return err == nil && ref.Name == held.Name && (ref.Scope.IsZero() || ref.Scope == held.Scope) &&
		(ref.Version.IsZero() || ref.Version == held.Version)
}
