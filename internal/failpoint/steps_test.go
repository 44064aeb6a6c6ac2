package failpoint_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stepless are the calls that write past every step in one file of index or engine. Of the index that is a transaction of
// its store, of the bucket a write by anything but the engine's fenced bucket, the methods of which are the steps; its Put
// alone has several, which its callers name.
func stepless(file *ast.File) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if text(call.Fun) == "failpoint.Do" {
				return false
			}
			if m, ok := call.Fun.(*ast.SelectorExpr); ok && len(call.Args) > 1 && strings.HasSuffix(text(call.Args[0]), "ctx") && writesBucket(text(m.X), m.Sel.Name) {
				found = append(found, text(m))
			}
		}
		if m, ok := n.(*ast.SelectorExpr); ok && m.Sel.Name == "Update" && strings.HasSuffix(strings.ToLower(text(m.X)), "store") {
			found = append(found, text(m))
		}
		return true
	})
	return found
}

func writesBucket(on, method string) bool {
	switch {
	case on == "e.index" || !slices.Contains([]string{"Put", "PutFile", "Delete", "DeleteMatch", "Copy", "CreateMultipart", "CompleteMultipart", "AbortMultipart"}, method):
		return false
	case on == "e.bucket" || on == "at.bucket": // both are fenced
		return method == "Put"
	}
	return true
}

// text is a name, or names with dots between; of anything else it is empty.
func text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return text(e.X) + "." + e.Sel.Name
	}
	return ""
}

// TestEveryWriteIsAStep reads the sources of index and engine: what writes to the index or the bucket goes through Do, so
// that no crash test passes it over.
func TestEveryWriteIsAStep(t *testing.T) {
	allowed := map[string]bool{
		"index.go: x.store.Update": true, // of Writable, which writes nothing
		"quiet.go: q.Store.Update": true, // behind x.store.Update
		"fence.go: f.Bucket.Put":   true, // behind e.bucket.Put, which is looked at where it is called

		"fsck_places.go: f.bucket.Delete": true, // of a bucket that is fenced, as is e.bucket
	}
	files := 0
	for _, folder := range []string{"../index", "../engine"} {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files++
			for _, call := range stepless(parse(t, string(source))) {
				where := fmt.Sprintf("%s: %s", filepath.Base(name), call)
				if !allowed[where] {
					t.Errorf("%s is no step: take it through failpoint.Do", where)
				}
				delete(allowed, where)
			}
		}
	}
	if len(allowed) > 0 || files < 50 {
		t.Errorf("%d files were read, and %v not found: the test is blind", files, allowed)
	}
}

// TestWritesPastStepsAreFound is the control.
func TestWritesPastStepsAreFound(t *testing.T) {
	for source, want := range map[string]int{
		`x.store.Update(ctx, fn)`:                  1,
		`x.skipping(ctx, x.store.Update, fn)`:      1,
		`e.bucket.Put(ctx, key, body, cond)`:       1,
		`o.bucket.Put(wctx, key, body, cond)`:      1,
		`f.Bucket.Delete(ctx, key)`:                1,
		`b.AbortMultipart(ctx, key, id)`:           1,
		`o.Store.DeleteMatch(ctx, key, etag)`:      1,
		`at.bucket.DeleteMatch(ctx, key, etag)`:    0,
		`e.bucket.Delete(ctx, key)`:                0,
		`e.index.Delete(ctx, key, change, record)`: 0,
		`x.update(ctx, failpoint.Seal, fn)`:        0,
		`failpoint.Do(ctx, s, func(ctx context.Context) error { return x.store.Update(ctx, fn) })`: 0,
	} {
		if found := stepless(parse(t, "package p\nfunc f() { "+source+" }")); len(found) != want {
			t.Errorf("%s: found %q, want %d", source, found, want)
		}
	}
}

func parse(t *testing.T, source string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
