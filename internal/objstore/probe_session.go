package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/ballast-registry/ballast"
)

// narrowOff ends what there is to do where sessions are no use.
const narrowOff = "or give --s3-put-narrow off: uploads of all scopes are then signed by one identity"

// TrySessions asks for a session of the put identity, of a store that was opened with PutNarrow. It returns "" when STS
// gave one, and else its answer, which is its last: there will be none. What such a session may do Probe tries.
//
// Errors: the identity has no credentials, or no answer came, which says nothing.
func (s *S3) TrySessions(ctx context.Context) (refusal string, err error) {
	n, ok := s.put.(*sessions)
	if !ok {
		return "", errors.New("objstore: the store was opened without sessions")
	}
	if err := (&prober{s: s}).hasCredentials(ctx, s.putUser); err != nil {
		return "", err
	}
	refusal, err = n.try(ctx)
	if err == nil || ctx.Err() != nil {
		return refusal, err
	}
	why := err
	if sent := (*url.Error)(nil); errors.As(err, &sent) {
		why = sent.Err
	}
	return "", &mistake{fmt.Sprintf("no answer from the store at %s when it was asked for a session of the put identity (%v): check --s3-endpoint and that the store runs, %s",
		(&prober{s: s}).endpoint(), why, narrowOff), err}
}

func (n *sessions) try(ctx context.Context) (refusal string, err error) {
	_, err = n.renew(ctx, ballast.Global.Path())
	switch status := statusOf(err); {
	case err == nil:
		return "", nil
	case status == 0 || errors.Is(classify(ctx, err), ErrUnavailable):
		return "", fmt.Errorf("objstore: asking STS for a session: %w: %w", ErrUnavailable, err)
	default:
		return fmt.Sprintf("%d %s", status, code(err)), nil
	}
}

// session is the check that there are any.
func (p *prober) session(n *sessions) check {
	remedy := "allow the put identity sts:AssumeRole, with keys of its own and not of a session; "
	if n.role != anyRole {
		remedy = "correct --s3-put-role, let the put identity do sts:AssumeRole on it, and let the role trust it; "
	}
	return check{stops: true, Check: Check{Name: "put_session", Needed: Required,
		Claim:  "STS gives the put identity sessions whose policy is that of one scope",
		Cost:   "nobody could publish: rights that end at a scope are asked for, and nothing else signs in their place",
		Remedy: remedy + "STS is asked at AWS_ENDPOINT_URL_STS, else at --s3-endpoint, else at AWS; " + narrowOff},
		run: func(ctx context.Context) (observation, error) {
			refusal, err := n.try(ctx)
			if err != nil {
				return failed(err)
			}
			if refusal != "" {
				return broken("it answered %s", refusal)
			}
			return held("it does")
		}}
}

// otherScope is the check that the policy of a session counts, after the control that the right session may write.
func (p *prober) otherScope(n *sessions) check {
	return check{Check: Check{Name: "put_other_scope", Needed: Required,
		Claim:  "a session of one scope may not write into another",
		Cost:   "the sessions protect nothing, and whoever reads the settings would believe that they do",
		Remedy: "use a store that holds sessions to their policy, " + narrowOff},
		run: func(ctx context.Context) (observation, error) {
			key, content := p.key(), body()
			stranger := &stranger{n, "tenants/probe"}
			status, err := p.sign(ctx, stranger, signPut(key, ballast.DigestOf(content), int64(len(content))), content, nil)
			if err != nil {
				return failed(err)
			}
			got, err := p.read(ctx, key)
			if err != nil {
				return failed(err)
			}
			if accepted(status) || got != nil {
				return broken("a PUT into global signed by a session of a tenant got %d", status)
			}
			if status != http.StatusForbidden {
				return observation{verdict: Inconclusive, detail: fmt.Sprintf("a PUT into global signed by a session of a tenant got %d %s", status, p.said)}, nil
			}
			return held("a PUT into global signed by a session of a tenant got %d", status)
		}}
}

// stranger signs everything by the session of one scope.
type stranger struct {
	*sessions
	folder string
}

func (s *stranger) credentials(ctx context.Context, _ string, _ time.Duration) (aws.Credentials, error) {
	return s.session(ctx, s.folder)
}
