package ballast

import (
	"cmp"
	"encoding/binary"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Version is a version label: a positive integer, or SemVer 2.0 without "v" and without build metadata. An integer n
// and n.0.0 stand at one position, so a name can hold only one of them. Every number is ≤ 2⁶³−1.
//
// Versions are compared with == only to ask whether they were typed alike. Labels that are equal after folding are one
// label, so precedence is that of the folded labels; SemVer would put 1.0.0-Beta before 1.0.0-alpha.
type Version struct {
	text                string
	major, minor, patch uint64
	pre                 string
}

const versionHelp = "a version is a positive integer or SemVer (1.2.0, 2.0.0-rc.1) without \"v\" and without build metadata, each number at most 9223372036854775807"

var semverPattern = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$`)

const maxVersionLength = 128

// ParseVersion parses a label of at most 128 characters.
func ParseVersion(s string) (Version, error) {
	bad := func() (Version, error) {
		return Version{}, Errorf(CodeInvalid, "version %s: %s", quote(s), versionHelp)
	}
	if s == "" || len(s) > maxVersionLength {
		return bad()
	}
	v := Version{text: s}
	if isNumeric(s) {
		if s[0] == '0' || !parseNumber(s, &v.major) {
			return bad()
		}
		return v, nil
	}
	m := semverPattern.FindStringSubmatch(s)
	if m == nil {
		return bad()
	}
	if !parseNumber(m[1], &v.major) || !parseNumber(m[2], &v.minor) || !parseNumber(m[3], &v.patch) {
		return bad()
	}
	v.pre = m[4]
	for id := range strings.SplitSeq(v.pre, ".") {
		var n uint64
		if isNumeric(id) && (len(id) > 1 && id[0] == '0' || !parseNumber(id, &n)) {
			return bad()
		}
	}
	return v, nil
}

// MajorVersion returns the integer label n. n must be 1 … 2⁶³−1.
func MajorVersion(n uint64) Version {
	if n == 0 || n > math.MaxInt64 {
		panic("ballast: version number out of range")
	}
	return Version{text: strconv.FormatUint(n, 10), major: n}
}

func isNumeric(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// parseNumber refuses anything over 2⁶³−1.
func parseNumber(s string, to *uint64) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || !isNumeric(s) {
		return false
	}
	*to = uint64(n)
	return true
}

// IsZero reports whether v is the invalid zero value.
func (v Version) IsZero() bool { return v.text == "" }

// String returns the label as typed.
func (v Version) String() string { return v.text }

// Fold returns the lower-cased label; two labels with equal folds are one.
func (v Version) Fold() string { return fold(v.text) }

// Major returns the first number.
func (v Version) Major() uint64 { return v.major }

// IsRelease reports whether v has no pre-release part.
func (v Version) IsRelease() bool { return v.pre == "" }

// Compare orders folded labels by SemVer 2.0 precedence (semver.org §11): −1, 0 or +1. 0 means that the two exclude
// each other in one name: they are one label, or n and n.0.0.
func (v Version) Compare(w Version) int {
	if c := cmp.Or(cmp.Compare(v.major, w.major), cmp.Compare(v.minor, w.minor), cmp.Compare(v.patch, w.patch)); c != 0 {
		return c
	}
	return comparePre(fold(v.pre), fold(w.pre))
}

func comparePre(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if c := compareIdentifier(as[i], bs[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

func compareIdentifier(a, b string) int {
	var x, y uint64
	an, bn := isNumeric(a) && parseNumber(a, &x), isNumeric(b) && parseNumber(b, &y)
	switch {
	case an && bn:
		return cmp.Compare(x, y)
	case an:
		return -1
	case bn:
		return 1
	}
	return strings.Compare(a, b)
}

// Order returns bytes whose order is that of Compare: three 8-byte big-endian numbers, then 0xFF for a release, or per
// pre-release identifier 0x01 and 8 bytes (numeric) or 0x02, the text and 0x00; at the end 0x00.
func (v Version) Order() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 25), v.major)
	b = binary.BigEndian.AppendUint64(b, v.minor)
	b = binary.BigEndian.AppendUint64(b, v.patch)
	if v.pre == "" {
		return append(b, 0xFF)
	}
	for id := range strings.SplitSeq(fold(v.pre), ".") {
		var n uint64
		if isNumeric(id) && parseNumber(id, &n) {
			b = binary.BigEndian.AppendUint64(append(b, 0x01), n)
			continue
		}
		b = append(append(append(b, 0x02), id...), 0x00)
	}
	return append(b, 0x00)
}

// MarshalText implements encoding.TextMarshaler.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseVersion does.
func (v *Version) UnmarshalText(text []byte) (err error) {
	*v, err = ParseVersion(string(text))
	return err
}
