package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// TestResolveFormats fixes what each format looks like, on names that want quoting and a store that has a prefix, none,
// and is AWS.
func TestResolveFormats(t *testing.T) {
	ref, err := ballast.ParseRef("acme::llama/tiny::1")
	if err != nil {
		t.Fatal(err)
	}
	until := ballast.At(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC))
	file := func(path, sum string, url string) client.ResolvedFile {
		f := client.ResolvedFile{FileInfo: ballast.FileInfo{Path: path, SHA256: sum}, Key: "k/" + sum, URI: "s3://b/k/" + sum}
		if url != "" {
			f.Request = &ballast.SignedRequest{URL: url, ExpiresAt: until}
			until = ballast.At(until.Add(time.Hour))
		}
		return f
	}
	found := client.Resolved{
		// A key is text, and a registry may write anything there: comments are made of its parts.
		Version: ballast.VersionInfo{Key: "x\nrm -rf /", Scope: ref.Scope, Name: ref.Name, Version: ref.Version},
		Store:   ballast.StoreInfo{Endpoint: `http://s3"$x`, Region: "r", Bucket: "b", PathStyle: true},
		Files:   []client.ResolvedFile{file("-a/it's", "aa", "http://s3/a?x=1&y"), file(`"$q"`, "bb", `http://s3/"`), file("empty", "cc", "")},
	}
	aws := found
	aws.Store = ballast.StoreInfo{Region: "eu-west-1", Bucket: "b"}
	const head = "#!/bin/sh\n# acme::llama/tiny::1: sh THIS\nset -eu\nexport RCLONE_CONFIG=/notfound RCLONE_LOCAL_ENCODING=Slash,Ctl,Del,Dot RCLONE_S3_ENCODING=Slash,Ctl,Del,Dot\n"
	const other = `:s3,provider=Other,env_auth=true,no_check_bucket=true,region="r",endpoint="http://s3""$x",force_path_style=true:`
	const amazon = `:s3,provider=AWS,env_auth=true,no_check_bucket=true,region="eu-west-1":`
	for _, c := range []struct {
		format, dir string
		found       client.Resolved
		want        string
	}{
		{formatS3, "d", found, "s3://b/k/aa\t./d/-a/it's\ns3://b/k/bb\t./d/\"$q\"\ns3://b/k/cc\t./d/empty\n"},
		{formatS3, "/d/", found, "s3://b/k/aa\t/d/-a/it's\ns3://b/k/bb\t/d/\"$q\"\ns3://b/k/cc\t/d/empty\n"},
		{formatSHA256, "./d", found, "aa  ./d/-a/it's\nbb  ./d/\"$q\"\ncc  ./d/empty\n"},
		{formatURLs, "d", found, "# acme::llama/tiny::1: curl --config THIS\n# The URLs are good until 2026-11-22 08:00:00Z.\n" +
			"fail\nfail-early\ngloboff\ncreate-dirs\nparallel\nparallel-max = 8\n" +
			"url = \"http://s3/a?x=1&y\"\noutput = \"./d/-a/it's\"\n" +
			"url = \"http://s3/\\\"\"\noutput = \"./d/\\\"$q\\\"\"\n" +
			"url = \"file:///dev/null\"\noutput = \"./d/empty\"\n"},
		{formatS5cmd, "-d", found, "# acme::llama/tiny::1: AWS_REGION=r s5cmd --endpoint-url 'http://s3\"$x' run THIS\n" +
			"cp --raw s3://b/k/aa './-d/-a/it'\\''s'\ncp --raw s3://b/k/bb './-d/\"$q\"'\ncp --raw s3://b/k/cc ./-d/empty\n"},
		{formatS5cmd, "s3://c/d/", aws, "# acme::llama/tiny::1: AWS_REGION=eu-west-1 s5cmd run THIS\n" +
			"cp --raw s3://b/k/aa 's3://c/d/-a/it'\\''s'\ncp --raw s3://b/k/bb 's3://c/d/\"$q\"'\ncp --raw s3://b/k/cc s3://c/d/empty\n"},
		{formatRclone, ".", found, head + "rclone copyto '" + other + "b/k/aa' './-a/it'\\''s'\n" +
			"rclone copyto '" + other + "b/k/bb' './\"$q\"'\nrclone copyto '" + other + "b/k/cc' ./empty\n"},
		{formatRclone, "s3://c/d", aws, head + "rclone copyto '" + amazon + "b/k/aa' '" + amazon + "c/d/-a/it'\\''s'\n" +
			"rclone copyto '" + amazon + "b/k/bb' '" + amazon + "c/d/\"$q\"'\nrclone copyto '" + amazon + "b/k/cc' '" + amazon + "c/d/empty'\n"},
	} {
		var b bytes.Buffer
		write(&b, c.format, c.found, folder(c.dir))
		if got := b.String(); got != c.want {
			t.Errorf("%s in %s:\n%s\nwant:\n%s", c.format, c.dir, got, c.want)
		}
	}
}
