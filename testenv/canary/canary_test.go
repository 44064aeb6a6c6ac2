package canary_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast/testenv/canary"
)

// deaf is a test that keeps what it is told.
type deaf struct {
	testing.TB
	told []string
	ends []func()
}

func (d *deaf) Error(args ...any) { d.told = append(d.told, fmt.Sprint(args...)) }
func (d *deaf) Cleanup(f func())  { d.ends = append(d.ends, f) }
func (d *deaf) Output() io.Writer { return io.Discard }

// TestAPlantedLeakIsCaught, in the message, in an attribute, in an error, in a group, at any level; and what is none is not.
func TestAPlantedLeakIsCaught(t *testing.T) {
	const key = "a key of the store, 0123"
	canary.Secret(key)
	token := "bal_0123456789_" + strings.Repeat("a1B2", 12)[:46]
	url := "https://store/models/x?X-Amz-Expires=60&X-Amz-Signature=" + strings.Repeat("0a", 32)
	leaks := map[string]func(*slog.Logger){
		"a token":              func(l *slog.Logger) { l.Info("token " + token) },
		"as an attribute":      func(l *slog.Logger) { l.Debug("minted", "token", token) },
		"a token of HF's form": func(l *slog.Logger) { l.Debug("asked", "header", "hf_"+token) },
		"a signed URL":         func(l *slog.Logger) { l.Error("get failed", "error", fmt.Errorf("Get %q: %w", url, errors.New("EOF"))) },
		"a signed URL, escaped": func(l *slog.Logger) {
			l.Warn("redirect", "to", "/?to="+strings.NewReplacer("=", "%3D", "&", "%26").Replace(url))
		},
		"a header":               func(l *slog.Logger) { l.Debug("request", "Authorization", "Bearer 0123456789abcdef0123") },
		"a session":              func(l *slog.Logger) { l.Debug("x", slog.Group("g", "url", "?x-amz-security-token=FwoGZXIvYXdzE")) },
		"a key":                  func(l *slog.Logger) { l.Info("settings", "keys", struct{ ID, Secret string }{"AKID", key}) },
		"a key in hex":           func(l *slog.Logger) { l.Info(hex.EncodeToString([]byte(key))) },
		"a key in base64":        func(l *slog.Logger) { l.Info(base64.StdEncoding.EncodeToString([]byte(key))) },
		"a token of an identity": func(l *slog.Logger) { l.Info("x", "jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.") },
	}
	for name, leak := range leaks {
		d := &deaf{TB: t}
		leak(canary.Log(d, slog.LevelWarn))
		if len(d.told) != 1 {
			t.Errorf("%s was not noticed", name)
		}
	}
	d := &deaf{TB: t}
	l := canary.Log(d, canary.Quiet)
	before := canary.Lines()
	for _, text := range []string{"the Authorization header must read: Bearer <token>", "bal_0123456789", "X-Amz-Signature", "token revoked", "GET /v1/models/tiny"} {
		l.Info(text)
	}
	if len(d.told) > 0 || canary.Lines() != before+5 {
		t.Errorf("told of %q after %d lines", d.told, canary.Lines()-before)
	}
	d.ends[0]()
	l.Info(token)
	if late := canary.Late(); len(late) != 1 || len(d.told) > 0 {
		t.Errorf("a leak after the end of its test: %q", late)
	}
	canary.Forget()
}
