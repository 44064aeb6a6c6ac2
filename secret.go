package ballast

import (
	"fmt"
	"log/slog"
)

// Secret is a token as its holder knows it. Printed, logged or marshalled, as itself or as a field of something else, it
// reads [redacted]; what has to show it says so by Reveal.
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns what stands for the secret. A missing one is "".
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String whatever the verb: one that does not fit a text would else print the secret in its complaint. What
// fmt does not ask about it, %p and a %w that wraps nothing, vet refuses.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, so that no document has the secret in it by accident. What is read back
// from one is the text as it stands there.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
