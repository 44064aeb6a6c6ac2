package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// maxSettingsBytes bounds the settings file.
const maxSettingsBytes = 1 << 20

// settingsFile is a flag that names a YAML or JSON file with the command's other settings: a flat map of flag names,
// with "-" or "_". Flags and environment variables win over it. An unknown name is refused, and so is what acts once
// and is no setting, which has no variable either.
type settingsFile string

// BeforeResolve reads the file and has kong look settings up in it.
func (settingsFile) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(settingsFile))
	values, err := readSettings(path)
	if err != nil {
		return fmt.Errorf("--%s: %w", trace.Flag.Name, err)
	}
	known := map[string]bool{}
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
	raw := settings{}
	// JSON is YAML. A file of comments only is an empty map.
	if err := yaml.NewDecoder(io.LimitReader(f, maxSettingsBytes)).Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	values := make(settings, len(raw))
	for name, value := range raw {
		switch value.(type) {
		case string, bool, int:
		default:
			return nil, fmt.Errorf("%s: setting %q: write a text, a number, true or false", path, name)
		}
		values[strings.ReplaceAll(name, "_", "-")] = value
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
