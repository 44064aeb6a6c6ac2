package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// maxSettingsBytes bounds the settings file.
const maxSettingsBytes = 1 << 20

// settingsFile is a flag that names a YAML or JSON file with the command's other settings: a flat map of flag names,
// with "-" or "_". Flags and environment variables win over it. An unknown name is refused, and so is what acts once
// and is no setting, which has no variable either. What only the service has is passed over by commands that work with its file.
type settingsFile string

// BeforeResolve reads the file and has kong look settings up in it.
func (settingsFile) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(settingsFile))
	values, err := readSettings(path)
	if err != nil {
		return fmt.Errorf("--%s: %w", trace.Flag.Name, err)
	}
	known := map[string]bool{}
	for _, command := range ctx.Model.Leaves(false) {
		if command.Name != "serve" {
			continue
		}
		for _, f := range slices.Concat(command.AllFlags(false)...) {
			known[f.Name] = len(f.Envs) > 0
		}
	}
	for _, f := range ctx.Flags() {
		known[f.Name] = len(f.Envs) > 0
	}
	for name := range values {
		if !known[name] {
			return fmt.Errorf("--%s %s: there is no setting %q", trace.Flag.Name, path, name)
		}
	}
	ctx.AddResolver(kong.ResolverFunc(values.resolve))
	return nil
}

// settings are the values of a settings file by flag name.
type settings map[string]any

func readSettings(path string) (settings, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSettingsBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSettingsBytes { // what is cut may read as something else
		return nil, fmt.Errorf("%s: over %d bytes are no settings", path, maxSettingsBytes)
	}
	values, err := parseSettings(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

func parseSettings(b []byte) (settings, error) {
	raw, rest := settings{}, yaml.Node{}
	// JSON is YAML. A file of comments only is an empty map.
	document := yaml.NewDecoder(bytes.NewReader(b))
	if err := document.Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := document.Decode(&rest); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the settings: write one map, without --- after it")
	}
	values := make(settings, len(raw))
	for typed, value := range raw {
		switch value.(type) {
		case string, bool, int:
		default:
			return nil, fmt.Errorf("setting %q: write a text, a number, true or false", typed)
		}
		name := strings.ReplaceAll(typed, "_", "-")
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("setting %q is there twice, with _ and with -: leave one", name)
		}
		values[name] = value
	}
	return values, nil
}

// resolve hands out a flag's value, except where the environment has one: kong would prefer the file's.
func (s settings) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	return s[flag.Name], nil
}
