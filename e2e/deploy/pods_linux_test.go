package deploy_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ballast-registry/ballast/internal/objstore"
	"github.com/ballast-registry/ballast/testenv"
)

// pod is a container of a manifest in its box.
type pod struct {
	*box
	container
	env []string
}

// newPod makes the box of a container: the volumes that it mounts, of which claims are some, and the variables that it has.
func newPod(t *testing.T, i image, spec podSpec, c container, m manifest, claims ...string) *pod {
	t.Helper()
	if id := spec.As.User; spec.As.Group != id || i.user != fmt.Sprintf("%d:%d", id, id) || len(c.Command) > 0 || len(i.entrypoint) != 1 {
		t.Fatalf("as %+v, the image's user is %s; %q and %q", spec.As, i.user, c.Command, i.entrypoint)
	}
	p := &pod{newBox(t, i.entrypoint[0], spec.As.User), c, append(slices.Clone(i.env), "HOME=/")}
	for _, volume := range spec.Volumes {
		claims = append(claims, volume.Name)
	}
	for _, mount := range c.Mounts {
		p.mount(t, mount.Path, mount.ReadOnly)
		if !slices.Contains(claims, mount.Name) {
			t.Fatalf("container %s mounts a volume %s that is not there", c.Name, mount.Name)
		}
		for _, volume := range spec.Volumes {
			if volume.Name != mount.Name || volume.Secret == nil {
				continue
			}
			for name, text := range m.named(t, "Secret", volume.Secret.Name).Secrets {
				p.write(t, filepath.Join(mount.Path, name), volume.Secret.Mode, []byte(text))
			}
		}
	}
	for _, from := range c.EnvFrom {
		for name, value := range m.named(t, "ConfigMap", from.ConfigMap.Name).Data {
			p.env = append(p.env, name+"="+value)
		}
	}
	for _, v := range c.Env {
		p.env = slices.DeleteFunc(p.env, func(e string) bool { return strings.HasPrefix(e, v.Name+"=") })
		p.env = append(p.env, v.Name+"="+v.Value)
	}
	return p
}

// listenOn replaces the port of the image's variable, which has to be the one that the container names so.
func (p *pod) listenOn(t *testing.T, variable, name string) (port string) {
	t.Helper()
	number := 0
	for _, port := range p.Ports {
		if port.Name == name {
			number = port.Number
		}
	}
	if want := fmt.Sprintf("%s=:%d", variable, number); !slices.Contains(p.env, want) {
		t.Errorf("port %s is another than that of the image: no %s in %q", name, want, p.env)
	}
	port = freePort(t)
	p.env = with(t, p.env, map[string]string{variable: ":" + port})
	return port
}

// probes are those of the container, by the name of a port, asked until the answer is a good one.
func (p *pod) probes(t *testing.T, r *running, ports map[string]string) {
	t.Helper()
	for _, what := range []*probe{p.Startup, p.Liveness, p.Readiness} {
		if what == nil || ports[what.Get.Port] == "" {
			t.Fatalf("a probe is %+v", what)
		}
		answers(t, r.out, "http://127.0.0.1:"+ports[what.Get.Port]+what.Get.Path)
	}
}

// filled is the credentials file of a manifest with the keys of a store in the place of what is to be replaced, by profile.
func filled(t *testing.T, text string, store *testenv.Store) string {
	t.Helper()
	profiles := map[string]objstore.Keys{"default": store.Service, "ballast-put": store.Put, "ballast-get": store.Get}
	var b strings.Builder
	profile, replaced := "", 0
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "["); ok {
			profile, _, _ = strings.Cut(name, "]")
		}
		keys := profiles[profile]
		for name, value := range map[string]string{"aws_access_key_id": keys.ID, "aws_secret_access_key": keys.Secret} {
			if line == name+" = REPLACE\n" && value != "" {
				line = name + " = " + value + "\n"
				replaced++
			}
		}
		b.WriteString(line)
	}
	if replaced != 6 {
		t.Fatalf("%d values are to be replaced in %s", replaced, text)
	}
	return b.String()
}

// TestPodsRun takes the pods out of the manifests and runs what they run, as the user that they name, in a root folder that this user
// cannot write to: the registry starts on a real store and answers its probes, the Job publishes, the init container pulls, and each
// command that a comment says to type does what it is for. What is replaced are names of hosts, keys, and ports that others
// may have taken here.
func TestPodsRun(t *testing.T) {
	setting, use, i := read(t, "registry.yaml"), read(t, "use.yaml"), readImage(t)
	store := testenv.MinIO(t)
	set, secret, config := setting.only(t, "StatefulSet"), setting.only(t, "Secret"), setting.only(t, "ConfigMap")
	secret.Secrets["credentials"] = filled(t, secret.Secrets["credentials"], store)
	spec := set.Spec.Template.Spec
	registry := newPod(t, i, spec, spec.Containers[0], setting, set.Spec.Claims[0].Metadata.Name)
	ports := map[string]string{"http": registry.listenOn(t, "BALLAST_LISTEN", "http"), "metrics": registry.listenOn(t, "BALLAST_METRICS_LISTEN", "metrics")}
	if to := setting.only(t, "Service").Spec.Ports; len(to) != 1 || to[0].TargetPort != "http" {
		t.Errorf("the Service is of %+v", to)
	}
	registry.env = append(with(t, registry.env, map[string]string{"BALLAST_S3_ENDPOINT": store.Endpoint, "BALLAST_S3_BUCKET": store.Bucket}),
		"BALLAST_ALLOW_UNSAFE_STORE=true", "AWS_EC2_METADATA_DISABLED=true") // of the last upstream MinIO; not on AWS
	grace := time.Duration(spec.Grace) * time.Second
	if least := leastGrace(t, config.Data["BALLAST_DRAIN_TIMEOUT"]); grace < least {
		t.Errorf("the registry is killed after %s, and may need %s", grace, least)
	}
	registry.onlyMounts(t, registry.env)
	if said := registry.run(t, registry.env, "doctor"); !strings.Contains(said, "\nsafe: ") {
		t.Errorf("doctor: %s", said)
	}

	r := registry.start(t, registry.env, registry.Args...)
	registry.probes(t, r, ports)
	answers(t, r.out, "http://127.0.0.1:"+ports["metrics"]+"/metrics")
	here := strings.NewReplacer("localhost:8080", "localhost:"+ports["http"], "127.0.0.1:8080", "127.0.0.1:"+ports["http"])
	registry.run(t, registry.env, strings.Fields(here.Replace(strings.Join(i.health[1:], " ")))...)
	mint := here.Replace(strings.Join(setting.command(t, "kubectl -n ballast exec ballast-0 -- "+registry.program), " "))
	for _, role := range []string{"writer", "reader"} {
		use.only(t, "Secret").Secrets[role] = registry.run(t, registry.env, strings.Fields(strings.Replace(mint, "acme=writer", "acme="+role, 1))...)
	}

	client := func(spec podSpec, c container) *pod {
		p := newPod(t, i, spec, c, use)
		if url := config.Data["BALLAST_PUBLIC_URL"]; !slices.Contains(p.env, "BALLAST_URL="+url) {
			t.Errorf("container %s asks another registry than %s", c.Name, url)
		}
		p.env = with(t, p.env, map[string]string{"BALLAST_URL": "http://127.0.0.1:" + ports["http"]})
		p.onlyMounts(t, p.env)
		return p
	}
	job, server := use.only(t, "Job").Spec.Template.Spec, use.only(t, "Deployment").Spec.Template.Spec
	push, pull := client(job, job.Containers[0]), client(server, server.Init[0])
	trained := map[string]string{"config.json": `{"model_type":"llama"}`, "model.bin": strings.Repeat("weights", 1000)}
	for name, text := range trained {
		push.write(t, filepath.Join(push.Args[1], name), 0o644, []byte(text))
	}
	for _, want := range []string{"ready", "unchanged"} { // a Job that is run twice publishes once
		if said := push.run(t, push.env, push.Args...); !strings.Contains(said, want) {
			t.Errorf("the Job says %s, want %s", said, want)
		}
	}
	push.run(t, push.env, use.command(t, "ballast")...)
	for range 2 { // as after a restart of the pod
		pull.run(t, pull.env, pull.Args...)
	}
	for name, text := range trained {
		if got := string(content(t, pull.at(filepath.Join(pull.Args[2], name)))); got != text {
			t.Errorf("%s has %d bytes", name, len(got))
		}
	}

	r.stop(t, grace)
	r = registry.start(t, registry.env, registry.Args...)
	registry.probes(t, r, ports)
	r.stop(t, grace)
}
