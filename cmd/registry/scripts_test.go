package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/internal/s3dev"
	"github.com/ballast-registry/ballast/internal/weights/weightstest"
	"github.com/ballast-registry/ballast/testenv"
)

// TestScripts runs testdata/*.txtar against the real binary and one running registry. Each script has a tenant of its
// own, in $SCOPE, and a token that may write there. Beside the commands of testscript there are
//
//	exits CODE COMMAND…   runs a command and compares its exit code
//	onejson               stdout of the last command is exactly one JSON document
//	hold REF              opens an upload that holds the label and leaves it
//	nofiles REF           publishes a version without files
//	damage DIR            changes a byte of every file in a folder
//	inbox DIR FOLDER      puts the files of a folder into the scope's inbox, as somebody with the store's keys
//	weights FILE…         writes a safetensors or GGUF file of two tensors, 6 parameters
func TestScripts(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	service := startService(t, serveCommand(t, data, "--s3-listen", "127.0.0.1:0"))
	url := service.url(t)
	admin, err := client.TokenFile(filepath.Join(data, tokenFile))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			scope := strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")
			token, err := mint(t, url, admin, scope+"=writer")
			if err != nil {
				return err
			}
			e.Setenv("PATH", filepath.Dir(testenv.Binary(t))+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, ".config"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".state"))
			e.Setenv("SCOPE", scope)
			e.Setenv("DATA", data)
			e.Setenv("STORE", strings.Fields(strings.ReplaceAll(service.after(t, "store    "), ",", ""))[0])
			e.Setenv("ADMIN_TOKEN", string(admin))
			e.Setenv(envURL, url)
			e.Setenv(envToken, string(token))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "onejson": oneJSON, "hold": hold, "nofiles": noFiles, "inbox": fillInbox, "weights": writeWeights, "damage": damage},
	})
}

func mint(t *testing.T, url string, admin client.Token, grant string) (client.Token, error) {
	c, err := client.New(client.Options{URL: url, Token: admin})
	if err != nil {
		return "", err
	}
	g, err := ballast.ParseGrant(grant)
	if err != nil {
		return "", err
	}
	info, err := c.CreateToken(t.Context(), ballast.CreateToken{Name: "script", Grants: []ballast.Grant{g}})
	return client.Token(info.Token), err
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failed := (*exec.ExitError)(nil)
		if !errors.As(err, &failed) {
			ts.Fatalf("%v", err)
		}
		got = failed.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func oneJSON(ts *testscript.TestScript, neg bool, _ []string) {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var v any
	err := dec.Decode(&v)
	if err == nil {
		if _, end := dec.Token(); end != io.EOF {
			err = errors.New("something follows the document")
		}
	}
	if (err != nil) != neg {
		ts.Fatalf("stdout as one JSON document: %v", err)
	}
}

func fillInbox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: inbox DIR FOLDER")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := objstore.Open(ctx, objstore.Config{
		Endpoint: ts.Getenv("STORE"), Bucket: s3dev.Bucket, PathStyle: true,
		Service: objstore.Identity{File: filepath.Join(ts.Getenv("DATA"), "s3.credentials")},
	})
	ts.Check(err)
	dir := os.DirFS(ts.MkAbs(args[0]))
	ts.Check(fs.WalkDir(dir, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(dir, path)
		if err == nil {
			_, err = store.Put(ctx, "tenants/"+ts.Getenv("SCOPE")+"/inbox/"+args[1]+"/"+path, body, objstore.Condition{})
		}
		return err
	}))
}

func writeWeights(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: weights FILE…")
	}
	for _, file := range args {
		tensors := []ballast.TensorInfo{weightstest.Tensor("layer.0", "F32", 16, 2, 2), weightstest.Tensor("norm", "BF16", 4, 2)}
		b := weightstest.Safetensors(tensors...)
		if filepath.Ext(file) == ".gguf" {
			b = weightstest.GGUF(tensors...)
		}
		ts.Check(os.WriteFile(ts.MkAbs(file), b, 0o644))
	}
}

func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage DIR")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[0] ^= 1
		return errors.Join(os.Remove(path), os.WriteFile(path, b, 0o444))
	}))
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold REF")
	}
	openUpload(ts, args[0])
}

func noFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nofiles REF")
	}
	c, u := openUpload(ts, args[0])
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	u, err := c.Commit(ctx, u.ID, ballast.CommitRequest{Files: []ballast.File{}, Metadata: ballast.Metadata{Task: "ner"}})
	for err == nil && !u.Status.Settled() {
		u, err = c.Upload(ctx, u.ID, 10*time.Second)
	}
	ts.Check(err)
}

func openUpload(ts *testscript.TestScript, target string) (*client.Client, ballast.Upload) {
	ref, err := ballast.ParseRef(target)
	ts.Check(err)
	c, err := client.New(client.Options{URL: ts.Getenv(envURL), Token: client.Token(ts.Getenv(envToken))})
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	u, err := c.CreateUpload(ctx, ballast.CreateUpload{Name: ref.Name, Version: ref.Version, Attempt: "held-by-a-dead-publisher"})
	ts.Check(err)
	return c, u
}
