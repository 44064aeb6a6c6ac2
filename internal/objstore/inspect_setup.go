package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
)

// unknown is the observation of a setting that the store does not tell.
func unknown(err error) (observation, error) {
	why := err.Error()
	switch {
	case code(err) == "NotImplemented" || statusOf(err) == http.StatusNotImplemented:
		why = "the store does not have such settings, or does not show them"
	case errors.Is(err, ErrDenied):
		why = "the service's identity may not ask: allow it the s3:GetBucket… and s3:GetLifecycleConfiguration calls to know"
	}
	return observation{Inconclusive, "it cannot be told: " + why}, nil
}

func (i *inspector) cors(context.Context) (observation, error) {
	if len(i.opt.Origins) == 0 {
		return held("no page may call the registry (--cors-origin), so none asks the bucket")
	}
	if err := i.setup.CORS.Unknown; err != nil {
		return unknown(err)
	}
	var missing []string
	for _, origin := range i.opt.Origins {
		if !slices.ContainsFunc(i.setup.CORS.Value, func(r CORSRule) bool { return r.allows(origin) }) {
			missing = append(missing, origin)
		}
	}
	if len(missing) > 0 {
		return broken("no rule lets pages of %s read", strings.Join(missing, ", "))
	}
	return held("pages of %s may read", strings.Join(i.opt.Origins, ", "))
}

// allows reports whether pages of an origin may GET.
func (r CORSRule) allows(origin string) bool {
	return slices.Contains(r.Methods, "GET") && slices.ContainsFunc(r.Origins, func(pattern string) bool {
		before, after, wild := strings.Cut(pattern, "*")
		return pattern == origin || wild && len(origin) >= len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after)
	})
}

func (i *inspector) versions(context.Context) (observation, error) {
	if err := i.setup.Versioning.Unknown; err != nil {
		return unknown(err)
	}
	if i.setup.Versioning.Value == "" {
		return held("the bucket keeps no versions")
	}
	for _, r := range i.setup.Lifecycle.Value {
		if r.NoncurrentDays > 0 && !r.Tagged && strings.HasPrefix(i.s.prefix, r.Prefix) {
			return held("versioning is %s, and rule %q frees what was deleted after %d days", i.setup.Versioning.Value, r.ID, r.NoncurrentDays)
		}
	}
	return broken("versioning is %s, and no lifecycle rule removes old versions", i.setup.Versioning.Value)
}

func (i *inspector) lock(context.Context) (observation, error) {
	switch lock := i.setup.Lock; {
	case lock.Unknown != nil:
		return unknown(lock.Unknown)
	case lock.Value.Mode != "":
		return broken("the bucket locks new objects (%s)", lock.Value.Mode)
	case lock.Value.Enabled:
		return held("object lock is on, without a default retention")
	}
	return held("object lock is off")
}

func (i *inspector) expiry(context.Context) (observation, error) {
	if err := i.setup.Lifecycle.Unknown; err != nil {
		return unknown(err)
	}
	var harm []string
	for _, r := range i.setup.Lifecycle.Value {
		archives := slices.Contains([]string{"GLACIER", "DEEP_ARCHIVE"}, r.TransitionClass)
		if r.Tagged || !r.Expires && !archives || !touches(r.Prefix, i.s.prefix, keptAreas) {
			continue
		}
		does := "moves to " + r.TransitionClass
		if r.Expires {
			does = fmt.Sprintf("removes after %d days", r.Days)
			if r.Days == 0 {
				does = "removes on a date"
			}
		}
		harm = append(harm, fmt.Sprintf("rule %q %s what begins with %q", r.ID, does, r.Prefix))
	}
	if len(harm) > 0 {
		return broken("%s", strings.Join(harm, "; "))
	}
	return held("of %d rules none does", len(i.setup.Lifecycle.Value))
}

func (i *inspector) aborts(context.Context) (observation, error) {
	if err := i.setup.Lifecycle.Unknown; err != nil {
		return unknown(err)
	}
	for _, r := range i.setup.Lifecycle.Value {
		if r.AbortDays > 0 && r.AbortDays < abortDays && touches(r.Prefix, i.s.prefix, []string{"blobs/"}) {
			return broken("rule %q ends those below %q after %d days", r.ID, r.Prefix, r.AbortDays)
		}
	}
	return held("none does")
}

// keptAreas are what of a scope nobody but the registry may remove.
var keptAreas = []string{"blobs/", "models/"}

// touches reports whether a rule for keys that begin with prefix can meet one of the areas of any scope, or the registry's own
// objects, of a registry that lies below home ("" or "…/").
func touches(prefix, home string, areas []string) bool {
	rest, below := strings.CutPrefix(prefix, home)
	if !below {
		return strings.HasPrefix(home, prefix)
	}
	for _, area := range areas {
		if meet(rest, path.Join("global", area)+"/") {
			return true
		}
	}
	if meet(rest, "index/") {
		return true
	}
	scope, below := strings.CutPrefix(rest, "tenants/")
	if !below {
		return strings.HasPrefix("tenants/", rest)
	}
	_, within, named := strings.Cut(scope, "/")
	return !named || slices.ContainsFunc(areas, func(area string) bool { return meet(within, area) })
}

// meet reports whether some key can begin with both.
func meet(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }
