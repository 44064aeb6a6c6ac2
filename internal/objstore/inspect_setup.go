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

// unknown is the observation of a setting that the store does not tell. action is the right that it takes to ask. A store that
// did not answer is another matter: who asks again may be told.
func unknown(err error, action string) (observation, error) {
	why := err.Error()
	switch {
	case errors.Is(err, ErrUnavailable):
		return failed(err)
	case code(err) == "NotImplemented" || statusOf(err) == http.StatusNotImplemented:
		why = "the store does not have such settings, or does not show them"
	case errors.Is(err, ErrDenied):
		why = "the service's identity may not ask: allow it " + action + " on the bucket"
	}
	return observation{verdict: Inconclusive, detail: "it cannot be told: " + why}, nil
}

// redirected is what a browser calls the origin of a page that it took on from the registry to the store.
const redirected = "null"

// cors asks as browsers do, since there are stores that let pages in without a rule of the bucket.
func (i *inspector) cors(ctx context.Context) (observation, error) {
	if len(i.opt.Origins) == 0 {
		return held("no page may call the registry (--cors-origin), so none asks the store")
	}
	var refused []string
	for _, origin := range append(slices.Clone(i.opt.Origins), redirected) {
		switch may, err := i.pagesMay(ctx, origin); {
		case errors.Is(err, errUnreached):
			return fromElsewhere()
		case err != nil:
			return failed(err)
		case !may:
			refused = append(refused, origin)
		}
	}
	switch {
	case len(refused) == 0:
		return held("pages of %s may read, also what the registry redirects them to", strings.Join(i.opt.Origins, ", "))
	case slices.Equal(refused, []string{redirected}):
		return broken("pages of %s may read what they ask the store for, and not what the registry redirects them to: there a browser gives their origin as null", strings.Join(i.opt.Origins, ", "))
	}
	return broken("the store lets no page of %s read a blob and parts of one", strings.Join(slices.DeleteFunc(refused, func(o string) bool { return o == redirected }), ", "))
}

// pagesMay reports whether a browser would let a page of an origin read a blob, and a range of one.
func (i *inspector) pagesMay(ctx context.Context, origin string) (bool, error) {
	for method, header := range map[string]http.Header{
		http.MethodGet:     {},
		http.MethodOptions: {"Access-Control-Request-Method": {http.MethodGet}, "Access-Control-Request-Headers": {"range"}},
	} {
		header.Set("Origin", origin)
		req, err := i.s.presign(ctx, i.s.get, i.s.public, signing{method: http.MethodGet, key: emptyBlob}, probeTTL)
		if err != nil {
			return false, err
		}
		req.Method = method
		status, answer, err := i.reach(ctx, req, header)
		if err != nil {
			return false, err
		}
		allowed := answer.Get("Access-Control-Allow-Origin")
		if allowed != "*" && allowed != origin || method == http.MethodOptions && !accepted(status) {
			return false, nil
		}
	}
	return true, nil
}

// askLifecycle is the right to read the lifecycle rules of a bucket.
const askLifecycle = "s3:GetLifecycleConfiguration"

func (i *inspector) versions(context.Context) (observation, error) {
	if err := i.setup.Versioning.Unknown; err != nil {
		return unknown(err, "s3:GetBucketVersioning")
	}
	if i.setup.Versioning.Value == "" {
		return held("the bucket keeps no versions")
	}
	if err := i.setup.Lifecycle.Unknown; err != nil {
		return unknown(err, askLifecycle)
	}
	for _, r := range i.setup.Lifecycle.Value {
		if r.NoncurrentDays > 0 && r.NoncurrentKept == 0 && !r.Tagged && !r.Sized && strings.HasPrefix(i.s.prefix, r.Prefix) {
			return held("versioning is %s, and rule %q frees what was deleted after %d days", i.setup.Versioning.Value, r.ID, r.NoncurrentDays)
		}
	}
	return broken("versioning is %s, and no lifecycle rule removes all old versions of what the registry keeps", i.setup.Versioning.Value)
}

func (i *inspector) lock(context.Context) (observation, error) {
	switch lock := i.setup.Lock; {
	case lock.Unknown != nil:
		return unknown(lock.Unknown, "s3:GetBucketObjectLockConfiguration")
	case lock.Value.Mode != "":
		return broken("the bucket locks new objects (%s)", lock.Value.Mode)
	case lock.Value.Enabled:
		return held("object lock is on, without a default retention")
	}
	return held("object lock is off")
}

func (i *inspector) expiry(context.Context) (observation, error) {
	if err := i.setup.Lifecycle.Unknown; err != nil {
		return unknown(err, askLifecycle)
	}
	var harm []string
	for _, r := range i.setup.Lifecycle.Value {
		if r.Tagged || !r.Expires && r.Archive == "" || !touches(r.Prefix, i.s.prefix, keptAreas) {
			continue
		}
		does := "moves to " + r.Archive
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
		return unknown(err, askLifecycle)
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
