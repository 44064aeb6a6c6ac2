package ballast

import "math"

// Quota bounds what a scope may use. A field that is nil bounds nothing; 0 lets nothing new in.
type Quota struct {
	Bytes       *int64 `json:"bytes,omitempty"`        // of files, each digest once
	Versions    *int64 `json:"versions,omitempty"`     // that are not deleted
	Uploads     *int64 `json:"uploads,omitempty"`      // that are open, imports included
	UploadBytes *int64 `json:"upload_bytes,omitempty"` // of open uploads, that are not there yet
}

// MaxQuota is the greatest bound, and the one that holds where none is set.
const MaxQuota = math.MaxInt64 / 2

// Usage is what a scope uses of its quota.
type Usage struct {
	Bytes            int64 `json:"bytes"`             // of files that a version uses or an open upload pins, each digest once
	Versions         int64 `json:"versions"`          // that are not deleted
	Uploads          int64 `json:"uploads"`           // that are open
	UploadBytes      int64 `json:"upload_bytes"`      // those of Bytes that are not there yet
	ReservedBytes    int64 `json:"reserved_bytes"`    // beside Bytes: what open uploads have yet to pin
	ReservedVersions int64 `json:"reserved_versions"` // beside Versions: what open uploads will make
}

// QuotaBound is one of the four things that a quota bounds.
type QuotaBound struct {
	Name  string // as in JSON
	Limit *int64 // nil: none
	Used  int64  // with what is reserved
}

// Most is the limit, or MaxQuota where there is none.
func (b QuotaBound) Most() int64 {
	if b.Limit == nil {
		return MaxQuota
	}
	return *b.Limit
}

// Places of the bounds in what Quota.Bounds returns.
const (
	BoundBytes = iota
	BoundVersions
	BoundUploads
	BoundUploadBytes
	bounds
)

// Bounds returns the four bounds, and what u uses of each.
func (q Quota) Bounds(u Usage) [bounds]QuotaBound {
	return [bounds]QuotaBound{
		BoundBytes:       {"bytes", q.Bytes, u.Bytes + u.ReservedBytes},
		BoundVersions:    {"versions", q.Versions, u.Versions + u.ReservedVersions},
		BoundUploads:     {"uploads", q.Uploads, u.Uploads},
		BoundUploadBytes: {"upload_bytes", q.UploadBytes, u.UploadBytes + u.ReservedBytes},
	}
}

// Check refuses a bound that is none.
func (q Quota) Check() error {
	for _, b := range q.Bounds(Usage{}) {
		if most := b.Most(); most < 0 || most > MaxQuota {
			return Errorf(CodeInvalid, "%s: %d; a quota is 0 to %d, or left out for none", b.Name, most, int64(MaxQuota))
		}
	}
	return nil
}

// QuotaSource says which quota holds for a scope.
type QuotaSource string

// The sources.
const (
	QuotaOwn     QuotaSource = "own"     // set for this scope
	QuotaDefault QuotaSource = "default" // that of every tenant without its own
	QuotaNone    QuotaSource = "none"
)

// EveryTenant stands in the place of a scope for the quota of tenants without their own.
const EveryTenant = "*"

// QuotaInfo is the quota that holds for a scope, and what is used of it.
type QuotaInfo struct {
	Scope  string      `json:"scope"` // or EveryTenant
	Quota  Quota       `json:"quota"`
	Source QuotaSource `json:"source"`
	SetBy  string      `json:"set_by,omitempty"`
	SetAt  Time        `json:"set_at,omitzero"`
	Usage  *Usage      `json:"usage,omitempty"` // not of EveryTenant
}

// QuotasPage is one page of scopes that have a quota or use something, by name, behind EveryTenant.
type QuotasPage struct {
	Quotas []QuotaInfo `json:"quotas"`
	Cursor string      `json:"cursor,omitempty"`
}
