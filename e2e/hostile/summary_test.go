package hostile_test

import (
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/testenv/hostile"
)

// TestSummary counts the attacks, by face and by who makes them, and prints the table. Every caller makes some on every
// face, and every attack has a name of its own.
func TestSummary(t *testing.T) {
	tally, names, groups := hostile.Tally{}, map[string]bool{}, map[string]int{}
	for _, a := range attacks() {
		tally.Count(a)
		groups[string(a.Face)+", "+a.Group]++
		if title := string(a.Face) + a.Title(); names[title] {
			t.Errorf("two attacks are called %s", title)
		} else {
			names[title] = true
		}
	}
	for _, a := range hostile.Smuggles() {
		tally.CountSmuggle()
		groups[string(hostile.Wire)+", "+a.Group]++
	}
	for _, c := range hostile.Names() {
		for _, face := range []hostile.Face{hostile.Native, hostile.Hub, hostile.Wire} {
			if tally[face][c] == 0 {
				t.Errorf("%s tries nothing on %s", c, face)
			}
		}
	}
	var kinds []string
	for _, kind := range []string{"put", "part", "get"} {
		n := 0
		for _, a := range alterations() {
			if a.of(kind) {
				n++
			}
		}
		kinds = append(kinds, kind)
		groups["signed "+kind] = n
	}
	t.Logf("attacks by face and by who makes them, each on both stores:\n%s", tally.Table())
	t.Logf("signed requests altered: %s; groups:", strings.Join(kinds, ", "))
	total := 0
	for _, g := range sorted(groups) {
		t.Logf("%6d  %s", groups[g], g)
		total += groups[g]
	}
	t.Logf("%6d  in all", total)
}
