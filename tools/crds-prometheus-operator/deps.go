// Package crds pins the Go types that the custom resource definitions are generated from.
package crds

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
