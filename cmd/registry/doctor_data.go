package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast/internal/s3dev"
)

// examineData looks at the data folder. Where there is none yet, it looks at the place where it would be, in a folder that done
// removes.
func (d *doctorCmd) examineData(a *app, found *diagnosis) (folder string, done func(), err error) {
	folder, err = dataFolder(a.env, d.Data)
	if err != nil {
		return "", nil, err
	}
	done = func() {}
	f := finding{Name: "data_folder", State: stateOK, Seen: folder + " can be written to", Claim: "the data folder can be written to",
		Cost: "the registry does not start", Remedy: "chown it to the user who runs the registry, or name another folder with --data"}
	parent, err := nearest(folder)
	if err == nil && parent != folder {
		f.Seen = folder + " is not there yet, and can be made"
		var trial string
		if trial, err = os.MkdirTemp(parent, ".ballast-doctor-"); err == nil {
			folder, done = trial, func() { _ = os.RemoveAll(trial) }
		}
	}
	if err == nil {
		err = tryToWrite(folder)
	}
	if err != nil {
		done()
		f.State, f.Seen = stateUnsafe, fmt.Sprintf("%s cannot be used: %v", folder, err)
		found.add(f)
		if folder, err = os.MkdirTemp("", "ballast-doctor-"); err != nil {
			return "", nil, err
		}
		return folder, func() { _ = os.RemoveAll(folder) }, nil
	}
	found.add(f)
	for _, check := range []func(string) finding{d.diskFree, fileSystem, durable, d.recordKey, clockSynchronised} {
		found.add(check(folder))
	}
	found.add(d.modes(folder))
	return folder, done, nil
}

// nearest is the folder, or the first above it that is there.
func nearest(folder string) (string, error) {
	for {
		info, err := os.Stat(folder)
		switch {
		case err == nil && !info.IsDir():
			return "", fmt.Errorf("%s is a file", folder)
		case err == nil:
			return folder, nil
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(folder) == folder:
			return "", err
		}
		folder = filepath.Dir(folder)
	}
}

func (d *doctorCmd) diskFree(folder string) finding {
	f := finding{Name: "disk_free", State: stateOK, Claim: "the disk of the index has room",
		Cost: "changes are refused once the disk is nearly full, and reads go on", Remedy: "make room on the disk of " + folder}
	least, _ := d.minFree() // which was checked
	free, err := freeBytes(folder)
	f.Seen = humanize.IBytes(uint64(max(free, 0))) + " are free"
	switch {
	case err != nil:
		f.State, f.Seen = stateUnknown, err.Error()
	case free < least:
		f.State = stateUnsafe
	case free < 4*least:
		f.State = stateWarning
	}
	return f
}

// fileSystem judges where the index lies: it is mapped into memory and locked, which network file systems do in part.
func fileSystem(folder string) finding {
	f := finding{Name: "filesystem", State: stateOK, Claim: "the index lies on a local file system"}
	name, err := fileSystemOf(folder)
	f.Seen = name
	switch {
	case err != nil:
		f.State, f.Seen = stateUnknown, err.Error()
	case slices.Contains([]string{"nfs", "smb", "cifs", "9p", "afs", "ceph"}, name):
		f.State, f.Cost = stateUnsafe, "locks and mapped files of a network file system do not keep what the index relies on: two services may write it, and a broken connection damages it"
		f.Remedy = "keep --data on a local disk or a block volume; the models are in the bucket anyway"
	case slices.Contains([]string{"tmpfs", "ramfs", "overlay"}, name):
		f.State, f.Cost = stateWarning, "the index and the key of the records are gone with the machine or the container"
		f.Remedy = "mount a volume there, or name a folder on one with --data"
	}
	return f
}

// durable times what each change waits for.
func durable(folder string) finding {
	f := finding{Name: "fsync", State: stateOK, Claim: "what is written is on the disk when the disk says so",
		Cost: "each change waits for this", Remedy: "use a disk with a cache that survives power loss, or an SSD"}
	began := time.Now()
	file, err := os.CreateTemp(folder, ".doctor-*")
	if err == nil {
		_, err = file.WriteString("ballast doctor")
		err = errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()), syncFolder(folder))
	}
	took := time.Since(began).Round(100 * time.Microsecond)
	f.Seen = fmt.Sprintf("a small file is there after %s", took)
	switch {
	case err != nil:
		f.State, f.Seen, f.Cost = stateUnsafe, err.Error(), "what was answered as done may be gone after a power cut"
	case took > 250*time.Millisecond:
		f.State = stateWarning
	}
	return f
}

func syncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// recordKey: beside an index there has to be the key that signs its records.
func (d *doctorCmd) recordKey(folder string) finding {
	f := finding{Name: "record_key", State: stateOK, Seen: "it is there", Claim: "the key that signs the records is beside the index",
		Cost: "the registry does not start, and no record can be proved", Remedy: "put the copy of it back, or name it with --record-key FILE"}
	path := filepath.Join(folder, recordKeyFile)
	if d.RecordKey != "" {
		path = d.RecordKey
	}
	if _, err := os.Stat(path); err == nil {
		return f
	}
	if _, err := os.Stat(filepath.Join(folder, indexFile)); err == nil || d.RecordKey != "" {
		f.State, f.Seen = stateUnsafe, path+" is not there"
		return f
	}
	f.Seen = "the first start makes it: keep a copy of it elsewhere then"
	return f
}

// modes looks at who may read the secrets. The group is left out, as at a start: what mounts volumes gives it rights.
func (d *doctorCmd) modes(folder string) finding {
	f := finding{Name: "permissions", State: stateOK, Seen: "only the registry's user and group get at its secrets", Claim: "others on this machine cannot get at keys, tokens and the index",
		Cost: "whoever reads them can forge records, or act as the first admin"}
	var open, remedies []string
	look := func(path string, mode os.FileMode, chmod string) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&mode != 0 {
			open, remedies = append(open, path), append(remedies, chmod+shellQuote(path))
		}
	}
	look(folder, 0o002, "chmod o-w ")
	for _, path := range d.secretFiles(folder) {
		look(path, 0o006, "chmod o-rw ")
	}
	if len(open) > 0 {
		f.State, f.Seen, f.Remedy = stateUnsafe, "others get at "+strings.Join(open, ", "), strings.Join(remedies, "; ")
	}
	return f
}

func clockSynchronised(string) finding {
	f := finding{Name: "clock_synchronised", State: stateOK, Seen: "the system says so", Claim: "something sets this machine's clock",
		Cost: "it drifts until the store refuses every signature", Remedy: "run an NTP client: `timedatectl set-ntp true`"}
	switch synchronised, err := clockIsSet(); {
	case err != nil:
		f.State, f.Seen = stateUnknown, err.Error()
	case !synchronised:
		f.State, f.Seen = stateWarning, "the system says that nothing does"
	}
	return f
}

// storeToExamine finds the store: that of the settings, the embedded one of a service that runs, or one that is started for as
// long as it is looked at. Where none ever ran, what it makes is removed.
func (s *serving) storeToExamine(ctx context.Context) (err error) {
	if !s.cmd.S3.embedded() {
		s.store = s.cmd.S3.config()
		return nil
	}
	running, err := s3dev.Running(s.data)
	if err != nil {
		return err
	}
	if running != nil {
		s.store = s.cmd.embeddedConfig(running)
		return nil
	}
	data := s.data
	if _, err := os.Stat(filepath.Join(data, storeKeysFile)); errors.Is(err, fs.ErrNotExist) {
		if data, err = os.MkdirTemp(data, ".doctor-*"); err != nil {
			return err
		}
		s.onClose(func() error { return os.RemoveAll(data) })
	}
	examined := *s.cmd
	examined.S3.Listen = "127.0.0.1:0"
	if s.embedded, s.store, err = examined.startEmbedded(ctx, data, s.log.With(slog.String(attrStore, "embedded"))); err != nil {
		return err
	}
	s.store.PublicEndpoint = "" // nobody listens there now
	s.onClose(func() error { s.embedded.Close(); return nil })
	return nil
}

// address is where an API would be bound.
func address(listen string) net.Addr {
	return named(listen)
}

type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }
