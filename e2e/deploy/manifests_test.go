package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// manifest is one file of deploy/kubernetes.
type manifest struct {
	text    string
	objects []object
}

// object is of a manifest what it takes to run its pods.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Secrets  map[string]string `yaml:"stringData"`
	Spec     struct {
		Ports []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Template struct{ Spec podSpec }
		Claims   []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

type podSpec struct {
	Grace int64 `yaml:"terminationGracePeriodSeconds"`
	As    struct {
		User  int64 `yaml:"runAsUser"`
		Group int64 `yaml:"fsGroup"`
	} `yaml:"securityContext"`
	Init       []container `yaml:"initContainers"`
	Containers []container
	Volumes    []struct {
		Name   string
		Secret *struct {
			Name string      `yaml:"secretName"`
			Mode os.FileMode `yaml:"defaultMode"`
		}
	}
}

type container struct {
	Name          string
	Command, Args []string
	EnvFrom       []struct {
		ConfigMap struct{ Name string } `yaml:"configMapRef"`
	} `yaml:"envFrom"`
	Env   []struct{ Name, Value string }
	Ports []struct {
		Name   string
		Number int `yaml:"containerPort"`
	}
	Startup   *probe `yaml:"startupProbe"`
	Liveness  *probe `yaml:"livenessProbe"`
	Readiness *probe `yaml:"readinessProbe"`
	Mounts    []struct {
		Name     string
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	Get struct{ Path, Port string } `yaml:"httpGet"`
}

func read(t *testing.T, name string) (m manifest) {
	t.Helper()
	text := content(t, "../../deploy/kubernetes/"+name)
	m.text = string(text)
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var o object
		err := documents.Decode(&o)
		if errors.Is(err, io.EOF) {
			return m
		}
		check(t, err)
		m.objects = append(m.objects, o)
	}
}

// only is the one object of its kind.
func (m manifest) only(t *testing.T, kind string) *object {
	t.Helper()
	var found *object
	for n := range m.objects {
		if m.objects[n].Kind != kind {
			continue
		}
		if found != nil {
			t.Fatalf("there are more than one %s", kind)
		}
		found = &m.objects[n]
	}
	if found == nil {
		t.Fatalf("there is no %s", kind)
	}
	return found
}

// named is the only object of its kind where it has the name that something refers to it by.
func (m manifest) named(t *testing.T, kind, name string) *object {
	t.Helper()
	o := m.only(t, kind)
	if o.Metadata.Name != name {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return o
}

// command is what a comment of the manifest says to type, by the words that it begins with; they are left out.
func (m manifest) command(t *testing.T, begin string) []string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^#   ` + regexp.QuoteMeta(begin) + ` (.+)$`).FindStringSubmatch(m.text)
	if found == nil {
		t.Fatalf("no comment says %s", begin)
	}
	return strings.Fields(found[1])
}

// image is what the Dockerfile gives each container: variables, the program, how its health is asked for, and its user.
type image struct {
	env, entrypoint, health []string
	user                    string
}

func readImage(t *testing.T) (i image) {
	t.Helper()
	_, last, _ := strings.Cut(string(content(t, "../../Dockerfile")), "FROM scratch\n")
	for line := range strings.Lines(last) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "ENV":
			i.env = strings.Fields(rest)
		case "USER":
			i.user = rest
		case "ENTRYPOINT":
			check(t, json.Unmarshal([]byte(rest), &i.entrypoint))
		case "HEALTHCHECK":
			_, cmd, _ := strings.Cut(rest, " CMD ")
			check(t, json.Unmarshal([]byte(cmd), &i.health))
		}
	}
	return i
}
