package objstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/sync/singleflight"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/cache"
)

// signatory is whose credentials sign requests for clients.
type signatory interface {
	// credentials returns those that sign for what lies under key, which live for at least life where the source has such.
	credentials(ctx context.Context, key string, life time.Duration) (aws.Credentials, error)
	// called names it in messages.
	called() string
}

// sessions are an identity in parts: each scope has a session of its own, made by STS, which may write that scope's blobs and
// staging and nothing else. Who holds a signed request sees the key id and the session, and some stores do more for it
// than was signed; it is then done with rights that end at the scope.
//
// A session signs for sessionAge and is then replaced. While STS is out of order the last one goes on for as long as it
// lives. There is no way from here to the identity itself.
type sessions struct {
	of     *identity
	client stscreds.AssumeRoleAPIClient
	role   string // its ARN
	at     string // ARN of the registry's prefix, up to where a scope's folder begins
	failed func(folder string, err error)

	held   *cache.Cache[string, session] // by the scope's folder
	asking singleflight.Group
	short  atomic.Bool // STS gives no session of sessionLife
}

const (
	// sessionAge is how long a session signs. One that the store no longer takes, because somebody ended it there, is in
	// use for no longer.
	sessionAge = 15 * time.Minute
	// sessionLife is what is asked for: the life of a request, an hour, is left in a session when it signs its last.
	sessionLife = time.Hour + sessionAge
	// shortLife is what any role allows whose operator set nothing; requests then live for 45 minutes at least.
	shortLife = time.Hour
	// maxSessions bounds those that are kept; a scope that has to wait for another asks again.
	maxSessions = 1024
	// askLimit bounds one call to STS, its retries included.
	askLimit = 10 * time.Second
	// maxPolicy is what AWS and MinIO allow a session's policy, in characters.
	maxPolicy = 2048
	// anyRole is for stores that do not know roles: there, a session is one of the user who asks. The SDK wants an ARN.
	anyRole = "arn:aws:iam:::role/ballast"
)

// session is what STS answered for a scope.
type session struct {
	creds  aws.Credentials
	born   time.Time
	failed time.Time // when the last try to replace it was no use
}

// fresh reports whether it may go on signing without a look at STS.
func (s session) fresh(now time.Time) bool {
	age := now.Sub(s.born)
	return age >= 0 && age < min(sessionAge, s.creds.Expires.Sub(s.born)/2)
}

func (s session) lives(now time.Time) bool { return now.Before(s.creds.Expires) }

// ErrNoPolicy says that the registry's prefix is one that no session's policy can name.
var ErrNoPolicy = errors.New("objstore: no policy can end at a scope of this registry")

// narrow puts sessions of the put identity in its place.
func (s *S3) narrow(cfg Config, loaded aws.Config) error {
	n := &sessions{of: s.putUser, role: cfg.PutRole, failed: cfg.SessionFailed, held: cache.New[string, session](maxSessions)}
	partition := "aws"
	if n.role == "" {
		n.role = anyRole
	} else if arn := strings.SplitN(n.role, ":", 6); len(arn) < 6 || arn[0] != "arn" {
		return fmt.Errorf("objstore: %q is no ARN of a role", n.role)
	} else {
		partition = arn[1]
	}
	if n.failed == nil {
		n.failed = func(string, error) {}
	}
	n.at = "arn:" + partition + ":s3:::" + s.bucket + "/" + s.prefix
	if strings.ContainsFunc(n.at, wild) {
		return fmt.Errorf("%w: %q can stand for more than itself in a policy: take a prefix of ASCII without * ? $ \" and \\", ErrNoPolicy, s.prefix)
	}
	longest := strings.Repeat("t", 63)
	if size := len(n.policy("tenants/" + longest)); size > maxPolicy {
		return fmt.Errorf("%w: with this prefix it takes %d characters of the %d that a session's may have: take a shorter one", ErrNoPolicy, size, maxPolicy)
	}
	n.client = sts.NewFromConfig(loaded, func(o *sts.Options) {
		o.Region, o.Credentials, o.Retryer = s.region, n.of, newRetryer()
		if o.HTTPClient = cfg.HTTPClient; cfg.HTTPClient == nil {
			o.HTTPClient = newHTTPClient(headerWait)
		}
		if o.BaseEndpoint == nil && cfg.Endpoint != "" { // AWS_ENDPOINT_URL_STS comes before
			o.BaseEndpoint = &cfg.Endpoint
		}
	})
	s.put = n
	return nil
}

// wild reports what means something else than itself in the resource of a policy, or in JSON.
func wild(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`*?$"\`, r) }

// policy is that of a session for one scope's folder.
func (n *sessions) policy(folder string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject"],"Resource":["%[1]s/blobs/*","%[1]s/staging/*"]}]}`, n.at+folder)
}

// folderOf is the folder of the scope that a key lies in.
func folderOf(key string) (string, error) {
	first, rest, _ := strings.Cut(key, "/")
	if first == ballast.Global.Path() {
		return first, nil
	}
	tenant, _, _ := strings.Cut(rest, "/")
	if scope, err := ballast.ParseScope(tenant); err == nil && scope.Path() == first+"/"+tenant {
		return scope.Path(), nil
	}
	return "", fmt.Errorf("objstore: %q lies in no scope: no session may write there", key)
}

func (n *sessions) called() string { return n.of.name }

// credentials implements signatory. What a session cannot give, life included, it does without. Errors: ErrUnavailable
// when the scope has no session that lives and STS gives none.
func (n *sessions) credentials(ctx context.Context, key string, _ time.Duration) (aws.Credentials, error) {
	folder, err := folderOf(key)
	if err != nil {
		return aws.Credentials{}, err
	}
	return n.session(ctx, folder)
}

func (n *sessions) session(ctx context.Context, folder string) (aws.Credentials, error) {
	held, _ := n.held.Get(folder)
	if now := time.Now(); held.fresh(now) || held.lives(now) && now.Sub(held.failed) < refreshPause {
		return held.creds, nil
	}
	creds, err := n.renew(ctx, folder)
	switch {
	case err == nil:
		return creds, nil
	case held.lives(time.Now()):
		return held.creds, nil
	}
	return creds, fmt.Errorf("%w: no session of %s for %s: %w", ErrUnavailable, n.of.name, folder, err)
}

// renew asks STS, once for all who wait. It goes on when the one who came first goes away.
func (n *sessions) renew(ctx context.Context, folder string) (aws.Credentials, error) {
	answer := n.asking.DoChan(folder, func() (any, error) {
		held, _ := n.held.Get(folder)
		if held.fresh(time.Now()) { // the one before was just made, by who was asked a moment ago
			return held.creds, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
		defer cancel()
		creds, err := n.ask(ctx, folder)
		if err != nil {
			n.failed(folder, err)
			if held.lives(time.Now()) {
				held.failed = time.Now()
				n.held.Put(folder, held, 1)
			}
			return aws.Credentials{}, err
		}
		n.held.Put(folder, session{creds: creds, born: time.Now()}, 1)
		return creds, nil
	})
	select {
	case got := <-answer:
		return got.Val.(aws.Credentials), got.Err
	case <-ctx.Done():
		return aws.Credentials{}, context.Cause(ctx)
	}
}

// ask makes a session. A role may allow none of the life that is wanted.
func (n *sessions) ask(ctx context.Context, folder string) (aws.Credentials, error) {
	if n.short.Load() {
		return n.assume(ctx, folder, shortLife)
	}
	creds, err := n.assume(ctx, folder, sessionLife)
	if said := code(err); said != "ValidationError" && said != "InvalidParameterValue" {
		return creds, err
	}
	if creds, err = n.assume(ctx, folder, shortLife); err == nil {
		n.short.Store(true)
	}
	return creds, err
}

func (n *sessions) assume(ctx context.Context, folder string, life time.Duration) (aws.Credentials, error) {
	return stscreds.NewAssumeRoleProvider(n.client, n.role, func(o *stscreds.AssumeRoleOptions) {
		o.Policy, o.Duration, o.RoleSessionName = aws.String(n.policy(folder)), life, sessionName(folder)
	}).Retrieve(ctx)
}

// sessionName is what the store's own log shows. It may have 64 characters, and names nothing.
func sessionName(folder string) string {
	name := "ballast-" + folder[strings.LastIndexByte(folder, '/')+1:]
	return name[:min(len(name), 64)]
}
