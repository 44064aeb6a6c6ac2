package objstore

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxKey is S3's limit on a whole key, in bytes.
const maxKey = 1024

var bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// CheckBucket refuses a text that cannot be a bucket's name: 3 to 63 of a-z 0-9 . - that begin and end with a letter or
// digit, no two dots in a row. Upper case is refused because some stores lie on file systems that do not tell it apart.
func CheckBucket(name string) error {
	if bucketPattern.MatchString(name) && !strings.Contains(name, "..") {
		return nil
	}
	return fmt.Errorf("objstore: %.80q is no name of a bucket: 3 to 63 of a-z 0-9 . -", name)
}

// CheckKey returns ErrBadKey for a key that a store could collapse, refuse or read as another one.
func CheckKey(key string) error {
	why := ""
	switch {
	case key == "":
		why = "it is empty"
	case len(key) > maxKey:
		why = "it is longer than 1024 bytes"
	case !utf8.ValidString(key):
		why = "it is not UTF-8"
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }):
		why = "it holds a control character"
	}
	for segment := range strings.SplitSeq(key, "/") {
		if why == "" && (segment == "" || segment == "." || segment == "..") {
			why = fmt.Sprintf("segment %q", segment)
		}
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w %.80q: %s", ErrBadKey, key, why)
}
