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
	CORS       Told[[]CORSRule]
}

// ObjectLock is whether objects of a bucket can be locked, and how long new ones are.
type ObjectLock struct {
	Enabled bool
	Mode    string // of the default retention: GOVERNANCE, COMPLIANCE, or "" for none
}

// LifecycleRule is what a store does by itself with objects whose keys begin with Prefix, which is a whole key's.
type LifecycleRule struct {
	ID              string
	Prefix          string
	Tagged          bool   // only with tags, which the registry gives to nothing
	Expires         bool   // objects are removed, on a day or after some
	Days            int    // after which they are; 0 where it is a date
	NoncurrentDays  int    // after which versions that are no longer current are removed; 0 for never
	AbortDays       int    // after which unfinished multipart uploads are removed; 0 for never
	TransitionClass string // storage class that objects are moved to; "" for none
}

// CORSRule is what pages of some origins may ask of the bucket.
type CORSRule struct{ Origins, Methods, Headers, Expose []string }

// Setup asks the store how the bucket is set up, with the service's identity. It changes nothing.
func (s *S3) Setup(ctx context.Context) Setup {
	return Setup{Versioning: s.askVersioning(ctx), Lock: s.askLock(ctx), Lifecycle: s.askLifecycle(ctx), CORS: s.askCORS(ctx)}
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
		rule.Tagged = f.Tag != nil
		if f.Prefix != nil {
			rule.Prefix = *f.Prefix
		}
		if f.And != nil {
			rule.Prefix, rule.Tagged = aws.ToString(f.And.Prefix), len(f.And.Tags) > 0
		}
	}
	if e := r.Expiration; e != nil {
		rule.Days = int(aws.ToInt32(e.Days))
		rule.Expires = rule.Days > 0 || e.Date != nil && !e.Date.Equal(time.Time{})
	}
	if e := r.NoncurrentVersionExpiration; e != nil {
		rule.NoncurrentDays = int(aws.ToInt32(e.NoncurrentDays))
	}
	if a := r.AbortIncompleteMultipartUpload; a != nil {
		rule.AbortDays = int(aws.ToInt32(a.DaysAfterInitiation))
	}
	for _, t := range r.Transitions {
		rule.TransitionClass = string(t.StorageClass)
	}
	return rule
}

func (s *S3) askCORS(ctx context.Context) Told[[]CORSRule] {
	out, err := s.client.GetBucketCors(ctx, &s3.GetBucketCorsInput{Bucket: &s.bucket})
	if err != nil {
		return toldOr[[]CORSRule](ctx, err, "NoSuchCORSConfiguration")
	}
	var rules []CORSRule
	for _, r := range out.CORSRules {
		rules = append(rules, CORSRule{r.AllowedOrigins, r.AllowedMethods, r.AllowedHeaders, r.ExposeHeaders})
	}
	return Told[[]CORSRule]{Value: rules}
}
