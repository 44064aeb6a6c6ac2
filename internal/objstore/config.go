package objstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"
)

// Keys are static credentials. They print as their id alone.
type Keys struct{ ID, Secret, Session string }

// String hides the secrets.
func (k Keys) String() string {
	if k.ID == "" {
		return "no keys"
	}
	return "keys of " + k.ID
}

// GoString hides the secrets from %#v.
func (k Keys) GoString() string { return k.String() }

// LogValue implements slog.LogValuer.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText hides the secrets from JSON, in whatever the keys are held.
func (k Keys) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Identity says where credentials come from. The zero value is AWS's default chain: environment, shared files, web
// identity, container, instance.
type Identity struct {
	Keys    Keys   // these, when Keys.ID is set
	Profile string // else this profile of the shared files
	File    string // a shared-credentials file to read instead of the usual ones; Profile "" is its default profile
}

// String names the source in words for messages.
func (id Identity) String() string {
	switch {
	case id.Keys.ID != "":
		return id.Keys.String()
	case id.File != "":
		return fmt.Sprintf("profile %q of %s", id.profile(), id.File)
	case id.Profile != "":
		return fmt.Sprintf("profile %q", id.Profile)
	}
	return "the default credentials"
}

// LogValue implements slog.LogValuer.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

func (id Identity) profile() string {
	if id.Profile == "" {
		return config.DefaultSharedConfigProfile
	}
	return id.Profile
}

// Config says which store, which place in it, and as whom.
type Config struct {
	Endpoint       string // URL; empty means AWS
	PublicEndpoint string // URL under which clients reach the store; empty means Endpoint
	Bucket         string // required
	Prefix         string // of every key; may be empty; slashes at its ends do not count
	Region         string // empty: the default chain's, else us-east-1 with an Endpoint
	PathStyle      bool   // the bucket in the path instead of the host name

	Service Identity  // does what Bucket does
	Put     *Identity // signs PUTs and parts; nil means Service
	Get     *Identity // signs GETs; nil means Service

	PutNarrow     bool                           // PUTs and parts are signed by sessions of Put, each of which may write in one scope alone
	PutRole       string                         // ARN of the role that Put assumes for them; stores that know no roles want none
	SessionFailed func(folder string, err error) // told of each session that STS did not give; may be nil

	HTTPClient *http.Client     // nil means one with bounded waits
	Now        func() time.Time // the clock of signed requests and of the probe; nil means time.Now
}

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value {
	name := func(id *Identity) string {
		if id == nil {
			return "the service's"
		}
		return id.String()
	}
	return slog.GroupValue(
		slog.String("endpoint", c.Endpoint), slog.String("public_endpoint", c.PublicEndpoint),
		slog.String("bucket", c.Bucket), slog.String("prefix", c.Prefix), slog.String("region", c.Region),
		slog.Bool("path_style", c.PathStyle),
		slog.String("service", c.Service.String()), slog.String("put", name(c.Put)), slog.String("get", name(c.Get)),
		slog.Bool("put_narrow", c.PutNarrow), slog.String("put_role", c.PutRole),
	)
}

func (c Config) check() error {
	if c.Bucket == "" {
		return fmt.Errorf("objstore: no bucket is configured")
	}
	if c.Prefix == "" {
		return nil
	}
	if err := CheckKey(c.Prefix); err != nil {
		return fmt.Errorf("objstore: prefix %q: %w", c.Prefix, err)
	}
	return nil
}

// load resolves an identity to the SDK's settings. Credentials are not fetched before they are needed.
func (c Config) load(ctx context.Context, id Identity) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithLogger(logging.Nop{}), // its lines go to stderr in a form of their own, and say no more than its errors
	}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	switch {
	case id.Keys.ID != "":
		static := credentials.NewStaticCredentialsProvider(id.Keys.ID, id.Keys.Secret, id.Keys.Session)
		options = append(options, config.WithCredentialsProvider(static))
	case id.File != "":
		options = append(options, config.WithSharedConfigProfile(id.profile()),
			config.WithSharedCredentialsFiles([]string{id.File}), config.WithSharedConfigFiles([]string{}))
	case id.Profile != "":
		options = append(options, config.WithSharedConfigProfile(id.Profile))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	var absent config.SharedConfigProfileNotExistError
	if errors.As(err, &absent) {
		return aws.Config{}, noProfile(id, absent.Profile, err)
	}
	if err != nil {
		return aws.Config{}, fmt.Errorf("objstore: loading %s: %w", id, err)
	}
	if loaded.Region == "" && c.Endpoint != "" {
		loaded.Region = "us-east-1" // what stores without regions expect in signatures
	}
	if loaded.Region == "" {
		return aws.Config{}, errors.New("no region of the bucket is known: give --s3-region, AWS_REGION or a profile's region")
	}
	return loaded, nil
}
