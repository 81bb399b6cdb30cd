// Command scrapeconfig prints the configuration of Prometheus that the Prometheus operator generates for monitors. It calls
// the operator's own validation and generator; it needs no cluster.
//
//	scrapeconfig NAMESPACE < MANIFESTS
//
// The manifests contain the ServiceMonitors and PodMonitors of that namespace, and the Secrets and ConfigMaps that they refer to. Objects of
// other kinds are ignored. The result is a JSON object: `config`, the text of prometheus.yaml, and `files`, the contents of
// the files in /etc/prometheus/certs that it refers to. The command exits 1 if the operator would reject one of the monitors.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus-operator/prometheus-operator/pkg/assets"
	"github.com/prometheus-operator/prometheus-operator/pkg/operator"
	"github.com/prometheus-operator/prometheus-operator/pkg/prometheus"
	registry "github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/cache"
	strict "sigs.k8s.io/yaml"
)

type result struct {
	Config string            `json:"config"`
	Files  map[string][]byte `json:"files"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: scrapeconfig NAMESPACE < MANIFESTS")
		os.Exit(2)
	}
	generated, err := generate(context.Background(), os.Args[1], os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(generated)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scrapeconfig:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, namespace string, input io.Reader) (*result, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store := assets.NewStoreBuilder(nil, nil)
	services, pods, err := read(input, namespace, store)
	if err != nil {
		return nil, err
	}

	everything := &metav1.LabelSelector{}
	server := &monitoringv1.Prometheus{ObjectMeta: metav1.ObjectMeta{Name: "test", Namespace: namespace}}
	server.Spec.ScrapeInterval, server.Spec.EvaluationInterval = "30s", "30s"
	server.Spec.ServiceMonitorSelector, server.Spec.PodMonitorSelector = everything, everything
	events := operator.NewFakeRecorder(100, server)
	selector, err := prometheus.NewResourceSelector(logger, server, store, nil, operator.NewMetrics(registry.NewRegistry()), events)
	if err != nil {
		return nil, err
	}
	serviceMonitors, err := selector.SelectServiceMonitors(ctx, list(services))
	if err != nil {
		return nil, err
	}
	podMonitors, err := selector.SelectPodMonitors(ctx, list(pods))
	if err != nil {
		return nil, err
	}
	// The reasons are in the log.
	if len(serviceMonitors.ValidResources()) < len(services) || len(podMonitors.ValidResources()) < len(pods) {
		return nil, errors.New("the operator rejects a monitor")
	}

	generator, err := prometheus.NewConfigGenerator(logger, server)
	if err != nil {
		return nil, err
	}
	config, err := generator.GenerateServerConfiguration(
		server, serviceMonitors.ValidResources(), podMonitors.ValidResources(), nil, nil, store, nil, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	return &result{Config: string(config), Files: store.TLSAssets()}, nil
}

// read decodes monitors of the namespace, strictly, and adds the Secrets and ConfigMaps to the store.
func read(input io.Reader, namespace string, store *assets.StoreBuilder) (services []*monitoringv1.ServiceMonitor, pods []*monitoringv1.PodMonitor, err error) {
	documents := yaml.NewYAMLReader(bufio.NewReader(input))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return services, pods, nil
		}
		if err != nil {
			return nil, nil, err
		}
		var header metav1.PartialObjectMetadata
		if err := strict.Unmarshal(document, &header); err != nil {
			return nil, nil, err
		}
		switch header.Kind {
		case "ServiceMonitor":
			monitor := &monitoringv1.ServiceMonitor{}
			err = strict.UnmarshalStrict(document, monitor)
			if header.Namespace == namespace {
				services = append(services, monitor)
			}
		case "PodMonitor":
			monitor := &monitoringv1.PodMonitor{}
			err = strict.UnmarshalStrict(document, monitor)
			if header.Namespace == namespace {
				pods = append(pods, monitor)
			}
		case "Secret":
			secret := &corev1.Secret{}
			err = strict.UnmarshalStrict(document, secret)
			// As an API server does it.
			for key, value := range secret.StringData {
				if secret.Data == nil {
					secret.Data = map[string][]byte{}
				}
				secret.Data[key] = []byte(value)
			}
			err = errors.Join(err, store.AddObject(secret))
		case "ConfigMap":
			object := &corev1.ConfigMap{}
			err = errors.Join(strict.UnmarshalStrict(document, object), store.AddObject(object))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s %s: %w", header.Kind, header.Name, err)
		}
	}
}

func list[T any](objects []T) prometheus.ListAllByNamespaceFn {
	return func(_ string, _ labels.Selector, add cache.AppendFunc) error {
		for _, each := range objects {
			add(each)
		}
		return nil
	}
}
