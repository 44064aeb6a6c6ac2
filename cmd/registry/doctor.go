package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ballast-registry/ballast"
	"github.com/ballast-registry/ballast/internal/engine"
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
and beside a service that runs: it takes no lock, and writes only what it removes again. With BALLAST_URL or --url it
also asks the registry there.

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
	if err := d.checkFlags(); err != nil {
		return ballast.Errorf(ballast.CodeInvalid, "%w", err)
	}
	found := &diagnosis{Safe: true}
	folder, done, err := d.examineData(a, found)
	if err != nil {
		return err
	}
	defer done()
	if err := d.examineStore(ctx, a, folder, found); err != nil {
		return err
	}
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

// checkFlags refuses what serve would.
func (d *doctorCmd) checkFlags() error {
	return errors.Join(d.S3.check(), d.TLS.check(), d.OIDC.check(), d.serveCmd.Audit.check(), d.checkRunning(), d.checkReach(), d.checkOrigins(), d.Limits.check())
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
		case c.Verdict == objstore.Inconclusive:
			f.State = stateUnknown
			d.noVerdict = d.noVerdict || needed
		}
		d.add(f)
	}
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
func (d *doctorCmd) examineStore(ctx context.Context, a *app, folder string, found *diagnosis) error {
	s := &serving{cmd: &d.serveCmd, app: a, log: newLogger(a.stderr, d.LogFormat, "error"), data: folder}
	defer s.close()
	if err := s.storeToExamine(ctx); err != nil {
		return err
	}
	s.publicURL = cmp.Or(d.PublicURL, urlOf(d.TLS.scheme(), d.listen(), address(d.listen())))
	hosts := finding{Name: "host_rule", State: stateOK, Seen: "the store's host is neither the registry's nor below it",
		Cost: "clients send the registry's token to the store", Remedy: "give the store a host name of its own in --s3-public-endpoint"}
	if at := cmp.Or(s.store.PublicEndpoint, s.store.Endpoint); at != "" {
		if err := checkHosts(s.publicURL, at); err != nil {
			hosts.State, hosts.Seen = stateUnsafe, err.Error()
		}
	}
	found.add(hosts)
	reason, err := s.whyNotNarrow(ctx)
	if err != nil {
		return err
	}
	s.store.PutNarrow = reason == ""
	bucket, err := objstore.Open(ctx, s.store)
	if err != nil {
		return err
	}
	report, probeErr := objstore.Probe(ctx, bucket, objstore.ProbeOptions{RegistryURL: s.publicURL})
	found.addStore(report.Checks, d.AllowUnsafeStore)
	if len(report.Checks) == 0 && probeErr != nil {
		return probeErr // no credentials, and nothing to tell
	}
	left := report.Leftover
	if stopped(report, "clock", "bucket") {
		return nil
	}
	checks, more := objstore.Inspect(ctx, bucket, report, objstore.InspectOptions{URLLife: engine.DefaultLimits().GetURLLife, Origins: d.origins()})
	found.addStore(checks, d.AllowUnsafeStore)
	if left = errors.Join(left, more); left != nil {
		found.add(finding{Name: "leftovers", State: stateWarning, Seen: left.Error(), Cost: "a few kilobytes below staging", Remedy: "allow the service s3:DeleteObject and s3:AbortMultipartUpload"})
	}
	return nil
}

// stopped reports whether one of the checks, without which no other means anything, did not hold.
func stopped(r objstore.Report, names ...string) bool {
	for _, c := range r.Checks {
		for _, name := range names {
			if c.Name == name && c.Verdict != objstore.OK {
				return true
			}
		}
	}
	return false
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
