package ballast_test

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
)

// TestNamesAreMadeOfWhatTheirPatternSays holds the rules of names, which no regular expression checks at run time, to the
// expressions that say the same.
func TestNamesAreMadeOfWhatTheirPatternSays(t *testing.T) {
	long := rapid.StringOfN(rapid.RuneFrom([]rune("aZ09-._/fg\u00e9\n")), 0, 100, -1)
	short := rapid.StringOfN(rapid.RuneFrom([]rune("af09g-._A\n")), 0, 5, -1)
	plain := rapid.StringOfN(rapid.RuneFrom([]rune("af09")), 38, 98, -1)
	for what, tc := range map[string]struct {
		pattern string
		is      func(string) bool
	}{
		"tenant":  {`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, ballast.IsTenant},
		"segment": {`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`, ballast.IsSegment},
		"alias":   {`^[a-z][a-z0-9._-]{0,62}$`, ballast.IsAlias},
		"commit":  {`^[0-9a-f]{40}$`, ballast.IsCommit},
	} {
		t.Run(what, func(t *testing.T) {
			pattern := regexp.MustCompile(tc.pattern)
			matched := 0
			rapid.Check(t, func(t *rapid.T) {
				s := rapid.OneOf(long, short, plain).Draw(t, "s")
				want := pattern.MatchString(s)
				if got := tc.is(s); got != want {
					t.Fatalf("%q: %t", s, got)
				}
				if want {
					matched++
				}
			})
			if what != "commit" && matched == 0 {
				t.Error("nothing drawn was one")
			}
			if forty := "0123456789abcdef0123456789abcdef01234567"; tc.is(forty) != pattern.MatchString(forty) {
				t.Errorf("%q: %t", forty, tc.is(forty))
			}
		})
	}
}
