package main

import (
	"log/slog"
	"os"
	"path/filepath"
)

const attrPath = "path"

// warnOfOpenFiles names what others on this machine can get at: the data folder, if they can put files of theirs into it, and the
// files that whoever reads them can use against the registry. It made them for its owner alone; a restore from a copy or a volume may have changed that. The group
// is not looked at: what mounts volumes gives it rights on purpose.
func (s *serving) warnOfOpenFiles() {
	s.warnOfMode(s.data, 0o002, "chmod o-w ")
	for _, path := range s.cmd.secretFiles(s.data) {
		s.warnOfMode(path, 0o006, "chmod o-rw ")
	}
}

// secretFiles are those that nobody but the registry may read, of which some may not be there.
func (c *serveCmd) secretFiles(data string) []string {
	secrets := []string{c.RecordKey, c.TLS.Key}
	for _, name := range []string{recordKeyFile, tokenFile, storeKeysFile, indexFile} {
		secrets = append(secrets, filepath.Join(data, name))
	}
	return secrets
}

func (s *serving) warnOfMode(path string, open os.FileMode, remedy string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&open == 0 { // one that is not there is nobody's
		return
	}
	s.log.Warn("others on this machine can get at it, and it is for the registry's user alone: "+remedy+shellQuote(path), slog.String(attrPath, path))
}
