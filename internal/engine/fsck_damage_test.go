package engine_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ballast-registry/ballast"
)

// damaged is a registry with one version of acme and one of global, which has ended, and the means to damage it: what lies
// in the bucket by whom it may be, and what the index keeps.
type damaged struct {
	vandal
	t     *testing.T
	index planter
}

// object is the first key that holds a text.
func (d damaged) object(with string) string {
	d.t.Helper()
	for _, key := range d.keys() {
		if strings.Contains(key, with) {
			return key
		}
	}
	d.t.Fatalf("no object with %q", with)
	return ""
}

// damage is one way to damage a registry, and what a check says of it. left is what it says after a repair.
type damage struct {
	before func(*testing.T, *rig) // while the registry runs
	plant  func(damaged)
	deep   bool
	want   []ballast.FindingKind
	left   []ballast.FindingKind
	status ballast.Status // of acme::m::1 after the repair; empty: ready
	// unless says of stores that cannot be damaged so, or that do not show it, why.
	unless map[string]string
}

const (
	record    = "tenants/acme/models/m/versions/1/00000001.json"
	sentParts = "sent in parts"
)

func weightsKey() string { return ballast.BlobKey(acme, digest.Digest("sha256:"+weights)) }

func keyOf(body string) string { return ballast.BlobKey(acme, ballast.DigestOf([]byte(body))) }

func lost(d damage) damage {
	d.left, d.status = kinds(ballast.FindingLost), ballast.StatusLost
	return d
}

// same is damage that a repair leaves as it is.
func same(d damage) damage {
	d.left = d.want
	return d
}

// bytesDamaged is what can be done to the objects of blobs.
func bytesDamaged() map[string]damage {
	return map[string]damage{
		"an object is gone":     lost(damage{want: kinds(ballast.FindingMissingBytes), plant: func(d damaged) { d.remove(weightsKey()) }}),
		"the manifest is gone":  lost(damage{want: kinds(ballast.FindingMissingBytes), plant: func(d damaged) { d.remove(ballast.BlobKey(acme, small("a").manifest())) }}),
		"an object is cut":      lost(damage{want: kinds(ballast.FindingWrongSize), plant: func(d damaged) { d.overwrite(weightsKey(), "cut") }}),
		"an object is cut off":  lost(damage{want: kinds(ballast.FindingWrongSize), plant: func(d damaged) { d.overwrite(weightsKey(), "") }}),
		"other bytes, vouched":  lost(damage{want: kinds(ballast.FindingWrongChecksum), plant: func(d damaged) { d.write(weightsKey(), "weights of z") }}),
		"other bytes of a size": lost(damage{want: kinds(ballast.FindingWrongETag), plant: func(d damaged) { d.overwrite(weightsKey(), "weights of z") }}),
		"other bytes, deep":     lost(damage{deep: true, want: kinds(ballast.FindingWrongBytes), plant: func(d damaged) { d.overwrite(weightsKey(), "weights of z") }}),
		"other bytes in parts":  lost(damage{want: kinds(ballast.FindingWrongETag), plant: func(d damaged) { d.inParts(weightsKey(), "weights of z") }}),
		"the same bytes again":  {want: kinds(ballast.FindingWrongETag), plant: func(d damaged) { d.inParts(weightsKey(), "weights of a") }},
		"a disk that rots": lost(damage{
			deep: true, want: kinds(ballast.FindingWrongBytes), plant: func(d damaged) { d.rot(weightsKey(), "weights of z") },
			unless: map[string]string{"minio": "it keeps checksums of its own beside the bytes, and gives out none that fail them"},
		}),
		"a disk that rots under a manifest": lost(damage{
			deep: true, want: kinds(ballast.FindingWrongBytes), plant: func(d damaged) {
				key := ballast.BlobKey(acme, small("a").manifest())
				d.rot(key, strings.Replace(d.read(key), "sha256", "SHA256", 1))
			},
			unless: map[string]string{"minio": "as above"},
		}),
		"a disk that rots, seen by its store": same(damage{
			deep: true, want: kinds(ballast.FindingBrokenBytes), plant: func(d damaged) { d.rot(weightsKey(), "weights of z") },
			unless: map[string]string{"mem": "it gives out what it has", "embedded": "it gives out what it has"},
		}),
	}
}

// strangersThings is what somebody can leave in the bucket.
func strangersThings() map[string]damage {
	return map[string]damage{
		"an object that nobody sent": same(damage{want: kinds(ballast.FindingOrphan), plant: func(d damaged) { d.write(keyOf("x"), "x") }}),
		"an object under a lie":      same(damage{want: kinds(ballast.FindingOrphan), plant: func(d damaged) { d.overwrite(keyOf("x"), "y") }}),
		"an object in another scope": same(damage{want: kinds(ballast.FindingOrphan), plant: func(d damaged) {
			d.write(ballast.BlobKey(scope("zeta"), ballast.DigestOf([]byte("x"))), "x")
		}}),
		"objects in scopes named after one": same(damage{want: kinds(ballast.FindingOrphan), plant: func(d damaged) {
			for _, tenant := range []string{"acme-b", "acme0"} { // before and behind acme in a listing
				d.write(ballast.BlobKey(scope(tenant), ballast.DigestOf([]byte("x"))), "x")
			}
		}}),
		"a key of no blob": same(damage{want: kinds(ballast.FindingForeign), plant: func(d damaged) { d.write("tenants/acme/blobs/sha256/zz/readme", "x") }}),
		"a blob in the folder of others": same(damage{want: kinds(ballast.FindingForeign), plant: func(d damaged) {
			d.write("tenants/acme/blobs/sha256/ff/"+strings.Repeat("0", 64), "x")
		}}),
		"keys of no place": same(damage{want: kinds(ballast.FindingForeign), plant: func(d damaged) {
			d.write("tenants/acme/tmp/x", "x")
			d.write("tenants/No Tenant/models/m", "x")
			d.write("backup.tar", "x")
		}}),
		"markers of folders": same(damage{want: kinds(ballast.FindingForeign), plant: func(d damaged) {
			for _, folder := range []string{"tenants/", "tenants/acme/", "tenants/acme/blobs/sha256/", "tenants/acme/models/m/"} {
				d.overwrite(folder, "")
			}
		}}),
		"what people drop to be imported": {plant: func(d damaged) { d.write("tenants/acme/inbox/m/model.bin", "x") }},
	}
}

// recordsDamaged is what can be done to version records.
func recordsDamaged() map[string]damage {
	return map[string]damage{
		"a record is gone":          same(damage{want: kinds(ballast.FindingRecordMissing), plant: func(d damaged) { d.remove(record) }}),
		"a record is none":          same(damage{want: kinds(ballast.FindingRecordForged), plant: func(d damaged) { d.overwrite(record, "{}") }}),
		"a record is empty":         same(damage{want: kinds(ballast.FindingRecordForged), plant: func(d damaged) { d.overwrite(record, "") }}),
		"a record is too large":     same(damage{want: kinds(ballast.FindingRecordForged), plant: func(d damaged) { d.overwrite(record, strings.Repeat("x", 1<<20)) }}),
		"a record was changed":      same(damage{want: kinds(ballast.FindingRecordForged), plant: func(d damaged) { d.write(record, strings.Replace(d.read(record), `"files":3`, `"files":4`, 1)) }}),
		"a record of another model": same(damage{want: kinds(ballast.FindingRecordForged), plant: func(d damaged) { d.write(record, d.read("global/models/g/versions/1/00000001.json")) }}),
		"a record of nobody's":      same(damage{want: kinds(ballast.FindingRecordUnknown), plant: func(d damaged) { d.write("tenants/acme/models/m/versions/9/00000001.json", "{}") }}),
		"a record moved to another version": same(damage{want: kinds(ballast.FindingRecordUnknown), plant: func(d damaged) {
			d.write("tenants/acme/models/m/versions/2/00000001.json", d.read(record))
		}}),
		"a record in the path of another tenant": same(damage{want: kinds(ballast.FindingRecordUnknown), plant: func(d damaged) {
			d.write(strings.Replace(record, "acme", "zeta", 1), d.read(record))
		}}),
		"a record added to a chain": same(damage{want: kinds(ballast.FindingRecordForged, ballast.FindingRecordUnknown), plant: func(d damaged) {
			d.write(strings.Replace(record, "1.json", "2.json", 1), d.read(record))
		}}),
		"a chain without its first": same(damage{want: kinds(ballast.FindingRecordMissing), before: retired, plant: func(d damaged) { d.remove(d.object("models/old/")) }}),
		"a chain without its last": same(damage{want: kinds(ballast.FindingRecordMissing), before: retired, plant: func(d damaged) {
			d.remove(d.object("models/old/versions/1/00000002.json"))
		}}),
		"a file among the records": same(damage{want: kinds(ballast.FindingForeign), plant: func(d damaged) { d.write("tenants/acme/models/m/versions/1/notes.txt", "x") }}),
	}
}

func retired(t *testing.T, r *rig) {
	r.mustPush(t, writer, "old:1", small("old"))
	r.mustRetire(t, keeper, "old:1")
}

// partsLeft is what can be left of multiparts.
func partsLeft() map[string]damage {
	byKey := map[string]string{"minio": "it lists the multiparts of exact keys alone, and drops each after a day"}
	return map[string]damage{
		"parts beside those of a push": same(damage{want: kinds(ballast.FindingStaleMultipart), before: sending, plant: func(d damaged) { d.open(keyOf(sentParts)) }}),
		"parts of a push":              {before: sending, plant: func(damaged) {}},
		"parts at a verified blob, deep": same(damage{
			deep: true, want: kinds(ballast.FindingStaleMultipart), plant: func(d damaged) { d.open(weightsKey()) },
		}),
		"parts at a verified blob": same(damage{want: kinds(ballast.FindingStaleMultipart), plant: func(d damaged) { d.open(weightsKey()) }, unless: byKey}),
		"parts of nobody":          same(damage{want: kinds(ballast.FindingStaleMultipart), plant: func(d damaged) { d.open(keyOf("x")) }, unless: byKey}),
		"parts of no blob":         same(damage{want: kinds(ballast.FindingStaleMultipart), plant: func(d damaged) { d.open("tenants/acme/tmp/x"); d.open("x") }, unless: byKey}),
		"parts that people send":   {plant: func(d damaged) { d.open("tenants/acme/inbox/x") }},
	}
}

// sending opens an upload whose file is on its way in parts.
func sending(t *testing.T, r *rig) { sendParts(t, r) }

func sendParts(t *testing.T, r *rig) (upload string) {
	t.Helper()
	u := must(r.open(t, writer, "open:1"))
	if err := r.sendBlob(t, writer, u.ID, ballast.DigestOf([]byte(sentParts)), []byte(sentParts), ballast.MethodMultipart); err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// indexDamaged is what can be wrong in the index, which is the same on every store.
func indexDamaged() map[string]damage {
	unless := map[string]string{"embedded": "the index is the same on every store", "minio": "the index is the same on every store"}
	all := map[string]damage{
		"an index behind its bucket":  same(damage{want: kinds(ballast.FindingRecordDiffers), plant: func(d damaged) { d.index.edit('v', `"files":3`, `"files":4`) }}),
		"a damaged item":              same(damage{want: kinds(ballast.FindingUnreadable), plant: func(d damaged) { d.index.edit('a', `"schema":1`, `"schema":"`) }}),
		"latest knows nothing":        {want: kinds(ballast.FindingUnlisted), plant: func(d damaged) { d.index.edit('l', "", "") }},
		"a version without its alias": {want: kinds(ballast.FindingUnlisted), plant: func(d damaged) { d.index.edit('A', "", "") }},
		"a counter":                   {want: kinds(ballast.FindingCounter), plant: func(d damaged) { d.index.edit('B', `"versions":1`, `"versions":5`) }},
		"a key of no version": {want: kinds(ballast.FindingDangling), plant: func(d damaged) {
			d.index.put(append([]byte("lacme\x00m\x00\x02"), must(ballast.ParseVersion("9")).Order()...))
		}},
		"a counter of a scope without anything": {want: kinds(ballast.FindingCounter), before: func(t *testing.T, r *rig) {
			u := must(r.open(t, other, "m:1"))
			if err := r.AbortUpload(t.Context(), other, u.ID); err != nil {
				t.Fatal(err)
			}
		}, plant: func(d damaged) { d.index.edit('B', `"uploads":0`, `"uploads":3`) }},
	}
	for what, d := range all {
		d.unless = unless
		all[what] = d
	}
	return all
}
