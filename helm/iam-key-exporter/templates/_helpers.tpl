{{- define "iam-key-exporter.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "iam-key-exporter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "iam-key-exporter.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "iam-key-exporter.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- /* An upgrade cannot change selectors: they contain no values of the user except names. The component excludes
       the pod of `helm test` from the Service and the NetworkPolicy. */}}
{{- define "iam-key-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "iam-key-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: exporter
{{- end }}

{{- /* Values of 0.1.0 that `helm upgrade --reuse-values` takes over do not have the section. */}}
{{- define "iam-key-exporter.sharded" -}}
{{- if gt (int (dig "total" 1 (.Values.sharding | default dict))) 1 }}true{{ end }}
{{- end }}

{{- /* While sharding is switched on or off, pods of the Deployment and of the StatefulSet exist at the same time. Both have the
       labels above, so that Service, monitors and policies apply to both. The additional one keeps the StatefulSet's selector
       off the Deployment's pods; ReplicaSets exclude its pods by pod-template-hash. */}}
{{- define "iam-key-exporter.podLabels" -}}
{{ include "iam-key-exporter.selectorLabels" . }}
{{- if include "iam-key-exporter.sharded" . }}
iam-key-exporter/sharded: "true"
{{- end }}
{{- end }}

{{- /* Kubernetes appends a hyphen and a hash of ten characters to it in a label, which is limited to 63. */}}
{{- define "iam-key-exporter.statefulSetName" -}}
{{- include "iam-key-exporter.fullname" . | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* Of the StatefulSet's name, because neither can change without the other. */}}
{{- define "iam-key-exporter.shardsServiceName" -}}
{{- include "iam-key-exporter.statefulSetName" . }}-shards
{{- end }}

{{- /* What runs the pods, for kubectl. */}}
{{- define "iam-key-exporter.workload" -}}
{{- if include "iam-key-exporter.sharded" . -}}
statefulset/{{ include "iam-key-exporter.statefulSetName" . }}
{{- else -}}
deployment/{{ include "iam-key-exporter.fullname" . }}
{{- end }}
{{- end }}

{{- define "iam-key-exporter.testSelectorLabels" -}}
app.kubernetes.io/name: {{ include "iam-key-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{- /* Labels of an object: (dict "root" $ "extra" <labels of the values> "component" <default: exporter>). A merge, so that a
       label that is set twice is rendered once. */}}
{{- define "iam-key-exporter.labels" -}}
{{- $component := dict "app.kubernetes.io/component" (.component | default "exporter") }}
{{- $selector := merge $component (include "iam-key-exporter.selectorLabels" .root | fromYaml) }}
{{- $standard := dict
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
      "app.kubernetes.io/version" (.root.Chart.AppVersion | toString)
      "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- merge $selector (.extra | default dict) .root.Values.commonLabels $standard | toYaml }}
{{- end }}

{{- /* The port of the Service's DNS name: that of a headless Service resolves to the pods. */}}
{{- define "iam-key-exporter.servicePort" -}}
{{- ternary .Values.containerPort .Values.service.port (eq .Values.service.clusterIP "None") }}
{{- end }}

{{- define "iam-key-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "iam-key-exporter.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "iam-key-exporter.image" -}}
{{- $registry := .Values.global.imageRegistry | default .Values.image.registry }}
{{- $name := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "iam-key-exporter.imagePullSecrets" -}}
{{- with concat .Values.imagePullSecrets .Values.global.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "iam-key-exporter.config" -}}
{{- toYaml .Values.config }}
{{- end }}

{{- define "iam-key-exporter.configKey" -}}
{{- ternary .Values.existingConfigSecret.key "config.yaml" (ne .Values.existingConfigSecret.name "") }}
{{- end }}

{{- /* Changes with the configuration, so that the pods are replaced. An existing Secret can be read only if Helm is connected
       to a cluster; with `helm template` only its name is used. */}}
{{- define "iam-key-exporter.configChecksum" -}}
{{- $secret := .Values.existingConfigSecret }}
{{- if $secret.name }}
{{- $found := lookup "v1" "Secret" (include "iam-key-exporter.namespace" .) $secret.name }}
{{- if and $found (not (hasKey ($found.data | default dict) $secret.key)) }}
{{- fail (printf "existingConfigSecret: the Secret %q has no key %q" $secret.name $secret.key) }}
{{- end }}
{{- dig "data" $secret.key $secret.name $found | sha256sum }}
{{- else }}
{{- include "iam-key-exporter.config" . | sha256sum }}
{{- end }}
{{- end }}

{{- /* How the exporter is served, derived from the values `web`, as JSON. Values of 0.1.0 that `helm upgrade --reuse-values`
       takes over do not have the section.

       configured   there is a web configuration, so that probes need a port of their own
       secret, key  where it is
       tls          it serves HTTPS
       basicAuth    it is known to require a password
       clientAuth   what it demands of client certificates
       clientCert   it is known to require a client certificate
       prefix       of all paths of the main port, without a slash at the end */}}
{{- define "iam-key-exporter.web" -}}
{{- $web := .Values.web | default dict }}
{{- $config := $web.config | default dict }}
{{- $tls := $web.tls | default dict }}
{{- $existing := dig "existingSecret" "name" "" $web }}
{{- $clientAuth := dig "tls_server_config" "client_auth_type" (ternary "RequireAndVerifyClientCert" "" (dig "clientCA" "enabled" false $tls)) $config }}
{{- $path := ($web.routePrefix | default (get (urlParse ($web.externalUrl | default "")) "path")) | trimAll "/" }}
{{- dict
      "configured" (or (ne $existing "") (not (empty $config)) ($tls.enabled | default false))
      "secret" ($existing | default (printf "%s-web" (include "iam-key-exporter.fullname" .)))
      "key" (ternary (dig "existingSecret" "key" "" $web) "web-config.yaml" (ne $existing ""))
      "tls" ($tls.enabled | default false)
      "basicAuth" (not (empty $config.basic_auth_users))
      "clientAuth" ($clientAuth | default "")
      "clientCert" (has $clientAuth (list "RequireClientCert" "RequireAnyClientCert" "RequireAndVerifyClientCert"))
      "prefix" (ternary "" (printf "/%s" $path) (eq $path ""))
      | toJson }}
{{- end }}

{{- /* Path and port of a request about health: (list <web> "/livez"). Kubelets have neither certificate nor password. */}}
{{- define "iam-key-exporter.probeTarget" -}}
{{- $web := index . 0 }}
{{- if $web.configured -}}
path: {{ index . 1 }}
port: probes
{{- else -}}
path: {{ $web.prefix }}{{ index . 1 }}
port: metrics
{{- end }}
{{- end }}

{{- /* Where the volumes of the web configuration are mounted. */}}
{{- define "iam-key-exporter.webDirectory" -}}/etc/iam-key-exporter-web{{- end }}
{{- define "iam-key-exporter.tlsDirectory" -}}/etc/iam-key-exporter-tls{{- end }}
{{- define "iam-key-exporter.clientCADirectory" -}}/etc/iam-key-exporter-client-ca{{- end }}

{{- /* The web configuration: that of the values, with the paths of the mounted certificates. */}}
{{- define "iam-key-exporter.webConfig" -}}
{{- $tls := .Values.web.tls }}
{{- $paths := dict }}
{{- if and $tls.enabled $tls.secretName }}
{{- $_ := set $paths "cert_file" (printf "%s/%s" (include "iam-key-exporter.tlsDirectory" .) $tls.certKey) }}
{{- $_ := set $paths "key_file" (printf "%s/%s" (include "iam-key-exporter.tlsDirectory" .) $tls.keyKey) }}
{{- end }}
{{- if $tls.clientCA.enabled }}
{{- $_ := set $paths "client_ca_file" (printf "%s/%s" (include "iam-key-exporter.clientCADirectory" .) $tls.clientCA.key) }}
{{- $_ := set $paths "client_auth_type" "RequireAndVerifyClientCert" }}
{{- end }}
{{- $own := ternary (dict "tls_server_config" $paths) dict (not (empty $paths)) }}
{{- merge (deepCopy .Values.web.config) $own | toYaml }}
{{- end }}

{{- /* The endpoint of ServiceMonitor and PodMonitor: (dict "root" $ "monitor" <values>). The job does not depend on the names of
       release and Service: alerts and dashboards select by it. */}}
{{- define "iam-key-exporter.endpoint" -}}
{{- $web := include "iam-key-exporter.web" .root | fromJson }}
port: metrics
path: {{ $web.prefix }}/metrics
{{- if $web.tls }}
scheme: https
tlsConfig:
  {{- include "iam-key-exporter.tlsConfig" . | nindent 2 }}
{{- end }}
{{- with .monitor.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .monitor.interval }}
interval: {{ . }}
{{- end }}
{{- with .monitor.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
honorLabels: {{ .monitor.honorLabels }}
relabelings:
  - targetLabel: job
    replacement: iam-key-exporter
  {{- with .monitor.relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .monitor.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* How Prometheus verifies the exporter, which it reaches by the addresses of the pods, and identifies itself:
       (dict "root" $ "monitor" <values>). What the values set takes precedence; an empty `ca` is that of Prometheus' system. */}}
{{- define "iam-key-exporter.tlsConfig" -}}
{{- $tls := .root.Values.web.tls }}
{{- $own := deepCopy (.monitor.tlsConfig | default dict) }}
{{- $default := dict "serverName" (printf "%s.%s.svc" (include "iam-key-exporter.fullname" .root) (include "iam-key-exporter.namespace" .root)) }}
{{- if not (or (hasKey $own "ca") $own.insecureSkipVerify) }}
{{- $_ := set $default "ca" (dict "secret" (dict "name" $tls.secretName "key" $tls.caKey)) }}
{{- end }}
{{- $merged := merge $own $default }}
{{- if empty $merged.ca }}
{{- $_ := unset $merged "ca" }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{- /* The targets and limits of both: (dict "root" $ "monitor" <values>). */}}
{{- define "iam-key-exporter.monitor" -}}
namespaceSelector:
  matchNames:
    - {{ include "iam-key-exporter.namespace" .root }}
selector:
  matchLabels:
    {{- include "iam-key-exporter.selectorLabels" .root | nindent 4 }}
{{- /* Helm parses numbers as floats and would render 10000000 as 1e+07: hence int64, here and elsewhere. */}}
{{- range $limit := list "sampleLimit" "targetLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" }}
{{- with get $.monitor $limit }}
{{ $limit }}: {{ int64 . }}
{{- end }}
{{- end }}
{{- with .monitor.podTargetLabels }}
podTargetLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* (dict "root" $ "path" <files/dashboards/NAME.json>) */}}
{{- define "iam-key-exporter.dashboardName" -}}
{{- printf "%s-%s" (include "iam-key-exporter.fullname" .root) (base .path | trimSuffix ".json" | trimPrefix "iam-key-exporter-") | trunc 253 | trimSuffix "-" }}
{{- end }}
