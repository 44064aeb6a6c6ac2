package index_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/index"
)

func partSum(number int) (sum [32]byte) {
	binary.BigEndian.PutUint64(sum[:], uint64(number))
	return sum
}

// declaring is a Want of a blob of count parts that declares some of them.
func declaring(content string, count int, size int64, numbers ...int) index.Want {
	w := index.Want{Digest: sum(content), Size: int64(count) * size, Method: ballast.MethodMultipart, PartSize: size}
	for _, n := range numbers {
		w.Parts = append(w.Parts, index.PartSum{Number: n, Sum: partSum(n)})
	}
	return w
}

// wantDeclared checks that just these parts are declared.
func (w *world) wantDeclared(u index.Upload, content string, size int64, count int, numbers ...int) {
	w.t.Helper()
	got, err := w.DeclaredParts(w.ctx, u.ID, sum(content), size, count)
	w.ok(err)
	want := make([][32]byte, count)
	for _, n := range numbers {
		want[n-1] = partSum(n)
	}
	if len(got) != count {
		w.t.Fatalf("%d parts, want %d", len(got), count)
	}
	for i := range got {
		if got[i] != want[i] {
			w.t.Errorf("part %d is %x, want %x", i+1, got[i], want[i])
		}
	}
}

func TestDeclaredPartsCrossPages(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		const count = 2001
		u := w.open("acme::m")
		w.ask(u, declaring("x", count, partSize, 1001, 999))
		w.ask(u, declaring("x", count, partSize, 1, 1000, 2001))
		w.wantDeclared(u, "x", partSize, count, 1, 999, 1000, 1001, 2001)
		w.wantDeclared(u, "x", partSize, 1000, 1, 999, 1000)
		w.wantDeclared(u, "x", partSize, 1001, 1, 999, 1000, 1001)
		w.wantDeclared(u, "x", 2*partSize, count)
		w.wantKeys(index.KindDeclared, 3)
		other := w.open("acme::m")
		w.wantDeclared(other, "x", partSize, count)
	})
}

// TestPartSizeOfTheBlobDecides ignores digests declared at another size, until the blob has that size.
func TestPartSizeOfTheBlobDecides(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		const count, bigger = 1500, 2 * partSize
		u := w.open("acme::m")
		w.ask(u, declaring("x", count, partSize, 1, 1500))
		w.ask(u, declaring("x", count, bigger, 2, 3))
		w.wantDeclared(u, "x", partSize, count, 1, 1500)
		w.wantDeclared(u, "x", bigger, count)
		_, err := w.MultipartOpened(w.ctx, blobID("x"), "mp")
		w.ok(err)
		_, err = w.MultipartLost(w.ctx, blobID("x"), "mp")
		w.ok(err)
		w.ask(u, declaring("x", count, bigger, 2))
		w.wantDeclared(u, "x", bigger, count, 2)
	})
}

// declareAll declares 10,000 parts as the limits of a call and of a transaction allow.
func (w *world) declareAll(u index.Upload, content string) {
	w.t.Helper()
	const perCall = ballast.MaxPartsPerCall - 1 // so that most calls touch two pages
	for from := 1; from <= ballast.MaxParts; from += perCall {
		var numbers []int
		for n := from; n < min(from+perCall, ballast.MaxParts+1); n++ {
			numbers = append(numbers, n)
		}
		w.ask(u, declaring(content, ballast.MaxParts, partSize, numbers...))
	}
}

// TestAsManyPartsAsThereMayBe takes blobs of 10,000 parts through all transactions that handle their digests.
func TestAsManyPartsAsThereMayBe(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		const blobs = 4
		for i := range blobs {
			w.declareAll(u, fmt.Sprint(i))
		}
		// Rewriting one part of each page of a blob is the heaviest a Want can be; three of them fit.
		var wants []index.Want
		keys, bytes := 0, 0
		for i := range 3 {
			want := declaring(fmt.Sprint(i), ballast.MaxParts, partSize)
			for page := range 10 {
				want.Parts = append(want.Parts, index.PartSum{Number: page*1000 + 1, Sum: partSum(77)})
			}
			wants = append(wants, want)
			k, b := want.Weight()
			keys, bytes = keys+k, bytes+b
		}
		if keys > index.MaxTouchedKeys || bytes > index.MaxTouchedBytes {
			t.Fatalf("they weigh %d keys, %d bytes", keys, bytes)
		}
		w.ask(u, wants...)
		w.wantKeys(index.KindDeclared, 10*blobs)

		id := blobID("3")
		_, err := w.MultipartOpened(w.ctx, id, "mp")
		w.ok(err)
		_, err = w.Completing(w.ctx, id, u.ID, "mp")
		w.ok(err)
		w.ok(w.StoredByMultipart(w.ctx, id, index.Found{Size: ballast.MaxParts * partSize}, u.ID))
		sums, err := w.PartDigests(w.ctx, id, w.blob(id))
		if err != nil || len(sums) != ballast.MaxParts || sums[0] != partSum(1) || sums[ballast.MaxParts-1] != partSum(ballast.MaxParts) {
			t.Fatalf("%d saved digests, %v", len(sums), err)
		}
		w.ok(w.Tainted(w.ctx, id))
		w.ok(w.Reclaimed(w.ctx, id))
		w.wantKeys(index.KindPart, 0)

		w.abort(u)
		if more, err := w.Release(w.ctx, u.ID, 50); err != nil || more {
			t.Errorf("more is %t, %v", more, err)
		}
		w.wantKeys(index.KindDeclared, 0)
	})
}

// TestPartDigestsAreAllOrNone: a blob that was found in the store, part digests unknown, must not show zeros for them.
func TestPartDigestsAreAllOrNone(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		w.ask(u, declaring("x", 2, partSize, 1))
		id := w.stored(u, "x")
		if got, err := w.PartDigests(w.ctx, id, w.blob(id)); err != nil || got != nil {
			t.Errorf("one of two is known: got %v, %v", got, err)
		}
		w.sent(u, "y")
		if got, err := w.PartDigests(w.ctx, blobID("y"), w.blob(blobID("y"))); err != nil || got != nil {
			t.Errorf("a blob without parts: got %v, %v", got, err)
		}
	})
}

func TestCompletingNeedsTheMultipart(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		a, b := w.open("acme::m"), w.open("acme::m")
		w.ask(a, declaring("x", 2, partSize, 1, 2))
		w.ask(b, declaring("x", 2, partSize, 1))
		_, err := w.MultipartOpened(w.ctx, blobID("x"), "mp")
		w.ok(err)
		if got, err := w.Completing(w.ctx, blobID("x"), a.ID, "another"); err != nil || got.Completing != "" {
			t.Errorf("another multipart: %+v, %v", got, err)
		}
		w.wantKeys(index.KindPart, 0)
		if got, err := w.Completing(w.ctx, blobID("x"), a.ID, "mp"); err != nil || got.Completing != a.ID {
			t.Errorf("got %+v, %v", got, err)
		}
		w.ok(w.StoredByMultipart(w.ctx, blobID("x"), index.Found{Size: 2 * partSize}, a.ID))
		sums, err := w.PartDigests(w.ctx, blobID("x"), w.blob(blobID("x")))
		if err != nil || len(sums) != 2 || sums[1] != partSum(2) {
			t.Errorf("saved: %v, %v", sums, err)
		}
	})
}

// What an upload declared says nothing of an object that was there before: its own parts were never joined.
func TestAnObjectThatWasThereHasNoKnownParts(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u := w.open("acme::m")
		w.ask(u, declaring("x", 2, partSize, 1, 2))
		_, err := w.MultipartOpened(w.ctx, blobID("x"), "mp")
		w.ok(err)
		_, err = w.Completing(w.ctx, blobID("x"), u.ID, "mp")
		w.ok(err)
		w.ok(w.StoredByMultipart(w.ctx, blobID("x"), index.Found{Size: 2 * partSize}, ""))
		if sums, err := w.PartDigests(w.ctx, blobID("x"), w.blob(blobID("x"))); err != nil || sums != nil {
			t.Errorf("got %v, %v", sums, err)
		}
	})
}

// A declared chain is kept for a PUT, the last one until its bytes are there.
func TestADeclaredChainIsKept(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		u, id := w.open("acme::m"), blobID("x")
		chained := func(method ballast.Method, states ...int) index.Want {
			want := index.Want{Digest: id.Digest, Size: 3 * partSize, Method: method, LinkSize: partSize}
			for _, n := range states {
				want.Chain = append(want.Chain, partSum(n))
			}
			return want
		}
		kept := func(want ...int) {
			t.Helper()
			b := w.blob(id)
			b.Size = 3 * partSize // while it is uploading nobody knows
			got, err := w.Chain(w.ctx, id, b)
			if len(got) != len(want) || err != nil {
				t.Fatalf("%d states, want %d, %v", len(got), len(want), err)
			}
			for i, n := range want {
				if got[i] != partSum(n) {
					t.Errorf("state %d is another", i)
				}
			}
		}
		w.ask(u, index.Want{Digest: id.Digest, Size: 3 * partSize, Method: ballast.MethodPut})
		kept()
		w.ask(u, chained(ballast.MethodPut, 1, 2))
		kept(1, 2)
		w.ask(w.open("acme::other"), chained(ballast.MethodPut, 3, 4))
		kept(3, 4)
		w.ask(u, chained(ballast.MethodPut, 1, 2))
		w.ok(w.StoredByPut(w.ctx, id.Scope, []index.Found{{Digest: id.Digest, Size: 3 * partSize}}))
		w.wantState(id, index.BlobVerified)
		kept(1, 2)

		// In parts it is re-read, so that nobody's word is needed.
		alone := w.open("acme::alone")
		id = blobID("y")
		w.ask(alone, chained(ballast.MethodPut, 1, 2))
		w.ask(alone, chained(ballast.MethodMultipart, 5, 6))
		kept()

		// Nobody declares one for bytes that are there.
		id = blobID("z")
		w.ask(alone, index.Want{Digest: id.Digest, Size: 3 * partSize, Method: ballast.MethodPut})
		w.ok(w.StoredByPut(w.ctx, id.Scope, []index.Found{{Digest: id.Digest, Size: 3 * partSize}}))
		w.ask(alone, chained(ballast.MethodPut, 1, 2))
		kept()

		// One that was declared for another size is none.
		id = blobID("w")
		w.ask(alone, chained(ballast.MethodPut, 1, 2))
		w.ok(w.StoredByPut(w.ctx, id.Scope, []index.Found{{Digest: id.Digest, Size: 9 * partSize}}))
		b := w.wantState(id, index.BlobVerified)
		if got, err := w.Chain(w.ctx, id, b); got != nil || err != nil {
			t.Errorf("of another size: %d states, %v", len(got), err)
		}
	})
}

// A chain is kept with the verdict, however long it is.
func TestAChainIsKeptWithTheVerdict(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for content, links := range map[string]int{"short": 2, "long": ballast.MaxParts, "one": 1} {
			u := w.open("acme::m")
			w.ask(u, declaring(content, links, partSize))
			id := blobID(content)
			w.ok(w.StoredByMultipart(w.ctx, id, index.Found{Size: int64(links) * partSize}, u.ID))
			if got, err := w.Chain(w.ctx, id, w.blob(id)); err != nil || got != nil {
				t.Errorf("%s: a chain before the verdict: %d states, %v", content, len(got), err)
			}
			w.leased("a", id)
			var chain [][32]byte
			for n := 1; n < links; n++ {
				chain = append(chain, partSum(n))
			}
			w.ok(w.Verified(w.ctx, id, "a", partSize, chain))
			b := w.wantState(id, index.BlobVerified)
			if got, err := w.Chain(w.ctx, id, b); err != nil || !slices.Equal(got, chain) || (b.LinkSize > 0) != (links > 1) {
				t.Errorf("%s: %d states of %d in links of %d, %v", content, len(got), len(chain), b.LinkSize, err)
			}
		}
		w.wantKeys(index.KindChain, 1+10)
	})
}
