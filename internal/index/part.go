package index

import (
	"iter"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
)

// Part is what one caller sees of a scope: all of it, or some names. To this caller the others are not there: they are not
// listed, and they hide nothing.
type Part struct {
	Scope ballast.Scope
	Names []ballast.Names // nil: all
}

// Whole are scopes of which everything is seen.
func Whole(scopes ...ballast.Scope) []Part {
	parts := make([]Part, 0, len(scopes))
	for _, s := range scopes {
		parts = append(parts, Part{Scope: s})
	}
	return parts
}

// scopesWith are the scopes of the parts that have a name.
func scopesWith(parts []Part, name ballast.Name) (scopes []ballast.Scope) {
	for _, p := range parts {
		if p.has(name.Fold()) {
			scopes = append(scopes, p.Scope)
		}
	}
	return scopes
}

// has reports whether a folded name is in the part.
func (p Part) has(fold string) bool {
	return p.Names == nil || slices.ContainsFunc(p.Names, func(n ballast.Names) bool { return n.HasFolded(fold) })
}

// beginnings are what the keys begin with, behind the scope, of the names in the part that begin with prefix: in the order
// of keys, none of them within another. So a list reads what it may show and nothing else.
func (p Part) beginnings(prefix string) []string {
	if p.Names == nil {
		return []string{prefix}
	}
	var all []string
	for _, n := range p.Names {
		switch begins, exact := n.Prefix(); {
		case exact && strings.HasPrefix(begins, prefix):
			all = append(all, begins+"\x00")
		case exact:
		case strings.HasPrefix(begins, prefix):
			all = append(all, begins)
		case strings.HasPrefix(prefix, begins):
			all = append(all, prefix)
		}
	}
	slices.Sort(all)
	kept := all[:0]
	for _, b := range all {
		if len(kept) == 0 || !strings.HasPrefix(b, kept[len(kept)-1]) {
			kept = append(kept, b)
		}
	}
	return kept
}

// scan yields the items under base of the names in the part that begin with prefix, upwards from a key.
func (p Part) scan(tx Tx, base []byte, prefix string, from []byte) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for _, begins := range p.beginnings(prefix) {
			for item, err := range tx.Scan(append(slices.Clip(base), begins...), from, false) {
				if !yield(item, err) {
					return
				}
			}
		}
	}
}
