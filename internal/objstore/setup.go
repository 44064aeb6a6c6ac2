package objstore

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Told is a setting as the store tells it. Unknown is why it cannot be told: a store that does not have the call, or an
// identity that may not use it. That is never the same as a setting that is not there.
type Told[T any] struct {
	Value   T
	Unknown error
}

// Setup is how a bucket is set up by whoever made it.
type Setup struct {
	Versioning Told[string]          // "Enabled", "Suspended", or "" for never
	Lock       Told[ObjectLock]      // of new objects
	Lifecycle  Told[[]LifecycleRule] // those that are enabled
}

// ObjectLock is whether objects of a bucket can be locked, and how long new ones are.
type ObjectLock struct {
	Enabled bool
	Mode    string // of the default retention: GOVERNANCE, COMPLIANCE, or "" for none
}

// LifecycleRule is what a store does by itself with objects whose keys begin with Prefix, which is a whole key's.
type LifecycleRule struct {
	ID             string
	Prefix         string
	Tagged         bool   // only with tags, which the registry gives to nothing
	Sized          bool   // only above or below a size
	Expires        bool   // objects are removed, on a day or after some
	Days           int    // after which they are; 0 where it is a date
	NoncurrentDays int    // after which versions that are no longer current are removed; 0 for never
	NoncurrentKept int    // versions that stay all the same, the newest of those that are no longer current
	AbortDays      int    // after which unfinished multipart uploads are removed; 0 for never
	Archive        string // storage class that objects are moved to and cannot be read from at once; "" for none
}

// Setup asks the store how the bucket is set up, with the service's identity. It changes nothing.
func (s *S3) Setup(ctx context.Context) Setup {
	return Setup{Versioning: s.askVersioning(ctx), Lock: s.askLock(ctx), Lifecycle: s.askLifecycle(ctx)}
}

// toldOr makes an answer of a code that says that there is no such setting.
func toldOr[T any](ctx context.Context, err error, absent ...string) Told[T] {
	if slices.Contains(absent, code(err)) {
		return Told[T]{}
	}
	return Told[T]{Unknown: classify(ctx, err)}
}

func (s *S3) askVersioning(ctx context.Context) Told[string] {
	out, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.bucket})
	if err != nil {
		return toldOr[string](ctx, err)
	}
	return Told[string]{Value: string(out.Status)}
}

func (s *S3) askLock(ctx context.Context) Told[ObjectLock] {
	out, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.bucket})
	if err != nil {
		return toldOr[ObjectLock](ctx, err, "ObjectLockConfigurationNotFoundError")
	}
	var lock ObjectLock
	if c := out.ObjectLockConfiguration; c != nil {
		lock.Enabled = c.ObjectLockEnabled == types.ObjectLockEnabledEnabled
		if c.Rule != nil && c.Rule.DefaultRetention != nil {
			lock.Mode = string(c.Rule.DefaultRetention.Mode)
		}
	}
	return Told[ObjectLock]{Value: lock}
}

func (s *S3) askLifecycle(ctx context.Context) Told[[]LifecycleRule] {
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &s.bucket})
	if err != nil {
		return toldOr[[]LifecycleRule](ctx, err, "NoSuchLifecycleConfiguration")
	}
	var rules []LifecycleRule
	for _, r := range out.Rules {
		if r.Status == types.ExpirationStatusEnabled {
			rules = append(rules, lifecycleRule(r))
		}
	}
	return Told[[]LifecycleRule]{Value: rules}
}

func lifecycleRule(r types.LifecycleRule) LifecycleRule {
	rule := LifecycleRule{ID: aws.ToString(r.ID), Prefix: aws.ToString(r.Prefix)} //nolint:staticcheck // old rules have theirs there
	if f := r.Filter; f != nil {
		rule.Tagged, rule.Sized = f.Tag != nil, f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
		if f.Prefix != nil {
			rule.Prefix = *f.Prefix
		}
		if and := f.And; and != nil {
			rule.Prefix, rule.Tagged = aws.ToString(and.Prefix), len(and.Tags) > 0
			rule.Sized = and.ObjectSizeGreaterThan != nil || and.ObjectSizeLessThan != nil
		}
	}
	if e := r.Expiration; e != nil {
		rule.Days = int(aws.ToInt32(e.Days))
		rule.Expires = rule.Days > 0 || e.Date != nil && !e.Date.Equal(time.Time{})
	}
	if e := r.NoncurrentVersionExpiration; e != nil {
		rule.NoncurrentDays, rule.NoncurrentKept = int(aws.ToInt32(e.NoncurrentDays)), int(aws.ToInt32(e.NewerNoncurrentVersions))
	}
	if a := r.AbortIncompleteMultipartUpload; a != nil {
		rule.AbortDays = int(aws.ToInt32(a.DaysAfterInitiation))
	}
	for _, t := range r.Transitions {
		if t.StorageClass == types.TransitionStorageClassGlacier || t.StorageClass == types.TransitionStorageClassDeepArchive {
			rule.Archive = string(t.StorageClass)
		}
	}
	return rule
}
