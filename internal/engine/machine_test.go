package engine_test

import (
	"flag"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
	"github.com/ballast-registry/ballast/internal/index"
	"github.com/ballast-registry/ballast/internal/objstore/objstoretest"
	"github.com/ballast-registry/ballast/testenv/canary"
)

const (
	machineSteps      = 10_000 // of one run, all machines together
	machineStepsShort = 4_000
	machineCheckEvery = 40 // steps between two looks at everything
)

// notYet are the codes that no call of the engine can answer today, each with the reason. A run that meets one fails, so
// that the list cannot outlive its reasons.
var notYet = map[ballast.Code]string{
	ballast.CodeQuotaExceeded: "no quota is set",
	ballast.CodeRateLimited:   "only imports under way are limited, and at rest there are none",
	ballast.CodeInternal:      "it is a defect whenever it occurs",
}

// answers are what single operations must have answered in a run of full length; "" is success.
var answers = map[string][]ballast.Code{
	"copy": {
		"", ballast.CodeAlreadyExists, ballast.CodeBusy, ballast.CodeDenied, ballast.CodeNotFound, ballast.CodePrecondition, ballast.CodeRetired,
	},
	"held copy":     {""},
	"all versions":  {"", ballast.CodeInvalid},
	"next versions": {"", ballast.CodeInvalid},
}

// TestMachine drives an engine and a plain model of it through the same random calls, on a clock that stands still while
// anything is left to do: after each call the engine has come to rest, so the model knows every answer. Every operation
// and every code that can occur must have occurred. A plain run draws from the same seeds each time, so that it says
// whether the code is still right, not whether the day is lucky; with BALLAST_RANDOM_SEEDS, as in make soak, from new ones.
func TestMachine(t *testing.T) {
	setFlag(t, "rapid.steps", "150")
	setFlag(t, "rapid.checks", "5")
	setFlag(t, "rapid.nofailfile", "true")
	steps := machineSteps
	if testing.Short() {
		steps = machineStepsShort
	}
	seen := tally{}
	for b, run := newBodies(), 1; seen.steps() < steps && !t.Failed(); run++ {
		if os.Getenv("BALLAST_RANDOM_SEEDS") == "" {
			seed := flag.Lookup("rapid.seed").Value
			if err := seed.Set(strconv.Itoa(run)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = seed.Set("0") })
		}
		rapid.Check(t, func(rt *rapid.T) {
			rapid.SyncTest(rt, func(rt *rapid.T) { newMachine(rt, b, seen).run() })
		})
	}
	t.Logf("%d steps\n%s", seen.steps(), seen)
	for _, what := range seen.absent() {
		t.Error(what)
	}
	for op, codes := range answers {
		for _, code := range codes {
			if steps == machineSteps && seen[op][code] == 0 {
				t.Errorf("operation %q never answered %q", op, code)
			}
		}
	}
}

// setFlag changes a flag of the test library until the test ends, unless the command line has set it.
func setFlag(t *testing.T, name, value string) {
	f := flag.Lookup(name)
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// machine is an engine, the model that it is held to, and what a client has in hand.
type machine struct {
	*rapid.T
	model
	engine   *engine.Engine
	opt      engine.Options
	mem      *objstoretest.Mem
	bodies   []body
	sends    []send     // signed requests that clients hold
	pages    []page     // lists of files that were begun
	searches []search   // and of versions
	copies   []copyCall // asked for last
	tokens   []issued   // tokens, the revoked ones too
	heard    map[string]*follower
	seen     tally
	steps    int
	quiet    bool // compares: neither logs nor counts
}

func newMachine(t *rapid.T, bodies []body, seen tally) *machine {
	mem := objstoretest.NewMem()
	x, err := index.Open(t.Context(), index.NewMem(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{T: t, mem: mem, bodies: bodies, seen: seen, model: newModel(), heard: map[string]*follower{}, opt: engine.Options{
		Index: x, Bucket: mem, Signer: mem, RecordKey: engine.NewRecordKey(secret), Logger: canary.Log(t, canary.Quiet),
		// Long times between the rounds of background work, so that days pass quickly.
		Limits: engine.Limits{
			Lease: machineLease, FenceAge: time.Hour, TakeOverWait: 2 * time.Hour, CommitWait: time.Millisecond,
			VerifyRetry: time.Minute, ReclaimRetry: time.Minute, VerifyWorkers: 1, GCInterval: -1,
		},
	}}
	m.restart()
	return m
}

// operation is a kind of call and how often it is drawn.
type operation struct {
	weight int
	draw   func(*machine) step
}

// operations by name. Those of the name "storm …" and the like do something to the store beside the calls.
func operations() map[string]operation {
	return map[string]operation{
		"create":        {7, (*machine).drawCreate},
		"ask":           {14, (*machine).drawAsk},
		"send":          {16, (*machine).drawSend},
		"commit":        {12, (*machine).drawCommit},
		"abort":         {2, (*machine).drawAbort},
		"upload":        {3, (*machine).drawUpload},
		"check upload":  {1, (*machine).drawCheckUpload},
		"read":          {6, (*machine).drawRead},
		"provenance":    {2, (*machine).drawProvenance},
		"file":          {3, (*machine).drawFile},
		"files":         {5, (*machine).drawFiles},
		"next page":     {5, (*machine).drawNextPage},
		"models":        {1, (*machine).drawModels},
		"model":         {1, (*machine).drawModel},
		"versions":      {3, (*machine).drawVersions},
		"all versions":  {5, (*machine).drawAllVersions},
		"next versions": {8, (*machine).drawNextVersions},
		"aliases":       {1, (*machine).drawAliases},
		"set alias":     {7, (*machine).drawSetAlias},
		"delete alias":  {3, (*machine).drawDeleteAlias},
		"create token":  {3, (*machine).drawCreateToken},
		"rotate token":  {2, (*machine).drawRotateToken},
		"revoke token":  {1, (*machine).drawRevokeToken},
		"authenticate":  {2, (*machine).drawAuthenticate},
		"token":         {1, (*machine).drawToken},
		"tokens":        {1, (*machine).drawTokens},
		"add task":      {1, (*machine).drawAddTask},
		"remove task":   {1, (*machine).drawRemoveTask},
		"tasks":         {1, (*machine).drawTasks},
		"push":          {6, (*machine).drawPush},
		"import":        {4, (*machine).drawImport},
		"imports":       {1, (*machine).drawImports},
		"cancel import": {1, (*machine).drawCancelImport},
		"copy":          {12, (*machine).drawCopy},
		"held copy":     {5, (*machine).drawHeldCopy},
		"patch":         {4, (*machine).drawPatch},
		"stage":         {4, (*machine).drawStage},
		"promote":       {6, (*machine).drawPromote},
		"rollback":      {3, (*machine).drawRollback},
		"production":    {1, (*machine).drawProduction},
		"retire":        {2, (*machine).drawRetire},
		"delete":        {4, (*machine).drawDelete},
		"restore":       {4, (*machine).drawRestore},
		"gc":            {2, (*machine).drawGC},
		"children":      {2, (*machine).drawChildren},
		"events":        {2, (*machine).drawEvents},
		"wait":          {3, (*machine).drawWait},
		"restart":       {1, (*machine).drawRestart},
		"ready":         {1, (*machine).drawReady},
		"drop parts":    {1, (*machine).drawDropParts},
		"storm":         {9, (*machine).drawStorm},
		"record outage": {1, (*machine).drawOutage},
	}
}

// step is one call: what to do, and what the model makes of it.
type step struct {
	name string
	call func() error
	// want moves the model and returns the code that the call must answer. It runs after the call, and may look at its
	// answer to learn names that the engine chose.
	want func() ballast.Code
	// check compares the rest of the answer of a call without an error. It may be nil.
	check func()
	// show says what was called, for failures.
	show []any
}

// run draws calls until rapid has enough, and then looks at everything.
func (m *machine) run() {
	defer func() { m.engine.Close() }()
	ops := operations()
	var names []string
	for _, name := range slices.Sorted(maps.Keys(ops)) {
		names = append(names, slices.Repeat([]string{name}, ops[name].weight)...)
	}
	m.Repeat(map[string]func(*rapid.T){
		"step": func(*rapid.T) {
			m.seen.step()
			if m.outage && m.oneIn(16) {
				m.endOutage()
			}
			if s := ops[pick(m, "operation", names)].draw(m); s.call != nil {
				m.do(s)
			}
			if m.steps++; m.steps%machineCheckEvery == 0 {
				m.compare()
			}
		},
	})
	m.endOutage()
	m.compare()
}

// do makes a call and holds it to the model.
func (m *machine) do(s step) {
	if !m.quiet {
		m.Logf("%s %+v", s.name, s.show)
	}
	m.tick()
	err := s.call()
	synctest.Wait()
	want := s.want()
	m.tick()
	got := ballast.CodeOf(err)
	if !m.quiet {
		m.seen.add(s.name, got)
	}
	if got != want {
		m.Fatalf("%s %+v: answered %q, want %q: %v", s.name, s.show, got, want, err)
	}
	if err == nil && s.check != nil {
		s.check()
	}
}

// evenly draws 0 … n−1, each as likely as the others, while the library's own generators prefer the small.
func evenly(n int) *rapid.Generator[int] {
	return rapid.Custom(func(t *rapid.T) (i int) {
		for range bits.Len(uint(n)) + 3 {
			i *= 2
			if rapid.Bool().Draw(t, "") {
				i++
			}
		}
		return i % n
	})
}

func (m *machine) draw(label string, n int) int { return evenly(n).Draw(m.T, label) }

func (m *machine) oneIn(n int) bool { return m.draw("one in", n) == 0 }

func pick[T any](m *machine, label string, from []T) T { return from[m.draw(label, len(from))] }

// equal fails the run when an answer is not the model's.
func equal[T any](m *machine, what string, got, want T) {
	m.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		m.Fatalf("%s: got %s, want %s", what, g, w)
	}
}

// tally counts the codes that each operation answered; "" is success.
type tally map[string]map[ballast.Code]int

const allSteps = "(steps)"

func (c tally) add(op string, code ballast.Code) {
	if c[op] == nil {
		c[op] = map[ballast.Code]int{}
	}
	c[op][code]++
}

func (c tally) step()      { c.add(allSteps, "") }
func (c tally) steps() int { return c[allSteps][""] }

func (c tally) count(code ballast.Code) (n int) {
	for op, codes := range c {
		if op != allSteps {
			n += codes[code]
		}
	}
	return n
}

// absent says what a run should have met and did not, and the other way round.
func (c tally) absent() (wrong []string) {
	for op := range operations() {
		if len(c[op]) == 0 {
			wrong = append(wrong, fmt.Sprintf("operation %q never occurred", op))
		}
	}
	for _, code := range ballast.Codes() {
		why, excused := notYet[code]
		if n := c.count(code); (n == 0) != excused {
			wrong = append(wrong, fmt.Sprintf("code %s occurred %d times (%s)", code, n, why))
		}
	}
	return wrong
}

// String is a table of operations and the codes they answered, and one of all codes.
func (c tally) String() string {
	var b strings.Builder
	b.WriteString(c.operations())
	codes := ballast.Codes()
	slices.Sort(codes)
	for _, code := range codes {
		fmt.Fprintf(&b, "%-16s %6d  %s\n", code, c.count(code), notYet[code])
	}
	return b.String()
}

func (c tally) operations() string {
	var b strings.Builder
	for _, op := range slices.Sorted(maps.Keys(c)) {
		if op == allSteps {
			continue
		}
		total := 0
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(c[op])) {
			total += c[op][code]
			name := string(code)
			if code == "" {
				name = "ok"
			}
			codes = append(codes, fmt.Sprintf("%s %d", name, c[op][code]))
		}
		fmt.Fprintf(&b, "%-14s %6d  %s\n", op, total, strings.Join(codes, ", "))
	}
	return b.String()
}
