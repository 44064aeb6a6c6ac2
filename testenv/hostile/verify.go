package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// Verify reports what the victim has no longer, or differently.
func (w *World) Verify(report func(format string, args ...any)) {
	after := w.seen()
	for _, path := range slices.Sorted(maps.Keys(after)) {
		if after[path] != w.before[path] {
			report("the victim's %s was:\n%s\nand is:\n%s", path, w.before[path], after[path])
		}
	}
	dir := w.t.TempDir()
	for _, target := range []string{"subject:1", "subject@theirs", "only-" + Victim} {
		if _, err := w.owner.Pull(w.t.Context(), client.PullOptions{Ref: ref(target), Dir: dir + "/" + target}); err != nil {
			report("the victim cannot pull %s: %v", target, err)
		}
	}
}

// seen is what the victim's admin reads.
func (w *World) seen() map[string]string {
	all := map[string]string{}
	for _, path := range []string{
		"/v1/models", "/v1/versions?status=all", "/v1/models/subject/aliases", "/v1/models/subject/production", "/v1/models/subject/versions/7.7.7/files",
		"/v1/models/subject/versions/1", "/v1/models/only-" + Victim + "/versions/1", "/v1/imports", "/v1/tokens", "/v1/uploads/" + w.theirs.words["upload"],
	} {
		a := must(w.wire.exchange("GET", write("GET", path, w.wire.host, string(w.token), "", "")))
		all[path] = plain(w.theirs, a)
	}
	all["events"] = w.events()
	return all
}

// events are those of the victim's scope.
func (w *World) events() string {
	var b strings.Builder
	for e, err := range w.owner.Events(w.t.Context(), client.ListEvents{}) {
		if err != nil {
			return fmt.Sprint(err)
		}
		if e.Scope == must(ballast.ParseScope(Victim)) {
			fmt.Fprintf(&b, "%s %s %s %s\n", e.Cursor, e.Kind, e.Key, e.By)
		}
	}
	return b.String()
}
