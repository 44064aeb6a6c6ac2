package api

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
)

// The parameters of a filter that may come more than once, or under many names.
const (
	paramTag    = "tag"
	paramMetric = "metric."
)

// filterParams are the other ones.
func filterParams() []string { return []string{"status", "stage", "task", "base", "creator"} }

// isFilter reports whether a parameter belongs to a filter besides filterParams, and whether it may be repeated.
func isFilter(key string) (known, repeats bool) {
	return key == paramTag || strings.HasPrefix(key, paramMetric), key == paramTag
}

// filterQuery is the query of a list with a filter: known and the parameters of the filter.
func filterQuery(c echo.Context, known ...string) *query {
	q := readQuery(c)
	for key, all := range q.values {
		if own, repeats := isFilter(key); own {
			if len(all) > 1 && !repeats {
				q.fail("the query parameter %q is given %d times", cut(key), len(all))
			}
			if len(key) > maxFilterBytes || slices.ContainsFunc(all, func(value string) bool { return len(value) > maxFilterBytes }) {
				q.fail("%s: longer than %d bytes", cut(key), maxFilterBytes)
			}
			continue
		}
		q.know(key, append(filterParams(), known...), paramTag, "metric.NAME.gte", "metric.NAME.lte")
	}
	return q
}

const maxFilterBytes = 1 << 10 // of one value, and of the name of a metric with what stands around it

// list reads the parameters that lists of versions share.
func (q *query) list() engine.ListVersions {
	f := ballast.VersionFilter{
		Status: ballast.ListedStatus(q.text("status", maxFilterBytes)), Stage: ballast.Stage(q.text("stage", maxFilterBytes)),
		Task: q.text("task", maxFilterBytes), Creator: q.text("creator", maxFilterBytes),
		Tags: q.values[paramTag], Metrics: q.metrics(),
	}
	if base := q.text("base", maxFilterBytes); base != "" {
		var err error
		if f.Base, err = ballast.ParseRef(base); err != nil && q.err == nil {
			q.err = err
		}
	}
	if err := f.Check(); err != nil && q.err == nil {
		q.err = err
	}
	return engine.ListVersions{Filter: f, Limit: q.limit(), Cursor: q.cursor()}
}

// metrics reads metric.NAME.gte and metric.NAME.lte, in the order of their names.
func (q *query) metrics() (filters []ballast.MetricFilter) {
	for _, key := range slices.Sorted(maps.Keys(q.values)) {
		rest, ok := strings.CutPrefix(key, paramMetric)
		if !ok {
			continue
		}
		dot := strings.LastIndexByte(rest, '.')
		if dot < 1 || rest[dot+1:] != string(ballast.AtLeast) && rest[dot+1:] != string(ballast.AtMost) {
			q.fail("the query parameter %q: write metric.NAME.gte=NUMBER or metric.NAME.lte=NUMBER", cut(key))
			continue
		}
		value, err := strconv.ParseFloat(q.values.Get(key), 64)
		if err != nil {
			q.fail("%s %q: write a number", cut(key), cut(q.values.Get(key)))
		}
		filters = append(filters, ballast.MetricFilter{Metric: rest[:dot], Bound: ballast.Bound(rest[dot+1:]), Value: value})
	}
	return filters
}

func (s *server) listAllVersions(c echo.Context, p engine.Principal) error {
	q := filterQuery(c, "scope", "prefix", "order", "limit", "cursor")
	order, err := ballast.ParseVersionOrder(q.text("order", maxFilterBytes))
	if err != nil && q.err == nil {
		q.err = err
	}
	l := engine.ListAllVersions{Scope: q.scope(), Prefix: q.prefix(), Order: order, ListVersions: q.list()}
	if q.err != nil {
		return q.err
	}
	page, err := s.service.AllVersions(c.Request().Context(), p, l)
	if err != nil {
		return err
	}
	page.Versions = list(page.Versions)
	return writeRead(c, page)
}
