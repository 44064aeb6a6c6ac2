// Package deploy holds deploy/kubernetes to the API of Kubernetes.
package deploy

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// kinds are those that a manifest may have, by apiVersion and kind.
func kinds() map[string]func() any {
	return map[string]func() any{
		"v1 Namespace":                       func() any { return &core.Namespace{} },
		"v1 ConfigMap":                       func() any { return &core.ConfigMap{} },
		"v1 Secret":                          func() any { return &core.Secret{} },
		"v1 Service":                         func() any { return &core.Service{} },
		"apps/v1 StatefulSet":                func() any { return &apps.StatefulSet{} },
		"apps/v1 Deployment":                 func() any { return &apps.Deployment{} },
		"batch/v1 Job":                       func() any { return &batch.Job{} },
		"networking.k8s.io/v1 NetworkPolicy": func() any { return &networking.NetworkPolicy{} },
	}
}

// decode reads the documents of a manifest; a field that Kubernetes does not know, or that is there twice, is an error.
func decode(manifest []byte) (objects []any, err error) {
	for document := range bytes.SplitSeq(manifest, []byte("\n---\n")) {
		var what struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &what); err != nil {
			return nil, err
		}
		fresh := kinds()[what.APIVersion+" "+what.Kind]
		if fresh == nil {
			return nil, &os.PathError{Op: "decode", Path: what.APIVersion + " " + what.Kind, Err: os.ErrInvalid}
		}
		object := fresh()
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// TestManifests decodes each manifest strictly, and finds what makes the registry safe in them: one replica, no root, nothing
// written but in volumes, probes, and a grace that is longer than the drain.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	pods := 0
	for _, file := range files {
		manifest, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := decode(manifest)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, o := range objects {
			switch o := o.(type) {
			case *apps.StatefulSet:
				pods++
				registry(t, o)
			case *apps.Deployment:
				pods++
				ours(t, o.Spec.Template.Spec.InitContainers, o.Spec.Template.Spec.SecurityContext)
			case *batch.Job:
				pods++
				ours(t, o.Spec.Template.Spec.Containers, o.Spec.Template.Spec.SecurityContext)
			}
		}
		if _, err := decode(bytes.Replace(manifest, []byte("\nmetadata:"), []byte("\nmetadatum: {}\nmetadata:"), 1)); err == nil {
			t.Errorf("control: %s may hold an unknown field", file)
		}
	}
	if pods != 3 {
		t.Errorf("%d kinds of pods", pods)
	}
}

func registry(t *testing.T, s *apps.StatefulSet) {
	t.Helper()
	spec := s.Spec.Template.Spec
	ours(t, spec.Containers, spec.SecurityContext)
	c := spec.Containers[0]
	if s.Spec.Replicas == nil || *s.Spec.Replicas != 1 || len(s.Spec.VolumeClaimTemplates) != 1 || s.Spec.VolumeClaimTemplates[0].Spec.AccessModes[0] != core.ReadWriteOncePod {
		t.Error("it is not one replica with a volume that one pod mounts")
	}
	if c.LivenessProbe == nil || c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet.Path != "/readyz" {
		t.Error("its probes are others")
	}
	if spec.TerminationGracePeriodSeconds == nil || *spec.TerminationGracePeriodSeconds < 30 {
		t.Error("the grace is shorter than the drain")
	}
}

func ours(t *testing.T, containers []core.Container, pod *core.PodSecurityContext) {
	t.Helper()
	if pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot {
		t.Error("a pod may be root")
	}
	for _, c := range containers {
		if sc := c.SecurityContext; sc == nil || !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation || len(sc.Capabilities.Drop) != 1 {
			t.Errorf("container %s may do too much", c.Name)
		}
		if c.Resources.Requests.Memory().IsZero() || !strings.Contains(c.Image, "/ballast:") {
			t.Errorf("container %s: %s, %v", c.Name, c.Image, c.Resources)
		}
	}
}
