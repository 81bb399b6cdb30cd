// Package crds pins the Go types that the custom resource definitions are generated from.
package crds

import _ "github.com/grafana/grafana-operator/v5/api/v1beta1"
