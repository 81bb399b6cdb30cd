{{- /* The pods of the Deployment, and those of the StatefulSet. */}}
{{- define "iam-key-exporter.podTemplate" -}}
{{- $web := include "iam-key-exporter.web" . | fromJson -}}
metadata:
  {{- $selector := include "iam-key-exporter.podLabels" . | fromYaml }}
  labels:
    {{- merge $selector .Values.podLabels .Values.commonLabels | toYaml | nindent 4 }}
  annotations:
    {{- $checksum := dict "checksum/config" (include "iam-key-exporter.configChecksum" .) }}
    {{- /* The exporter reloads a changed web configuration, unless it protects less than before. */}}
    {{- if $web.configured }}
    {{- $protection := pick $web "tls" "basicAuth" "clientAuth" }}
    {{- if (.Values.web.config.tls_server_config | default dict).client_allowed_sans }}
    {{- $_ := set $protection "clientNames" true }}
    {{- end }}
    {{- $_ := set $checksum "checksum/web-protection" ($protection | toJson | sha256sum) }}
    {{- end }}
    {{- merge $checksum .Values.podAnnotations | toYaml | nindent 4 }}
spec:
  serviceAccountName: {{ include "iam-key-exporter.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
  {{- with include "iam-key-exporter.imagePullSecrets" . }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
  {{- with .Values.dnsPolicy }}
  dnsPolicy: {{ . }}
  {{- end }}
  {{- with .Values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: exporter
      image: {{ include "iam-key-exporter.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config.file=/etc/iam-key-exporter/{{ include "iam-key-exporter.configKey" . }}
        - --web.listen-address=:{{ .Values.containerPort }}
        {{- if $web.configured }}
        - --web.config.file={{ include "iam-key-exporter.webDirectory" . }}/{{ $web.key }}
        - --web.probe-address=:{{ .Values.web.probePort }}
        {{- end }}
        {{- with (.Values.web | default dict).externalUrl }}
        - --web.external-url={{ . }}
        {{- end }}
        {{- with (.Values.web | default dict).routePrefix }}
        - --web.route-prefix={{ . }}
        {{- end }}
        {{- if include "iam-key-exporter.sharded" . }}
        - --shard=auto
        - --total-shards={{ int .Values.sharding.total }}
        {{- end }}
        {{- if .Values.demo }}
        - --demo
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .Values.extraEnv (include "iam-key-exporter.sharded" .) }}
      env:
        {{- if include "iam-key-exporter.sharded" . }}
        # Ends with the number of the shard.
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: {{ .Values.containerPort }}
          protocol: TCP
        {{- if $web.configured }}
        - name: probes
          containerPort: {{ .Values.web.probePort }}
          protocol: TCP
        {{- end }}
      {{- if .Values.livenessProbe.enabled }}
      livenessProbe:
        httpGet:
          {{- include "iam-key-exporter.probeTarget" (list $web "/livez") | nindent 10 }}
        {{- omit .Values.livenessProbe "enabled" | toYaml | nindent 8 }}
      {{- end }}
      {{- if .Values.readinessProbe.enabled }}
      readinessProbe:
        httpGet:
          {{- include "iam-key-exporter.probeTarget" (list $web "/readyz") | nindent 10 }}
        {{- omit .Values.readinessProbe "enabled" | toYaml | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/iam-key-exporter
          readOnly: true
        {{- if $web.configured }}
        - name: web-config
          mountPath: {{ include "iam-key-exporter.webDirectory" . }}
          readOnly: true
        {{- if .Values.web.tls.secretName }}
        - name: web-tls
          mountPath: {{ include "iam-key-exporter.tlsDirectory" . }}
          readOnly: true
        {{- end }}
        {{- if .Values.web.tls.clientCA.enabled }}
        - name: web-client-ca
          mountPath: {{ include "iam-key-exporter.clientCADirectory" . }}
          readOnly: true
        {{- end }}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      {{- if .Values.existingConfigSecret.name }}
      secret:
        secretName: {{ .Values.existingConfigSecret.name }}
      {{- else }}
      configMap:
        name: {{ include "iam-key-exporter.fullname" . }}
      {{- end }}
    {{- if $web.configured }}
    # A changed Secret reaches the running pods, and the exporter reloads the files.
    - name: web-config
      secret:
        secretName: {{ $web.secret }}
    {{- with .Values.web.tls }}
    {{- if .secretName }}
    - name: web-tls
      secret:
        secretName: {{ .secretName }}
        items:
          {{- range list .certKey .keyKey }}
          - key: {{ . }}
            path: {{ . }}
          {{- end }}
    {{- end }}
    {{- if .clientCA.enabled }}
    # Only the certificate: the Secret of a CA has its key, too.
    - name: web-client-ca
      secret:
        secretName: {{ .clientCA.secretName | default .secretName }}
        items:
          - key: {{ .clientCA.key }}
            path: {{ .clientCA.key }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $own := dict "labelSelector" (dict "matchLabels" (include "iam-key-exporter.selectorLabels" $ | fromYaml)) }}
    {{- list (merge (deepCopy .) (ternary dict $own (hasKey . "labelSelector"))) | toYaml | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}
