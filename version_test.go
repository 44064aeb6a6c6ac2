package ballast_test

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/semver"
	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

const maxNumber = "9223372036854775807" // 2⁶³−1

func TestParseVersion(t *testing.T) {
	const above = "9223372036854775808"
	wantParsed(t, ballast.ParseVersion,
		[]string{"1", "10", maxNumber, "0.0.0", "0.0.1", "1.2.3", maxNumber + "." + maxNumber + "." + maxNumber,
			"1.0.0-0", "1.0.0-alpha", "1.0.0-RC.1", "1.0.0--", "1.0.0-a-b.c", "1.0.0-0a", "1.0.0-" + maxNumber,
			"1.0.0-00a", "1.0.0-" + strings.Repeat("a", 122)},
		[]string{"", "0", "00", "01", "-1", "+1", "1.", ".1", "1.2", "1.2.3.4", "v1", "V1", "v1.2.3", "1.2.3+build", "1.2.3-a+b",
			"1+b", "01.2.3", "1.02.3", "1.2.03", "1.0.0-", "1.0.0-a..b", "1.0.0-.a", "1.0.0-a.", "1.0.0-01", "1.0.0-a.00", "1.0.0-ä",
			above, above + ".0.0", "0." + above + ".0", "0.0." + above, "1.0.0-" + above, "1-rc", "1.0-rc", " 1", "1 ", "1\n",
			"1.0.0\n", "1.0.0-a\n", "1e3", "0x1", "١", "latest", "1.0.0-" + strings.Repeat("a", 123), strings.Repeat("1", 200)})
}

func TestMajorVersion(t *testing.T) {
	for _, n := range []uint64{1, 7, math.MaxInt64} {
		if got, want := ballast.MajorVersion(n), must(ballast.ParseVersion(strconv.FormatUint(n, 10))); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	for _, n := range []uint64{0, math.MaxInt64 + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d is a version", n)
				}
			}()
			ballast.MajorVersion(n)
		}()
	}
}

// TestVersionPrecedence holds the example of semver.org §11 and what the registry adds to it.
func TestVersionPrecedence(t *testing.T) {
	ordered := strings.Fields(`0.0.0-0 0.0.0 0.0.1 0.1.0 1.0.0-1 1.0.0-2 1.0.0-10 1.0.0-alpha 1.0.0-ALPHA.1 1.0.0-alpha.Beta
		1.0.0-alpha-a 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1 1.1.0 2 2.0.1 10.0.0-a 10 ` + maxNumber)
	for i, a := range ordered {
		for j, b := range ordered {
			v, w := must(ballast.ParseVersion(a)), must(ballast.ParseVersion(b))
			if got, want := v.Compare(w), cmp.Compare(i, j); got != want {
				t.Errorf("%s against %s: got %d, want %d", a, b, got, want)
			}
		}
	}
}

// drawVersion draws labels that often meet in all fields but one.
func drawVersion(t *rapid.T, label string) ballast.Version {
	number := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64Range(0, math.MaxInt64))
	major := number.Draw(t, label+" major")
	if major > 0 && rapid.IntRange(0, 3).Draw(t, label+" form") == 0 {
		return ballast.MajorVersion(major)
	}
	text := strconv.FormatUint(major, 10) + "." + strconv.FormatUint(number.Draw(t, label+" minor"), 10) + "." + strconv.FormatUint(number.Draw(t, label+" patch"), 10)
	numeric := rapid.Map(number, func(n uint64) string { return strconv.FormatUint(n, 10) })
	word := rapid.OneOf(rapid.StringMatching(`[0-9]{0,2}[aAbB-][0-9aAb-]{0,2}`), rapid.SampledFrom([]string{"a", "A", "a-", "-", "rc", "RC"}))
	if pre := rapid.SliceOfN(rapid.OneOf(numeric, word), 0, 3).Draw(t, label+" pre"); len(pre) > 0 {
		text += "-" + strings.Join(pre, ".")
	}
	return must(ballast.ParseVersion(text))
}

// oracle writes a version as golang.org/x/mod/semver reads it.
func oracle(v ballast.Version) string {
	s := strings.ToLower(v.String())
	if !strings.Contains(s, ".") {
		s += ".0.0"
	}
	return "v" + s
}

func TestVersionOrderIsPrecedence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, w := drawVersion(t, "v"), drawVersion(t, "w")
		want := semver.Compare(oracle(v), oracle(w))
		if got := v.Compare(w); got != want {
			t.Errorf("%s against %s: Compare is %d, want %d", v, w, got, want)
		}
		if got := bytes.Compare(v.Order(), w.Order()); got != want {
			t.Errorf("%s against %s: their bytes compare as %d, want %d", v, w, got, want)
		}
		if v.Fold() == w.Fold() && want != 0 {
			t.Errorf("%s and %s are one label and differ", v, w)
		}
		if !bytes.Equal(v.Order(), w.Order()) && bytes.HasPrefix(v.Order(), w.Order()) {
			t.Errorf("the bytes of %s begin with those of %s", v, w)
		}
	})
}

func TestVersionOrderSorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []ballast.Version
		for i := range rapid.IntRange(2, 12).Draw(t, "n") {
			all = append(all, drawVersion(t, strconv.Itoa(i)))
		}
		slices.SortFunc(all, func(a, b ballast.Version) int { return bytes.Compare(a.Order(), b.Order()) })
		if !slices.IsSortedFunc(all, ballast.Version.Compare) {
			t.Errorf("sorted by bytes: %v", all)
		}
	})
}

func TestIntegerAndItsSemVerAreOnePosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := ballast.MajorVersion(rapid.Uint64Range(1, math.MaxInt64).Draw(t, "n"))
		full := must(ballast.ParseVersion(n.String() + ".0.0"))
		if n.Compare(full) != 0 || !bytes.Equal(n.Order(), full.Order()) || n == full || n.Fold() == full.Fold() {
			t.Errorf("%s and %s", n, full)
		}
		if !n.IsRelease() || n.Major() != full.Major() {
			t.Errorf("%s and %s", n, full)
		}
		if pre := must(ballast.ParseVersion(full.String() + "-rc")); pre.IsRelease() || pre.Compare(n) != -1 {
			t.Errorf("%s against %s", pre, n)
		}
	})
}
