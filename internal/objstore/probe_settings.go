package objstore

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// mistake tells an operator what to correct, in words that need none around them.
type mistake struct {
	text  string
	cause error
}

// Error implements error.
func (m *mistake) Error() string { return m.text }

// Unwrap returns the cause, which the text has as far as it helps.
func (m *mistake) Unwrap() error { return m.cause }

// credentialsFile is the shared file that keys are written to.
func credentialsFile() string {
	return cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), config.DefaultSharedCredentialsFilename())
}

// twoLines is a profile as it is written.
func twoLines(profile string) string {
	return "\n\n  [" + profile + "]\n  aws_access_key_id = …\n  aws_secret_access_key = …"
}

// noProfile says where a profile was looked for.
func noProfile(id Identity, profile string, cause error) error {
	file, read := id.File, id.File
	if file == "" {
		file = credentialsFile()
		read = file + " or " + cmp.Or(os.Getenv("AWS_CONFIG_FILE"), config.DefaultSharedConfigFilename())
	}
	return &mistake{fmt.Sprintf("there is no profile %q in %s; write to %s:%s", profile, read, file, twoLines(profile)), cause}
}

// instanceWait bounds the look for credentials where no setting has any: the SDK then asks the machine's metadata
// service, which answers at once on an instance, and elsewhere not at all.
const instanceWait = 5 * time.Second

// haveCredentials makes sure that each identity has some before they are tried.
func (p *prober) haveCredentials(ctx context.Context) error {
	for _, id := range []*identity{p.s.service, p.s.putUser, p.s.get} {
		if err := p.hasCredentials(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) hasCredentials(ctx context.Context, id *identity) error {
	wait := ctx
	if id.instance {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, instanceWait)
		defer cancel()
	}
	_, err := id.retrieve(wait)
	switch {
	case err == nil || ctx.Err() != nil || !id.instance:
		return err
	case id == p.s.service:
		return &mistake{fmt.Sprintf("no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or write to %s:%s", credentialsFile(), twoLines(config.DefaultSharedConfigProfile)), err}
	}
	return &mistake{fmt.Sprintf("%s: %s has no keys; write aws_access_key_id and aws_secret_access_key to it in %s", p.settingOf(id), id.name, credentialsFile()), err}
}

// settingOf names the setting that an identity comes from.
func (p *prober) settingOf(id *identity) string {
	switch id {
	case p.s.service:
		return "the service"
	case p.s.putUser:
		return "--s3-put-profile"
	}
	return "--s3-get-profile"
}

// credentialCodes are S3's words for credentials that are no good whatever they may do, and what to do about each.
var credentialCodes = map[string]string{
	"SignatureDoesNotMatch": "correct the secret key, and let no proxy change the Host of requests",
	"InvalidAccessKeyId":    "it does not know that key id",
	"XAdminUserNotFound":    "it does not know that key id", // versitygw's
	"InvalidToken":          "correct the session token",
	"ExpiredToken":          "renew the session",
}

// refused is the error of an identity whose credentials the store refused with a code of those, else nil.
func (p *prober) refused(ctx context.Context, id *identity, code string) error {
	todo, known := credentialCodes[code]
	if !known {
		return nil
	}
	creds, err := id.retrieve(ctx)
	if err != nil {
		return err
	}
	return &mistake{fmt.Sprintf("the store at %s refuses the credentials of %s (key id %s, from %s): %s: %s",
		p.endpoint(), p.settingOf(id), creds.AccessKeyID, sourceOf(creds, id), code, todo), ErrDenied}
}

// sourceOf says where credentials came from, in the words of who set them.
func sourceOf(creds aws.Credentials, id *identity) string {
	if file, ok := strings.CutPrefix(creds.Source, "SharedConfigCredentials: "); ok {
		return file
	}
	if creds.Source == config.CredentialsSourceName {
		return "AWS_ACCESS_KEY_ID"
	}
	return id.name
}

// serviceRefusal asks for S3's word about the service's credentials: the answer to a HEAD has none.
func (p *prober) serviceRefusal(ctx context.Context) (string, error) {
	_, err := p.s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &p.s.bucket, MaxKeys: aws.Int32(1)})
	return code(err), p.refused(ctx, p.s.service, code(err))
}

// endpoint is where the store is, without the bucket.
func (p *prober) endpoint() string { return p.s.private.url.Scheme + "://" + p.s.private.url.Host }

// noAnswer is the error of a store that nobody reached.
func (p *prober) noAnswer(err error) error {
	return &mistake{
		fmt.Sprintf("no answer from %s (%v): check --s3-endpoint and that the store runs", p.endpoint(), withoutURL(err)),
		fmt.Errorf("%w: %w", ErrUnavailable, err),
	}
}
