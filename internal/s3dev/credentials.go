package s3dev

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/ballast-registry/ballast/internal/atomicfile"
)

// Keys are the store's one identity.
type Keys struct{ ID, Secret string }

// LogValue implements slog.LogValuer: the secret never reaches a log.
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.ID) }

// String implements fmt.Stringer without the secret.
func (k Keys) String() string { return k.ID }

// GoString implements fmt.GoStringer without the secret.
func (k Keys) GoString() string { return k.ID }

const (
	profileLine = "[default]"
	idField     = "aws_access_key_id"
	secretField = "aws_secret_access_key"
)

// loadOrMakeKeys reads the keys of file, or makes a random pair there at the first start.
func loadOrMakeKeys(file string) (Keys, error) {
	keys, err := ReadKeys(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	if err := makeKeys(file); err != nil && !errors.Is(err, fs.ErrExist) { // one that another process made meanwhile stays
		return Keys{}, fmt.Errorf("s3dev: making %s: %w", file, err)
	}
	return ReadKeys(file)
}

// makeKeys writes a new pair to file.
func makeKeys(file string) error {
	id := "BALLAST" + rand.Text()[:13] // 65 random bits, in the 20 characters that AWS tools expect
	secret := rand.Text() + rand.Text()[:14]
	return atomicfile.Create(file, fmt.Sprintf("# The keys of the embedded store. Keep them: clients of its S3 endpoint use them too.\n%s\n%s = %s\n%s = %s\n",
		profileLine, idField, id, secretField, secret))
}

// ReadKeys reads the default profile of a file in the AWS shared-credentials format. An absent file is fs.ErrNotExist.
func ReadKeys(file string) (Keys, error) {
	f, err := os.Open(file)
	if err != nil {
		return Keys{}, fmt.Errorf("s3dev: reading keys: %w", err)
	}
	defer f.Close()
	var keys Keys
	inDefault := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			inDefault = line == profileLine
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || !inDefault || strings.HasPrefix(line, "#") {
			continue
		}
		switch strings.TrimSpace(name) {
		case idField:
			keys.ID = strings.TrimSpace(value)
		case secretField:
			keys.Secret = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		return Keys{}, fmt.Errorf("s3dev: reading keys: %w", err)
	}
	if keys.ID == "" || keys.Secret == "" {
		return Keys{}, fmt.Errorf("s3dev: %s holds no key pair under %s: restore it, or remove it to have a new pair made", file, profileLine)
	}
	return keys, nil
}
