package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/atomicfile"
)

// The environment variables of the client.
const (
	envURL       = "BALLAST_URL"
	envToken     = "BALLAST_TOKEN"
	envTokenFile = "BALLAST_TOKEN_FILE"
)

// remote is what every command of the client takes.
type remote struct {
	URL       string `name:"url" placeholder:"URL" help:"Registry (BALLAST_URL; else what login remembered)."`
	TokenFile string `type:"path" placeholder:"FILE" help:"File with a token, read again for each request (BALLAST_TOKEN, BALLAST_TOKEN_FILE)."`
	JSON      bool   `name:"json" help:"Write one JSON document to stdout."`
}

// config is the client's file.
type config struct {
	URL   string       `json:"url"`
	Token client.Token `json:"token"`
}

// client returns the Client that flags, variables and file say, in that order.
func (r remote) client(a *app) (*client.Client, error) {
	saved, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	url := cmp.Or(r.URL, a.env(envURL), saved.URL)
	if url == "" {
		return nil, ballast.Errorf(ballast.CodeInvalid, "no registry: run `ballast login URL`, or export %s=https://…", envURL)
	}
	o := client.Options{URL: url, UserAgent: userAgent()}
	switch {
	case r.TokenFile != "":
		o.TokenSource = client.TokenFile(r.TokenFile)
	case a.env(envToken) != "":
		o.Token = client.Token(a.env(envToken))
	case a.env(envTokenFile) != "":
		o.TokenSource = client.TokenFile(a.env(envTokenFile))
	case saved.URL == url:
		o.Token = saved.Token
	}
	if o.Token == "" && o.TokenSource == nil {
		a.tokenless = url // which some registries let read
	}
	return client.New(o)
}

func userAgent() string { return "ballast/" + version }

// ourFolder is ballast's own below one of the XDG base directories: below what variable says, which is to be an
// absolute path, else below its default in the home folder. It is empty when there is neither.
func ourFolder(env func(string) string, variable, inHome string) string {
	if base := env(variable); filepath.IsAbs(base) {
		return filepath.Join(base, "ballast")
	}
	if home := env("HOME"); home != "" {
		return filepath.Join(home, inHome, "ballast")
	}
	return ""
}

// configPath is $XDG_CONFIG_HOME/ballast/config.json, by default under ~/.config.
func (a *app) configPath() (string, error) {
	dir := ourFolder(a.env, "XDG_CONFIG_HOME", ".config")
	if dir == "" {
		return "", ballast.Errorf(ballast.CodeInvalid, "no place for settings: set HOME or XDG_CONFIG_HOME")
	}
	return filepath.Join(dir, "config.json"), nil
}

// attemptDir is where a push remembers its upload; empty when there is no home.
func (a *app) attemptDir() string { return a.cacheDir("attempts") }

// cacheDir is a folder in $XDG_CACHE_HOME/ballast, by default ~/.cache/ballast; empty when there is no home.
func (a *app) cacheDir(name string) string {
	dir := ourFolder(a.env, "XDG_CACHE_HOME", ".cache")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// loadConfig reads the file; without one everything is empty.
func (a *app) loadConfig() (c config, err error) {
	path, err := a.configPath()
	if err != nil {
		return c, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		return c, ballast.Errorf(ballast.CodeInvalid, "settings %s: %w; mend it, or run `ballast login URL` to write it anew", path, err)
	}
	return c, nil
}

// forgetConfig removes the file and returns where it was, "" when there was none.
func (a *app) forgetConfig() (path string, err error) {
	if path, err = a.configPath(); err != nil {
		return "", nil //nolint:nilerr // without a place for it there is none
	}
	err = os.Remove(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("settings: %w", err)
	}
	return path, nil
}

// saveConfig replaces the file as a whole, readable by its owner only.
func (a *app) saveConfig(c config) (path string, err error) {
	if path, err = a.configPath(); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(map[string]string{"url": c.URL, "token": c.Token.Reveal()}, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("settings: %w", err)
	}
	if err := atomicfile.Replace(path, string(b)+"\n"); err != nil {
		return "", fmt.Errorf("settings: %w", err)
	}
	return path, nil
}
