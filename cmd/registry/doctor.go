package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/objstore"
)

// doctorCmd says whether serve with the same settings would be safe. Help is its manual.
type doctorCmd struct {
	serveCmd `embed:""`

	remote `embed:""`
}

// Help is the long form of ballast doctor --help.
func (*doctorCmd) Help() string {
	return `Looks at the store, at the data folder and at this machine, with the settings of ballast serve: write doctor for serve
in the line that starts the registry, and leave its BALLAST_… variables as they are. It may be run before the first start
and beside a service that runs: it writes only what it removes again, but for the blob without bytes. With BALLAST_URL or
--url it also asks the registry there.

Each check ends as ok, warning, unsafe, or unknown where the store does not tell. What is no ok says what it costs and what
to do. The exit code is 0 only if nothing is unsafe, 7 if the store gave no verdict, else 1.`
}

// state is how a check of doctor ended.
type state string

const (
	stateOK      state = "ok"
	stateWarning state = "warning"
	stateUnsafe  state = "unsafe"
	stateUnknown state = "unknown" // it cannot be told
)

// finding is one check of doctor.
type finding struct {
	Name   string `json:"name"`
	State  state  `json:"state"`
	Seen   string `json:"seen"`
	Claim  string `json:"claim,omitempty"`
	Cost   string `json:"cost,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// diagnosis is what doctor found.
type diagnosis struct {
	Safe   bool      `json:"safe"`
	Checks []finding `json:"checks"`

	noVerdict bool // nothing is unsafe, and something that is needed is unknown
}

// Run implements the command.
func (d *doctorCmd) Run(ctx context.Context, a *app) error {
	if err := d.checkSettings(); err != nil { // as serve does
		return ballast.Errorf(ballast.CodeInvalid, "%w", err)
	}
	found := &diagnosis{Safe: true}
	folder, done, err := d.examineData(a, found)
	if err != nil {
		return err
	}
	defer done()
	d.examineStore(ctx, a, folder, found)
	d.examineService(ctx, a, found)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	verdict := found.verdict()
	if d.JSON {
		return told(a.json(found), verdict)
	}
	found.print(a)
	return verdict
}

func (d *diagnosis) add(f finding) {
	if f.State == stateOK {
		f.Cost, f.Remedy = "", ""
	}
	d.Safe = d.Safe && f.State != stateUnsafe
	d.Checks = append(d.Checks, f)
}

// addStore adds checks of the store. What a flag waives is a warning.
func (d *diagnosis) addStore(checks []objstore.Check, waived bool) {
	for _, c := range checks {
		f := finding{Name: c.Name, State: stateOK, Seen: c.Detail, Claim: c.Claim, Cost: c.Cost, Remedy: c.Remedy}
		switch needed := c.Needed == objstore.Required || c.Needed == objstore.Waivable && !waived; {
		case c.Verdict == objstore.Hole && needed:
			f.State = stateUnsafe
		case c.Verdict == objstore.Hole:
			f.State = stateWarning
		case c.Verdict == objstore.Inconclusive && needed:
			f.State, d.noVerdict = stateUnknown, true
			f.Remedy = "see that the store answers, and run ballast doctor again"
		case c.Verdict == objstore.Inconclusive:
			f.State, f.Remedy = stateUnknown, "find out whether it holds, and if not: "+f.Remedy
		}
		d.add(f)
	}
}

// addFailure adds why the store could not be tried: no answer is no verdict, and anything else keeps the registry from starting.
func (d *diagnosis) addFailure(err error) {
	f := finding{Name: "store", State: stateUnsafe, Seen: err.Error(), Claim: "the store can be tried", Cost: "the registry does not start"}
	if errors.Is(err, objstore.ErrUnavailable) {
		f.State, d.noVerdict = stateUnknown, true
	}
	d.add(f)
}

func (d *diagnosis) verdict() error {
	switch {
	case !d.Safe:
		return errors.New("not safe: do what is said under each unsafe check, and run ballast doctor again")
	case d.noVerdict:
		d.Safe = false
		return ballast.Errorf(ballast.CodeUnavailable, "no verdict: what is unknown above is needed; make sure that the store answers, and run ballast doctor again")
	}
	return nil
}

func (d *diagnosis) print(a *app) {
	count := map[state]int{}
	for _, f := range d.Checks {
		count[f.State]++
		fmt.Fprintf(a.stdout, "%-8s %-21s %s\n", f.State, f.Name, harmless(f.Seen))
		for _, line := range [][2]string{{"should", f.Claim}, {"costs", f.Cost}, {"to do", f.Remedy}} {
			if f.State != stateOK && line[1] != "" {
				fmt.Fprintf(a.stdout, "         %-7s %s\n", line[0]+":", harmless(line[1]))
			}
		}
	}
	if d.Safe {
		fmt.Fprintf(a.stdout, "\nsafe: %d ok, %d to think about, %d that cannot be told\n", count[stateOK], count[stateWarning], count[stateUnknown])
	}
}

// examineStore tries the store as a start does, and then what a start does not ask about.
func (d *doctorCmd) examineStore(ctx context.Context, a *app, folder string, found *diagnosis) {
	s := &serving{cmd: &d.serveCmd, app: a, log: newLogger(a.stderr, d.LogFormat, "error"), data: folder}
	defer s.close()
	if err := s.storeToExamine(ctx); err != nil {
		found.addFailure(err)
		return
	}
	s.publicURL = cmp.Or(d.PublicURL, urlOf(d.TLS.scheme(), d.listen(), address(d.listen())))
	found.add(hostRule(s.publicURL, cmp.Or(s.store.PublicEndpoint, s.store.Endpoint)))
	reason, err := s.whyNotNarrow(ctx)
	if err != nil {
		found.addFailure(err)
		return
	}
	s.store.PutNarrow = reason == ""
	bucket, err := objstore.Open(ctx, s.store)
	if err != nil {
		found.addFailure(err)
		return
	}
	report := d.probe(ctx, bucket, s.publicURL, found)
	left := report.Leftover
	if !stopped(report) {
		checks, more := objstore.Inspect(ctx, bucket, report, objstore.InspectOptions{URLLife: d.Limits.URLLife, Origins: d.origins()})
		found.addStore(checks, d.AllowUnsafeStore)
		left = errors.Join(left, more)
	}
	if left != nil {
		found.add(finding{Name: "leftovers", State: stateWarning, Seen: left.Error(), Claim: "what was tried could be removed again",
			Cost: "a few kilobytes below staging; and if it was refused, gc frees nothing either", Remedy: "allow the service s3:DeleteObject and s3:AbortMultipartUpload, as docs/iam/service.json does"})
	}
}

// hostRule is the one about host names, of the store as the settings have it. With AWS's own names there is none.
func hostRule(publicURL, store string) finding {
	f := finding{Name: "host_rule", State: stateOK, Seen: "the store's host is neither the registry's nor below it", Claim: "the store's host is neither the registry's nor below it",
		Cost: "clients send the registry's token to the store", Remedy: "give the store a host name of its own in --s3-public-endpoint, or the registry one in --public-url"}
	if store == "" {
		return f
	}
	if err := checkHosts(publicURL, store); err != nil {
		f.State, f.Seen = stateUnsafe, err.Error()
	}
	return f
}

// probe tries what a start does. What it could not finish for another reason than a store that did not answer, a start cannot either.
func (d *doctorCmd) probe(ctx context.Context, bucket *objstore.S3, publicURL string, found *diagnosis) objstore.Report {
	report, err := objstore.Probe(ctx, bucket, objstore.ProbeOptions{RegistryURL: publicURL})
	last := len(report.Checks) - 1
	switch {
	case err != nil && last < 0: // no credentials, and nothing was tried
		found.addFailure(err)
	case err != nil && !errors.Is(err, objstore.ErrUnavailable):
		report.Checks[last].Verdict = objstore.Hole
	}
	found.addStore(report.Checks, d.AllowUnsafeStore)
	return report
}

// stopped reports whether a check without which no other of the store means anything did not hold.
func stopped(r objstore.Report) bool {
	return len(r.Checks) == 0 || slices.ContainsFunc(r.Checks, func(c objstore.Check) bool {
		return c.Verdict != objstore.OK && slices.Contains([]string{"clock", "bucket", "list_bucket", "service_rights", "put_session", "put_allowed"}, c.Name)
	})
}

func (d *doctorCmd) origins() (list []string) {
	for _, o := range d.Limits.CORSOrigin {
		list = append(list, o.String())
	}
	return list
}

// examineService asks the registry that the settings of the client name, if they name one.
func (d *doctorCmd) examineService(ctx context.Context, a *app, found *diagnosis) {
	if d.URL == "" && a.env(envURL) == "" {
		return
	}
	f := finding{Name: "service", State: stateOK, Claim: "the registry answers and can serve", Cost: "nobody can pull or push",
		Remedy: "look into the service's log; BALLAST_URL or --url says which registry is asked, and BALLAST_TOKEN as whom"}
	c, err := d.client(a)
	if err == nil {
		var who ballast.Whoami
		if who, err = c.Whoami(ctx); err == nil {
			f.Seen = "it answers, and takes you for " + who.Name
		}
	}
	if err != nil {
		f.State, f.Seen = stateWarning, strings.TrimSpace(ballast.AsError(err).Detail)
	}
	found.add(f)
}
