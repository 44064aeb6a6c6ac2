package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/audit"
)

// auditFlags say where the audit of byte requests and refusals goes.
type auditFlags struct {
	Log       string        `env:"LOG" placeholder:"DIR" help:"Folder of the audit's files: who asked for bytes, and who was refused (default audit in the data folder); stdout writes lines there; off keeps none."`
	FileSize  string        `env:"FILE_SIZE" placeholder:"SIZE" default:"64MiB" help:"A file of the audit that has as much is followed by a new one; after a day it is anyway."`
	TotalSize string        `env:"TOTAL_SIZE" placeholder:"SIZE" default:"1GiB" help:"All files of the audit together; the oldest go first."`
	Age       time.Duration `env:"AGE" placeholder:"DURATION" default:"720h" help:"A file of the audit whose newest line is older goes."`
}

// Values of --audit-log that are no folder.
const (
	auditStdout = "stdout"
	auditOff    = "off"

	auditFolder = "audit" // in the data folder
)

func (f auditFlags) check() error {
	_, err := f.bounds()
	return err
}

// bounds reads the flags. Errors: invalid.
func (f auditFlags) bounds() (b audit.Bounds, err error) {
	for _, size := range []struct {
		flag, text string
		to         *int64
	}{{"--audit-file-size", f.FileSize, &b.File}, {"--audit-total-size", f.TotalSize, &b.Total}} {
		n, err := humanize.ParseBytes(size.text)
		if err != nil || n < 64<<10 || n > 1<<50 {
			return b, ballast.Errorf(ballast.CodeInvalid, "%s %q: write a size from 64KiB to 1PiB, as in 64MiB", size.flag, size.text)
		}
		*size.to = int64(n)
	}
	if b.Total < 2*b.File {
		return b, ballast.Errorf(ballast.CodeInvalid, "--audit-total-size %s: has to be twice --audit-file-size %s at least", f.TotalSize, f.FileSize)
	}
	if b.Age = f.Age; b.Age < time.Hour {
		return b, ballast.Errorf(ballast.CodeInvalid, "--audit-age %s: write an hour at least, as in 720h", f.Age)
	}
	return b, nil
}

// auditFolder is where the files are; "" when there are none.
func (s *serving) auditFolder() string {
	switch to := s.cmd.Audit.Log; to {
	case auditOff, auditStdout:
		return ""
	case "":
		return filepath.Join(s.data, auditFolder)
	default:
		return to
	}
}

// openAudit opens what lines go to. Its closing comes after all that could still answer a request.
func (s *serving) openAudit() error {
	var sink audit.Sink
	switch folder := s.auditFolder(); {
	case folder != "":
		bounds, err := s.cmd.Audit.bounds()
		if err != nil {
			return err
		}
		if sink, err = audit.OpenFolder(folder, bounds, time.Now); err != nil {
			return fmt.Errorf("%w\nName another folder with --audit-log DIR, or keep no audit with --audit-log off", err)
		}
	case s.cmd.Audit.Log == auditStdout:
		sink = audit.Stream{To: s.app.stdout}
	default:
		return nil
	}
	s.audit = audit.New(sink, audit.Options{Logger: s.log, Registerer: s.registry})
	s.onClose(s.audit.Close)
	return nil
}

func (s *serving) auditReader() *audit.Reader {
	if folder := s.auditFolder(); folder != "" {
		return audit.NewReader(folder)
	}
	return nil
}
