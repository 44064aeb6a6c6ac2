package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/oidc"
)

// oidcFlags say whose tokens are taken beside the registry's own.
type oidcFlags struct {
	Issuer   string   `env:"BALLAST_OIDC_ISSUER" placeholder:"URL" help:"Take the tokens of this OpenID Connect issuer too: a Kubernetes cluster, a CI system, a sign-on. Written as its tokens write it in iss."`
	Audience []string `env:"BALLAST_OIDC_AUDIENCE" placeholder:"TEXT" help:"What a token of --oidc-issuer has in aud. Repeatable, or separated by commas."`
	Rules    string   `env:"BALLAST_OIDC_RULES" type:"path" placeholder:"FILE" help:"YAML or JSON file that says what the holders of such tokens may do, and that may name further issuers (docs/identity.md). Read at the start."`
	CA       string   `name:"ca" env:"BALLAST_OIDC_CA" type:"path" placeholder:"FILE" help:"Certificates in PEM that --oidc-issuer is trusted by (default: the system's)."`
}

// check refuses flags that do not go together.
func (f oidcFlags) check() error {
	switch {
	case f.Rules == "" && (f.Issuer != "" || len(f.Audience) > 0 || f.CA != ""):
		return errors.New("--oidc-issuer needs --oidc-rules FILE, which says what the holders of its tokens may do: docs/identity.md has examples")
	case f.Issuer == "" && (len(f.Audience) > 0 || f.CA != ""):
		return errors.New("--oidc-audience and --oidc-ca are of --oidc-issuer: give it too, or write them below an issuer in the file of --oidc-rules")
	case f.Issuer != "" && len(f.Audience) == 0:
		return errors.New("--oidc-issuer needs --oidc-audience: the text that its tokens for this registry have in aud")
	}
	return nil
}

// issuers reads the file of rules.
func (f oidcFlags) issuers() ([]oidc.Issuer, error) {
	if f.Rules == "" {
		return nil, nil
	}
	file, err := os.Open(f.Rules)
	if err != nil {
		return nil, fmt.Errorf("--oidc-rules: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, oidc.MaxFileBytes+1))
	if err == nil && len(text) > oidc.MaxFileBytes { // what is cut may read as something else
		err = fmt.Errorf("over %d bytes are no rules", oidc.MaxFileBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("--oidc-rules %s: %w", f.Rules, err)
	}
	var outer *oidc.Issuer
	if f.Issuer != "" {
		outer = &oidc.Issuer{URL: f.Issuer, Audiences: f.Audience, CA: f.CA}
	}
	all, err := oidc.Parse(text, outer)
	if err != nil {
		return nil, fmt.Errorf("--oidc-rules %s: %w", f.Rules, err)
	}
	return all, nil
}

// identity takes the tokens of issuers; it is the api's.
type identity struct{ *oidc.Verifier }

// IsToken implements api.Identity.
func (identity) IsToken(token ballast.Secret) bool { return oidc.IsToken(token.Reveal()) }

// Authenticate implements api.Identity.
func (i identity) Authenticate(ctx context.Context, token ballast.Secret) (engine.Principal, error) {
	h, err := i.Verifier.Authenticate(ctx, token.Reveal())
	return engine.Principal{ID: h.ID, Name: h.Name, Grants: h.Grants, ExpiresAt: ballast.At(h.Expires)}, err
}

// openIdentity reads the rules and begins to fetch the issuers' keys. An issuer that does not answer is no reason not to
// start.
func (s *serving) openIdentity() error {
	if s.cmd.AnonymousRead {
		s.log.Info("the models of global are read without a token, too (--anonymous-read)")
	}
	issuers, err := s.cmd.OIDC.issuers()
	if err != nil || len(issuers) == 0 {
		return err
	}
	verifier, err := oidc.New(issuers, oidc.Options{Logger: s.log})
	if err != nil {
		return fmt.Errorf("--oidc-rules %s: %w", s.cmd.OIDC.Rules, err)
	}
	s.onClose(verifier.Close)
	s.identity = identity{verifier}
	var urls []string
	for _, i := range issuers {
		urls = append(urls, i.URL)
	}
	slices.Sort(urls)
	s.log.Info("takes the tokens of other issuers too", slog.String("issuers", strings.Join(urls, " ")), slog.String("rules", s.cmd.OIDC.Rules))
	return nil
}
