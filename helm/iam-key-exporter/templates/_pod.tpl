{{- /* The pods of the Deployment, and those of the StatefulSet. */}}
{{- define "iam-key-exporter.podTemplate" -}}
metadata:
  {{- $selector := include "iam-key-exporter.podLabels" . | fromYaml }}
  labels:
    {{- merge $selector .Values.podLabels .Values.commonLabels | toYaml | nindent 4 }}
  annotations:
    {{- $checksum := dict "checksum/config" (include "iam-key-exporter.configChecksum" .) }}
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
      {{- if .Values.livenessProbe.enabled }}
      livenessProbe:
        httpGet:
          path: /livez
          port: metrics
        {{- omit .Values.livenessProbe "enabled" | toYaml | nindent 8 }}
      {{- end }}
      {{- if .Values.readinessProbe.enabled }}
      readinessProbe:
        httpGet:
          path: /readyz
          port: metrics
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
