package hostile

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/client"
)

// canary is in everything that only the victim wrote and no attack names.
const canary = "canary"

// Options of a world.
type Options struct {
	URL   string       // of the registry
	Admin client.Token // an admin of global
	// Drop puts an object into the bucket, by its key below the registry's prefix, as the owner of the bucket would.
	Drop func(key string, body []byte)
}

// World is a registry with a victim, an attacker, and what is global. Each has a model "subject" with two versions, a
// champion, something in production; and the victim has more.
type World struct {
	t       testing.TB
	opt     Options
	wire    *wire
	callers []Caller

	theirs, nobodys things
	owner           *client.Client // the victim's admin
	token           client.Token   // the owner's
	other           string         // a second token of the attacker's
	before          map[string]string
}

// things are the values of the words that attacks are written with.
type things struct {
	words  map[string]string
	filler *strings.Replacer
	plain  *strings.Replacer // of what the victim has, and nobody, the same
}

func (g things) fill(text string) string   { return g.filler.Replace(text) }
func (g things) unfill(text string) string { return g.plain.Replace(text) }

// New fills a registry that has nothing in it yet.
func New(t testing.TB, opt Options) *World {
	t.Helper()
	w := &World{t: t, opt: opt, callers: callers()}
	w.wire = must(newWire(opt.URL))
	t.Cleanup(w.wire.close)
	words := map[string]string{}
	for _, scope := range []string{attacker, "global", Victim} {
		w.settle(scope, words)
	}
	for i, c := range w.callers {
		if c.known() {
			w.callers[i].token = string(w.mint("caller", c.Grants...))
		}
	}
	w.other = string(w.mint("second", "global=reader"))
	w.name(words)
	w.before = w.seen()
	return w
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("hostile: preparing the world: %v", err))
	}
	return v
}

func (w *World) client(token client.Token) *client.Client {
	return must(client.New(client.Options{URL: w.opt.URL, Token: token}))
}

func (w *World) mint(name string, grants ...string) client.Token {
	return client.Token(w.mintInfo(name, grants...).Token)
}

func (w *World) mintInfo(name string, grants ...string) ballast.TokenInfo {
	in := ballast.CreateToken{Name: name}
	for _, g := range grants {
		in.Grants = append(in.Grants, must(ballast.ParseGrant(g)))
	}
	return must(w.client(w.opt.Admin).CreateToken(w.t.Context(), in))
}

// settle gives a scope what each has, and notes what of it attacks name.
func (w *World) settle(scope string, words map[string]string) {
	ctx, who := w.t.Context(), "owner"
	if scope == Victim {
		who = canary
	}
	token := w.mint(who, scope+"=admin")
	c := w.client(token)
	for _, v := range []string{"1", "2"} {
		w.push(c, "subject:"+v, who, map[string]string{"w.safetensors": safetensors(scope + v), "config.json": "{}", "sub/" + scope + ".json": scope + v})
		must(c.Promote(ctx, ref("subject:"+v), "", 0))
	}
	must(c.SetAlias(ctx, ref("subject"), ref("x@champion").Alias, ref("x:1").Version, 0))
	u := must(c.CreateUpload(ctx, ballast.CreateUpload{Name: ref("opened").Name, Version: ref("x:1").Version, Attempt: rand.Text()}))
	switch scope {
	case attacker:
		words["mine"] = u.ID
	case Victim:
		w.owner, w.token = c, token
		w.more(c, u, words)
	}
}

// more gives the victim what nobody else has.
func (w *World) more(c *client.Client, open ballast.Upload, words map[string]string) {
	ctx := w.t.Context()
	secret := safetensors("what is the victim's alone")
	v := w.push(c, "subject:7.7.7", canary, map[string]string{"w.safetensors": secret, canary + ".bin": canary})
	w.push(c, "only-"+Victim+":1", canary, map[string]string{"w.safetensors": secret})
	alias := must(c.SetAlias(ctx, ref("subject"), ref("x@theirs").Alias, v.Version, 0))
	d := ballast.DigestOf([]byte(secret))
	must(c.Blobs(ctx, open.ID, ballast.BlobsRequest{Blobs: []ballast.BlobRequest{{Digest: ballast.DigestOf([]byte("on its way")), Size: 10}}}))
	for _, name := range []string{"imported", "also-imported"} {
		w.opt.Drop("tenants/"+Victim+"/inbox/"+canary+"/"+name+"/w.safetensors", []byte(safetensors(name)))
		m := must(c.CreateImport(ctx, ballast.CreateImport{Source: must(ballast.ParseSource("inbox:" + canary + "/" + name + "/")), Name: ref(name).Name}))
		for !m.Status.Settled() {
			m = must(c.Import(ctx, m.ID, 30*time.Second))
		}
		words["import"] = m.ID
	}
	words["upload"], words["version"], words["alias"] = open.ID, "7.7.7", "theirs"
	words["digest"], words["filehex"], words["size"] = v.Digest.String(), d.Encoded(), fmt.Sprint(len(secret))
	words["token"] = w.mintInfo(canary, Victim+"=reader").ID
	words["revision"] = fmt.Sprint(alias.Revision)
	words["bucket"] = strings.TrimSuffix(strings.TrimPrefix(must(c.Whoami(ctx)).Imports[0].Sources[0].String(), "s3://"), "tenants/"+Victim+"/inbox/")
	for name, path := range map[string]string{
		"models": "/v1/models?limit=1", "versions": "/v1/models/subject/versions?limit=1", "all": "/v1/versions?limit=1", "newest": "/v1/versions?limit=1&order=newest",
		"files": "/v1/models/subject/versions/1/files?limit=1", "imports": "/v1/imports?limit=1", "tokens": "/v1/tokens?limit=1",
		"production": "/v1/models/subject/production?limit=1", "events": "/v1/events",
	} {
		var page struct{ Cursor string }
		a := must(w.wire.exchange("GET", write("GET", path, w.wire.host, string(w.token), "", "")))
		if err := json.Unmarshal([]byte(a.Body), &page); err != nil || page.Cursor == "" {
			w.t.Fatalf("hostile: %s has no cursor: %s", path, a)
		}
		words["cursor:"+name] = page.Cursor
	}
}

func (w *World) push(c *client.Client, target, description string, files map[string]string) ballast.VersionInfo {
	dir := w.t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := cmp.Or(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			w.t.Fatal(err)
		}
	}
	pushed := must(c.Push(w.t.Context(), client.PushOptions{
		Path: dir, Target: ref(target), AttemptDir: w.t.TempDir(), Metadata: ballast.Metadata{Description: description, Tags: []string{description}},
	}))
	return pushed.Version
}

func ref(s string) ballast.Ref { return must(ballast.ParseRef(s)) }

// safetensors is a file that holds no tensor but says what it is of.
func safetensors(of string) string {
	header := fmt.Sprintf(`{"__metadata__":{"of":%q}}`, of)
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header
}

// name makes of the victim's words those of nobody: as long, and of the same form.
func (w *World) name(theirs map[string]string) {
	theirs["them"], theirs["THEM"], theirs["only"], theirs["name"] = Victim, strings.ToUpper(Victim), "only-"+Victim, "subject"
	derive(theirs)
	nobodys := map[string]string{}
	for word, value := range theirs {
		nobodys[word] = strings.ReplaceAll(strings.ReplaceAll(value, Victim, absent), strings.ToUpper(Victim), strings.ToUpper(absent))
	}
	nobodys["version"], nobodys["alias"] = "7.7.8", "nobody"
	nobodys["digest"], nobodys["filehex"] = ballast.DigestOf([]byte(rand.Text())).String(), ballast.DigestOf([]byte(rand.Text())).Encoded()
	nobodys["upload"], nobodys["import"] = must(uuid.NewV7()).String(), must(uuid.NewV7()).String()
	nobodys["token"] = rand.Text()[:len(theirs["token"])]
	derive(nobodys)
	var swap []string // of what the victim has for what nobody has
	for _, word := range []string{"digest", "filehex", "upload", "import", "token", "version"} {
		swap = append(swap, theirs[word], nobodys[word])
	}
	swap = append(swap, Victim, absent)
	for word, value := range theirs {
		at, err := base64.RawURLEncoding.DecodeString(value)
		if strings.HasPrefix(word, "cursor:") && err == nil {
			nobodys[word] = base64.RawURLEncoding.EncodeToString([]byte(strings.NewReplacer(swap...).Replace(string(at))))
		}
	}
	w.theirs, w.nobodys = newThings(theirs, theirs, nobodys), newThings(nobodys, theirs, nobodys)
}

// derive adds the other forms of a digest.
func derive(words map[string]string) {
	hexOf := strings.TrimPrefix(words["digest"], "sha256:")
	words["hex"], words["commit"], words["file"] = hexOf, hexOf[:40], "sha256:"+words["filehex"]
	words["key"], words["manifestkey"] = words["filehex"][:2]+"/"+words["filehex"], hexOf[:2]+"/"+hexOf
	words["checksum"], words["manifestsum"] = checksum(words["filehex"]), checksum(hexOf)
}

func checksum(hexOf string) string {
	return base64.StdEncoding.EncodeToString(must(hex.DecodeString(hexOf)))
}

// newThings fills with words, and takes for one what two kinds of words stand for.
func newThings(words map[string]string, kinds ...map[string]string) things {
	var fill, unfill []string
	for word, value := range words {
		fill = append(fill, "{"+word+"}", value)
	}
	for _, word := range []string{"them", "THEM", "digest", "key", "manifestkey", "hex", "commit", "filehex", "checksum", "manifestsum", "upload", "import", "token", "version", "alias"} {
		for _, kind := range kinds {
			unfill = append(unfill, kind[word], "<"+strings.ToLower(word)+">")
		}
	}
	return things{words, strings.NewReplacer(fill...), strings.NewReplacer(unfill...)}
}

// Token is the victim's own, of an admin: for controls that let somebody in with it.
func (w *World) Token() client.Token { return w.token }
