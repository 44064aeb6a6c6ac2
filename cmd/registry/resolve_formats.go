package main

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// The formats of ballast resolve.
const (
	formatJSON   = "json"
	formatS3     = "s3"
	formatURLs   = "urls"
	formatS5cmd  = "s5cmd"
	formatRclone = "rclone"
	formatSHA256 = "sha256"
)

// write writes a format other than JSON.
//
// Paths hold neither control characters nor backslashes (ballast.CheckPath), and lead with "./" or "/": no format has to
// fear a line end, and no program takes a path for a flag, a remote or a URL.
func write(w *bytes.Buffer, format string, r client.Resolved, dir folder) {
	switch format {
	case formatS3:
		writeS3(w, r, dir)
	case formatURLs:
		writeURLs(w, r, dir)
	case formatS5cmd:
		writeS5cmd(w, r, dir)
	case formatRclone:
		writeRclone(w, r, dir)
	case formatSHA256:
		writeSHA256(w, r, dir)
	}
}

const s3Scheme = "s3://"

func isControl(r rune) bool { return unicode.IsControl(r) }

// folder is where files are to lie: here, or in a bucket.
type folder string

func (f folder) inStore() bool { return strings.HasPrefix(string(f), s3Scheme) }

// at is where a file is to lie.
func (f folder) at(file string) string {
	switch dir := string(f); {
	case f.inStore():
		return strings.TrimRight(dir, "/") + "/" + file
	case path.IsAbs(dir):
		return path.Join(dir, file)
	default:
		return "./" + path.Join(dir, file)
	}
}

// keyOf is the version's key from its parts, which were parsed: comments end with the line.
func keyOf(v ballast.VersionInfo) string {
	return ballast.Key{Scope: v.Scope, Name: v.Name, Version: v.Version}.String()
}

func writeS3(w *bytes.Buffer, r client.Resolved, dir folder) {
	for _, f := range r.Files {
		fmt.Fprintf(w, "%s\t%s\n", f.URI, dir.at(f.Path))
	}
}

func writeSHA256(w *bytes.Buffer, r client.Resolved, dir folder) {
	for _, f := range r.Files {
		fmt.Fprintf(w, "%s  %s\n", f.SHA256, dir.at(f.Path))
	}
}

// writeURLs writes a configuration of curl. An empty file has no URL, as no store serves a range of it; it is made from
// nothing.
func writeURLs(w *bytes.Buffer, r client.Resolved, dir folder) {
	var until ballast.Time // of the URL that expires first
	for _, f := range r.Files {
		if f.Request != nil && (until.IsZero() || f.Request.ExpiresAt.Before(until.Time)) {
			until = f.Request.ExpiresAt
		}
	}
	fmt.Fprintf(w, "# %s: curl --config THIS\n", keyOf(r.Version))
	if !until.IsZero() {
		fmt.Fprintf(w, "# The URLs are good until %s.\n", when(until))
	}
	fmt.Fprint(w, "fail\nfail-early\ngloboff\ncreate-dirs\nparallel\nparallel-max = 8\n")
	for _, f := range r.Files {
		from := "file:///dev/null"
		if f.Request != nil {
			from = f.Request.URL
		}
		fmt.Fprintf(w, "url = %s\noutput = %s\n", curlQuote(from), curlQuote(dir.at(f.Path)))
	}
}

// curlQuote writes s as curl's configuration reads it back.
func curlQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// writeS5cmd writes commands for s5cmd run, which splits lines as a shell does. Raw copies take * and ? for what they are.
func writeS5cmd(w *bytes.Buffer, r client.Resolved, dir folder) {
	endpoint := ""
	if r.Store.Endpoint != "" {
		endpoint = " --endpoint-url " + shellQuote(r.Store.Endpoint)
	}
	fmt.Fprintf(w, "# %s: AWS_REGION=%s s5cmd%s run THIS\n", keyOf(r.Version), shellQuote(r.Store.Region), endpoint)
	for _, f := range r.Files {
		fmt.Fprintf(w, "cp --raw %s %s\n", shellQuote(f.URI), shellQuote(dir.at(f.Path)))
	}
}

// writeRclone writes a shell script that needs no configuration of rclone: the remote is spelled out. In names rclone
// takes some characters to stand for others, but where it is told that a backend's encoding is its own.
func writeRclone(w *bytes.Buffer, r client.Resolved, dir folder) {
	remote := rcloneRemote(r.Store)
	fmt.Fprintf(w, "#!/bin/sh\n# %s: sh THIS\nset -eu\n", keyOf(r.Version))
	const own = "Slash,Ctl,Del,Dot"
	fmt.Fprintf(w, "export RCLONE_CONFIG=/notfound RCLONE_LOCAL_ENCODING=%s RCLONE_S3_ENCODING=%s\n", own, own)
	for _, f := range r.Files {
		to := dir.at(f.Path)
		if dir.inStore() {
			to = remote + strings.TrimPrefix(to, s3Scheme)
		}
		fmt.Fprintf(w, "rclone copyto %s %s\n", shellQuote(remote+r.Store.Bucket+"/"+f.Key), shellQuote(to))
	}
}

// rcloneRemote is the store as a connection string of rclone, with credentials from the environment or AWS's files.
func rcloneRemote(s ballast.StoreInfo) string {
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	options := []string{":s3", "provider=AWS", "env_auth=true", "no_check_bucket=true", "region=" + quote(s.Region)}
	if s.Endpoint != "" {
		options[1] = "provider=Other"
		options = append(options, "endpoint="+quote(s.Endpoint), fmt.Sprintf("force_path_style=%t", s.PathStyle))
	}
	return strings.Join(options, ",") + ":"
}
