package tool

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// NodeModules returns the folder node_modules with what the package-lock.json of a pin names, and has npm install it first
// when it is not there. No script of a package runs.
func NodeModules(ctx context.Context, name string, log io.Writer) (string, error) {
	root, err := pins()
	if err != nil {
		return "", err
	}
	pin := filepath.Join(root, name)
	dir, err := home(pin, "package.json", "package-lock.json")
	if err != nil {
		return "", err
	}
	err = keep(dir, name, log, func(tmp string) error {
		cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		cmd.Dir = tmp
		cmd.Stdout, cmd.Stderr = log, log
		if err := copyFiles(tmp, pin, "package.json", "package-lock.json"); err != nil {
			return err
		}
		return cmd.Run()
	})
	return filepath.Join(dir, "node_modules"), err
}

func copyFiles(to, from string, names ...string) error {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil { //nolint:gosec // as it is in the repository
			return err
		}
	}
	return nil
}
