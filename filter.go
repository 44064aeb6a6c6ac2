package ballast

import (
	"math"
	"slices"
)

// ListedStatus says which versions a list shows.
type ListedStatus string

// The choices. Sealed and deleted versions are in no list.
const (
	ListReady   ListedStatus = "ready" // what is served; the empty ListedStatus means the same
	ListRetired ListedStatus = "retired"
	ListAll     ListedStatus = "all" // ready, retired and lost
)

// Shows reports whether the list shows versions of a status.
func (l ListedStatus) Shows(s Status) bool {
	switch l {
	case ListAll:
		return s == StatusReady || s == StatusRetired || s == StatusLost
	case ListRetired:
		return s == StatusRetired
	}
	return s == StatusReady
}

// VersionOrder is the order of a list of versions across names.
type VersionOrder string

// The orders. Each is total: no two versions of a list stand at one place, and a version keeps its place.
const (
	OrderName   VersionOrder = "name"   // by name without case, then the highest version first; the empty order means the same
	OrderOldest VersionOrder = "oldest" // by created_at, then name, then version, ascending
	OrderNewest VersionOrder = "newest" // the same, descending
)

// ParseVersionOrder parses an order; the empty text is OrderName. Errors: invalid, with the orders.
func ParseVersionOrder(s string) (VersionOrder, error) {
	switch o := VersionOrder(s); o {
	case "":
		return OrderName, nil
	case OrderName, OrderOldest, OrderNewest:
		return o, nil
	}
	return "", Errorf(CodeInvalid, "order %s: use one of name, newest, oldest", quote(s))
}

// Bound says on which side of a value a metric has to be.
type Bound string

// The bounds. Both hold at the value itself.
const (
	AtLeast Bound = "gte"
	AtMost  Bound = "lte"
)

// MetricFilter keeps versions that have a metric, on one side of a value.
type MetricFilter struct {
	Metric string
	Bound  Bound
	Value  float64
}

// VersionFilter says which versions a list shows: those that match all of it. The zero filter shows what is ready.
type VersionFilter struct {
	Status  ListedStatus
	Stage   Stage          // "": any
	Task    string         // "": any
	Tags    []string       // all of them
	Metrics []MetricFilter // all of them; a version without the metric matches none
	Base    Ref            // the version that they were made from; zero: any
	Creator string         // created_by, exactly; "": any
}

// MaxFilters bounds the tags and, for themselves, the metrics of one VersionFilter.
const MaxFilters = 32

// IsZero reports whether f shows just what is ready.
func (f VersionFilter) IsZero() bool {
	return (f.Status == "" || f.Status == ListReady) && f.Stage == "" && f.Task == "" && len(f.Tags) == 0 && len(f.Metrics) == 0 && f.Base == (Ref{}) && f.Creator == ""
}

// Check refuses a filter that can match nothing by its form. Errors: invalid, with what is allowed.
func (f VersionFilter) Check() error {
	if !slices.Contains([]ListedStatus{"", ListReady, ListRetired, ListAll}, f.Status) {
		return Errorf(CodeInvalid, "status %s: use one of ready, retired, all", quote(string(f.Status)))
	}
	if f.Stage != "" {
		if _, err := ParseStage(string(f.Stage)); err != nil {
			return err
		}
	}
	if f.Task != "" {
		if err := CheckTask(f.Task); err != nil {
			return err
		}
	}
	if len(f.Tags) > MaxFilters || len(f.Metrics) > MaxFilters {
		return Errorf(CodeInvalid, "tag and metric: at most %d of each", MaxFilters)
	}
	if slices.Contains(f.Tags, "") {
		return Errorf(CodeInvalid, "tag: is empty; name a tag, or leave it out")
	}
	for _, m := range f.Metrics {
		if m.Metric == "" || m.Bound != AtLeast && m.Bound != AtMost || math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
			return Errorf(CodeInvalid, "metric %s: needs a name, gte or lte, and a finite number", quote(m.Metric))
		}
	}
	return nil
}

// Matches reports whether a version is shown, as far as its own fields decide: all but Base.
func (f VersionFilter) Matches(status Status, stage Stage, creator string, m Metadata) bool {
	if !f.Status.Shows(status) || f.Stage != "" && f.Stage != stage || f.Task != "" && f.Task != m.Task || f.Creator != "" && f.Creator != creator {
		return false
	}
	for _, tag := range f.Tags {
		if !slices.Contains(m.Tags, tag) {
			return false
		}
	}
	for _, want := range f.Metrics {
		value, measured := m.Metrics[want.Metric]
		if !measured || want.Bound == AtLeast && value < want.Value || want.Bound == AtMost && value > want.Value {
			return false
		}
	}
	return true
}
