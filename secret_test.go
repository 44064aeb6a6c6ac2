package ballast_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ballast-registry/ballast"
)

// TestSecretsShowNothing: a secret is in nothing that is printed, logged or marshalled, however it gets there.
func TestSecretsShowNothing(t *testing.T) {
	const plain = "bal_0123456789_" + "canary"
	s := ballast.Secret(plain)
	info := ballast.TokenInfo{ID: "0123456789", Token: s}
	shown := map[string]string{}
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %t %T%v %e %c %U %100s") {
		for name, v := range map[string]any{"itself": s, "a pointer": &s, "a field": info, "a list": []ballast.Secret{s}, "a key": map[ballast.Secret]int{s: 1}} {
			shown[verb+" of "+name] = fmt.Sprintf(verb, v)
		}
	}
	for name, v := range map[string]any{"itself": s, "a field": info, "a page": ballast.TokensPage{Tokens: []ballast.TokenInfo{info}}} {
		shown["JSON of "+name] = string(must(json.Marshal(v)))
		var text, document bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&document, nil)).Info("m", "v", v)
		shown["log of "+name], shown["JSON log of "+name] = text.String(), document.String()
	}
	shown["an error"] = fmt.Errorf("with %v", s).Error()
	shown["an Error"] = ballast.Errorf(ballast.CodeInvalid, "with %s", s).Error()
	for what, text := range shown {
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) || strings.Contains(text, fmt.Sprintf("%X", "canary")) {
			t.Errorf("%s shows it: %s", what, text)
		}
	}
	if got := fmt.Sprintf("%s|%s", s, ballast.Secret("")); got != "[redacted]|" {
		t.Errorf("printed it is %q", got)
	}
	if s.Reveal() != plain {
		t.Errorf("revealed it is %q", s.Reveal())
	}
}

// TestIssuedTokenIsShown: what answers the creation of a token has its secret, and reads back with it.
func TestIssuedTokenIsShown(t *testing.T) {
	info := ballast.TokenInfo{ID: "0123456789", Name: "ci", Grants: []ballast.Grant{must(ballast.ParseGrant("acme::llama-*=writer"))}, Token: "bal_secret"}
	text := must(json.Marshal(info.Issued()))
	var back ballast.TokenInfo
	if err := ballast.StrictUnmarshal(text, &back); err != nil || back.Token != info.Token || back.ID != info.ID || back.Grants[0] != info.Grants[0] {
		t.Errorf("%s reads back as %+v, %v", text, back, err)
	}
	if strings.Count(string(text), "token") != 1 {
		t.Errorf("written %s", text)
	}
}
