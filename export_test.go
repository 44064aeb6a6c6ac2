package ballast

import "maps"

// MediaTable is the frozen table of media types: file names, and extensions that begin with a dot.
func MediaTable() (names, extensions map[string]string) {
	return maps.Clone(mediaNames), maps.Clone(mediaTypes)
}

// The rules that names are checked by.
var (
	IsTenant  = isTenant
	IsSegment = isSegment
	IsAlias   = isAlias
)
