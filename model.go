package ballast

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

func asError(err error, e **Error) bool { return errors.As(err, e) }

// Status is the state of a version.
type Status string

// The states of a version. Sealed is seen only by exact version and only by writers.
const (
	StatusSealed  Status = "sealed"  // its record is being written; it will be ready
	StatusReady   Status = "ready"   // served
	StatusRetired Status = "retired" // refused for good, still resolves as provenance
	StatusDeleted Status = "deleted" // its label stays used
	StatusLost    Status = "lost"    // a rebuild found bytes missing; a push of the same files heals it
)

// UnmarshalText implements encoding.TextUnmarshaler. A status that is none of the five is an error: to take it for one of
// them would serve, or hide, what somebody decided otherwise.
func (s *Status) UnmarshalText(text []byte) error {
	switch got := Status(text); got {
	case StatusSealed, StatusReady, StatusRetired, StatusDeleted, StatusLost:
		*s = got
		return nil
	}
	return Errorf(CodeInvalid, "status %s: it is one of sealed, ready, retired, deleted, lost", quote(string(text)))
}

// Stage is what people decided about a version, whatever its status.
type Stage string

// The stages.
const (
	StageNone       Stage = "none"
	StageValidated  Stage = "validated"
	StageStaged     Stage = "staged"
	StageProduction Stage = "production"
	StageArchived   Stage = "archived"
	StageDeprecated Stage = "deprecated"
)

// Assurance says how a digest was established.
type Assurance string

// The assurances. A version has the weakest of its blobs: reread when any was re-read.
const (
	AssuranceStore  Assurance = "store"  // the store checked the signed SHA-256 of a single PUT
	AssuranceReread Assurance = "reread" // the service read the object back and hashed it
)

// Limits of one Metadata.
const (
	MaxMetadataBytes = 32 << 10 // as JSON
	// MaxMetadataDepth is how deep Config and Extra may nest. Decoders stop at some depth, and whatever holds a Metadata
	// adds to it: without a limit of its own, what was once accepted could not be read back.
	MaxMetadataDepth = 100
)

// Metadata describes a version. It has no part in its digest.
type Metadata struct {
	ModelType    string `json:"model_type,omitempty"`
	Task         string `json:"task,omitempty"`
	Backend      string `json:"backend,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	// BaseModel is the version this one was made from: any reference on the way in, its exact key from then on.
	BaseModel           string             `json:"base_model,omitempty"`
	Description         string             `json:"description,omitempty"`
	RegisteredBy        string             `json:"registered_by,omitempty"`
	Tags                []string           `json:"tags,omitempty"`
	Metrics             map[string]float64 `json:"metrics,omitempty"` // finite numbers
	InputDim            *int64             `json:"input_dim,omitempty"`
	OutputDim           *int64             `json:"output_dim,omitempty"`
	NumParameters       *int64             `json:"num_parameters,omitempty"`
	NumTrainingExamples *int64             `json:"num_training_examples,omitempty"`
	DatasetID           string             `json:"dataset_id,omitempty"`
	ConfigHash          string             `json:"config_hash,omitempty"`
	Config              json.RawMessage    `json:"config,omitempty"` // any JSON, kept as it came
	Extra               json.RawMessage    `json:"extra,omitempty"`  // any JSON, kept as it came
}

// Check refuses metadata that is over MaxMetadataBytes as JSON, or holds a task that none is called, an empty or
// repeated tag, a metric without a name or finite value, control characters outside the description, or a config or
// extra that nests deeper than MaxMetadataDepth.
func (m *Metadata) Check() error {
	texts := append([]string{m.ModelType, m.Backend, m.Architecture, m.BaseModel, m.RegisteredBy, m.DatasetID, m.ConfigHash}, m.Tags...)
	for name, value := range m.Metrics {
		if name == "" || math.IsNaN(value) || math.IsInf(value, 0) {
			return Errorf(CodeInvalid, "metric %s: needs a name and a finite number", quote(name))
		}
		texts = append(texts, name)
	}
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return Errorf(CodeInvalid, "metadata %s: holds a control character or invalid UTF-8", quote(s))
		}
	}
	if !utf8.ValidString(m.Description) {
		return Errorf(CodeInvalid, "description: invalid UTF-8")
	}
	if m.Task != "" {
		if err := CheckTask(m.Task); err != nil {
			return err
		}
	}
	seen := make(map[string]bool, len(m.Tags))
	for _, tag := range m.Tags {
		if tag == "" || seen[tag] {
			return Errorf(CodeInvalid, "tag %s is empty or repeated", quote(tag))
		}
		seen[tag] = true
	}
	b, err := json.Marshal(m)
	if err != nil {
		return Errorf(CodeInvalid, "metadata: not JSON").Because(err)
	}
	if len(b) > MaxMetadataBytes {
		return Errorf(CodeTooLarge, "metadata has %d bytes as JSON; at most %d", len(b), MaxMetadataBytes)
	}
	if max(depth(m.Config), depth(m.Extra)) > MaxMetadataDepth {
		return Errorf(CodeTooLarge, "config and extra nest at most %d arrays and objects; flatten them", MaxMetadataDepth)
	}
	return nil
}

// depth is how many arrays and objects valid JSON nests.
func depth(valid json.RawMessage) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(valid); i++ {
		switch c := valid[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			open++
			deepest = max(deepest, open)
		case c == ']' || c == '}':
			open--
		}
	}
	return deepest
}

// VersionInfo is a version as the API shows it.
type VersionInfo struct {
	Key       string        `json:"key"`
	Scope     Scope         `json:"scope"`
	Name      Name          `json:"name"`
	Version   Version       `json:"version"`
	Status    Status        `json:"status"`
	Stage     Stage         `json:"stage"`
	Digest    digest.Digest `json:"digest"`     // of the manifest
	ObjectKey string        `json:"object_key"` // of the manifest, relative to the registry's prefix
	Size      int64         `json:"size"`       // bytes of all files together
	Files     int           `json:"files"`
	Assurance Assurance     `json:"assurance,omitempty"`
	Weights   *Weights      `json:"weights,omitempty"` // left out when there are none, or they could not be read
	Aliases   []Alias       `json:"aliases,omitempty"` // of this version, sorted
	Metadata  Metadata      `json:"metadata"`
	CreatedBy string        `json:"created_by"`
	CreatedAt Time          `json:"created_at"`
	UpdatedAt Time          `json:"updated_at"`
	RetiredBy string        `json:"retired_by,omitempty"`
	RetiredAt Time          `json:"retired_at,omitzero"`
	Revision  int64         `json:"revision"` // grows by one with every change
}

// ModelInfo is a name as lists show it.
type ModelInfo struct {
	Scope     Scope   `json:"scope"`
	Name      Name    `json:"name"`
	Latest    Version `json:"latest,omitzero"` // left out when nothing is servable
	Versions  int     `json:"versions"`        // ready ones
	UpdatedAt Time    `json:"updated_at"`
}

// ModelsPage is one page of GET /v1/models.
type ModelsPage struct {
	Models []ModelInfo `json:"models"`
	Cursor string      `json:"cursor,omitempty"` // of the next page; left out at the end
}

// VersionsPage is one page of GET /v1/models/{name}/versions, the highest version first.
type VersionsPage struct {
	Versions []VersionInfo `json:"versions"`
	Cursor   string        `json:"cursor,omitempty"`
}

// FileInfo is one file of a version.
type FileInfo struct {
	Path      string   `json:"path"`
	Size      int64    `json:"size"`
	SHA256    string   `json:"sha256"` // bare hex
	MediaType string   `json:"media_type"`
	PartSize  int64    `json:"part_size,omitempty"` // of PartDigests
	Parts     []string `json:"parts,omitempty"`     // bare hex SHA-256 of each part, when they are known: hints, the whole file's sha256 decides
	// Chain, when it is known, is what SHA-256 has come to behind each link of LinkSize bytes but the last: the
	// intermediate hash values of FIPS 180-4, 6.2.2, as bare hex. With them links are hashed apart and at once, and prove the
	// whole file's sha256 together; wrong ones prove nothing.
	LinkSize int64          `json:"link_size,omitempty"`
	Chain    []string       `json:"chain,omitempty"`
	Request  *SignedRequest `json:"request,omitempty"` // with urls=true; left out for an empty file, which needs no request
}

// FilesPage is one page of a version's files in the order of their paths.
type FilesPage struct {
	Key    string        `json:"key"`
	Digest digest.Digest `json:"digest"` // of the manifest: what the files must add up to
	Files  []FileInfo    `json:"files"`
	Cursor string        `json:"cursor,omitempty"`
}

// AliasInfo is an alias and where it points.
type AliasInfo struct {
	Alias     Alias   `json:"alias"`
	Version   Version `json:"version"`
	UpdatedBy string  `json:"updated_by"`
	UpdatedAt Time    `json:"updated_at"`
	Revision  int64   `json:"revision"`
}

// MaxAliases bounds the aliases of one name.
const MaxAliases = 1000

// AliasesPage lists the aliases of a name, sorted.
type AliasesPage struct {
	Aliases []AliasInfo `json:"aliases"`
}

// SetAlias is the body of PUT …/aliases/{alias}. With If-Match the alias moves only from that revision.
type SetAlias struct {
	Version Version `json:"version"`
}

// CreateToken is the body of POST /v1/tokens. A token without an end is good until it is revoked.
type CreateToken struct {
	Name      string  `json:"name,omitempty"`       // who or what it is for, shown as created_by; default: the token's id
	Grants    []Grant `json:"grants"`               // at least one; the first names the principal's own scope
	ExpiresIn *int64  `json:"expires_in,omitempty"` // its life in seconds, 1 … MaxTokenSeconds; not together with ExpiresAt
	ExpiresAt Time    `json:"expires_at,omitzero"`  // when it ends, within the same bound
}

// RotateToken is the body of POST /v1/tokens/{id}/rotate.
type RotateToken struct {
	Overlap int64 `json:"overlap,omitempty"` // for how many seconds the secrets before stay good, 0 … MaxOverlapSeconds
}

// Bounds of a token's times, in seconds.
const (
	MaxTokenSeconds   = 100 * 365 * 24 * 3600
	MaxOverlapSeconds = 30 * 24 * 3600
)

// TokenInfo is a token as lists show it.
type TokenInfo struct {
	ID           string  `json:"id"`
	Name         string  `json:"name"`
	Grants       []Grant `json:"grants"`
	CreatedBy    string  `json:"created_by"`
	CreatedAt    Time    `json:"created_at"`
	ExpiresAt    Time    `json:"expires_at,omitzero"`    // left out: never
	LastUsedAt   Time    `json:"last_used_at,omitzero"`  // to the minute; left out: not yet
	RotatedAt    Time    `json:"rotated_at,omitzero"`    // when it got the secret that it has
	OverlapUntil Time    `json:"overlap_until,omitzero"` // until when secrets before it are good too
	Token        Secret  `json:"token,omitempty"`        // the secret: in the answer to its creation or rotation and never again
}

// IssuedToken is a TokenInfo that shows its secret when it is marshalled.
type IssuedToken struct {
	TokenInfo
	Token string `json:"token"`
}

// Issued is what answers the one who made a token or rotated it.
func (t TokenInfo) Issued() IssuedToken { return IssuedToken{t, t.Token.Reveal()} }

// TokensPage is one page of GET /v1/tokens.
type TokensPage struct {
	Tokens []TokenInfo `json:"tokens"`
	Cursor string      `json:"cursor,omitempty"`
}

// Whoami is the answer of GET /v1/whoami.
type Whoami struct {
	ID     string  `json:"id"`   // of the token; of an issuer's "oidc:", the issuer, "#" and the subject; "anonymous" without one
	Name   string  `json:"name"` // as created_by shows it, before "@"
	Scope  Scope   `json:"scope"`
	Grants []Grant `json:"grants"`
	// ExpiresAt is when the token ends; left out, never.
	ExpiresAt Time `json:"expires_at,omitzero"`
	// Imports are the places that it may import from, for each scope that it may write to.
	Imports []ImportSources `json:"imports"`
	Server  string          `json:"server"` // the service's version
	Time    Time            `json:"time"`   // the service's clock
}
