{{- define "wellorder.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 45 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "wellorder.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wellorder.labels" -}}
{{ include "wellorder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "wellorder.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "wellorder.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "wellorder.image" -}}
{{- with .Values.image }}{{ if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* What every pod is refused: root, privileges, writing anywhere but to its volumes. */}}
{{- define "wellorder.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "wellorder.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Settings as variables: WELLORDER_ and the path in capitals, dots as underscores. */}}
{{- define "wellorder.settings" -}}
{{- range $path, $value := .Values.settings }}
- name: WELLORDER_{{ $path | upper | replace "." "_" }}
  {{- /* Numbers of YAML arrive as floats, and a million would be written 1e+06. */}}
  value: {{ if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ printf "%.0f" $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
{{- end }}
{{- end }}

{{- define "wellorder.secrets" -}}
{{- if .Values.existingSecret }}
envFrom:
  - secretRef:
      name: {{ .Values.existingSecret }}
{{- end }}
{{- end }}

{{/* What the one that takes requests needs; worker and relay listen on loopback alone. */}}
{{- define "wellorder.transport" -}}
{{- $t := .Values.transport }}
{{- if not (or $t.tlsSecret $t.trustedProxies $t.plaintext) }}
{{- fail "transport: set tlsSecret, or trustedProxies where an ingress speaks TLS, or plaintext: true, and everybody on the way can read keys and orders" }}
{{- end }}
{{- if $t.tlsSecret }}
- name: WELLORDER_TLS_CERT
  value: /etc/wellorder/tls/tls.crt
- name: WELLORDER_TLS_KEY
  value: /etc/wellorder/tls/tls.key
{{- end }}
{{- if $t.trustedProxies }}
- name: WELLORDER_SERVE_TRUSTED_PROXIES
  value: {{ join "," $t.trustedProxies | quote }}
{{- end }}
{{- if $t.plaintext }}
- name: WELLORDER_SERVE_PLAINTEXT
  value: "true"
{{- end }}
{{- end }}

{{/* Contracts with a port of their own (JSON): names of their ports, the ports of pods and of the Service, settings. */}}
{{- define "wellorder.contracts" -}}
{{- $used := list }}
{{- range $one := list
  (dict "name" "oscarps" "inside" 3001 "setting" "contracts.oscarps.listen" "variable" "WELLORDER_CONTRACTS_OSCARPS_LISTEN")
  (dict "name" "parspec" "inside" 3002 "setting" "contracts.parspec.listen" "variable" "WELLORDER_CONTRACTS_PARSPEC_LISTEN")
  (dict "name" "sales" "inside" 3003 "setting" "contracts.sales.listen" "variable" "WELLORDER_CONTRACTS_SALES_LISTEN")
  (dict "name" "orderstream" "inside" 3004 "setting" "contracts.orderstream.listen" "variable" "WELLORDER_CONTRACTS_ORDERSTREAM_LISTEN")
  (dict "name" "marketplace" "inside" 3006 "setting" "contracts.marketplace.listen" "variable" "WELLORDER_CONTRACTS_MARKETPLACE_LISTEN")
  (dict "name" "grpc" "inside" 3005 "setting" "contracts.orderstream.grpc" "variable" "WELLORDER_CONTRACTS_ORDERSTREAM_GRPC")
}}
{{- $port := int (get $.Values.contractPorts $one.name) }}
{{- if $port }}
{{- if hasKey $.Values.settings $one.setting }}
{{- fail (printf "contractPorts.%s: remove %s from settings, the chart sets it" $one.name $one.setting) }}
{{- end }}
{{- $used = append $used (set $one "port" $port) }}
{{- end }}
{{- end }}
{{- toJson $used }}
{{- end }}

{{/* On the listener for operators, which is plain HTTP whatever the other one speaks. A start that waits for its
database answers /livez, so nothing restarts it for that. */}}
{{- define "wellorder.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: ops }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: ops }
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: ops }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}

{{- define "wellorder.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* A pod. Takes root, role (api, worker, relay, all), resources. */}}
{{- define "wellorder.pod" -}}
{{- $root := .root }}
{{- $takes := has .role (list "api" "all") }}
{{- with $root }}
metadata:
  labels:
    {{- include "wellorder.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $.role }}
  annotations:
    checksum/settings: {{ toJson (list .Values.settings .Values.transport .Values.contract .Values.contractPorts) | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "wellorder.serviceAccount" . }}
  automountServiceAccountToken: false
  # For a Service called wellorder they would be variables that begin like our settings and are none: the start would be
  # refused.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- include "wellorder.podSecurity" . | nindent 4 }}
  containers:
    - name: wellorder
      image: {{ include "wellorder.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --role
        - {{ $.role }}
        - --listen
        - {{ ternary "0.0.0.0:3000" "127.0.0.1:3000" $takes | quote }}
        - --ops
        - "0.0.0.0:9090"
        {{- if and $takes .Values.contract }}
        - --as
        - {{ .Values.contract }}
        {{- end }}
        {{- if and (eq .Values.storage "sqlite") .Values.migrations.atStart }}
        - --migrate
        {{- end }}
      {{- include "wellorder.secrets" . | nindent 6 }}
      env:
        - name: WELLORDER_DATA
          value: /data/wellorder
        {{- if eq .Values.storage "postgres" }}
        # A file in a pod would be lost with it, and each relay's its own.
        - name: WELLORDER_NDJSON_PATH
          value: ""
        {{- end }}
        {{- if $takes }}{{ include "wellorder.transport" . | nindent 8 }}{{ end }}
        {{- if $takes }}
        {{- range include "wellorder.contracts" . | fromJsonArray }}
        - name: {{ .variable }}
          value: "0.0.0.0:{{ .inside }}"
        {{- end }}
        {{- end }}
        {{- include "wellorder.settings" . | nindent 8 }}
      ports:
        {{- if $takes }}
        - { name: http, containerPort: 3000 }
        {{- range include "wellorder.contracts" . | fromJsonArray }}
        - { name: {{ .name }}, containerPort: {{ .inside }} }
        {{- end }}
        {{- end }}
        - { name: ops, containerPort: 9090 }
      {{- include "wellorder.probes" . | nindent 6 }}
      resources: {{- toYaml $.resources | nindent 8 }}
      securityContext: {{- include "wellorder.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - { name: data, mountPath: /data }
        - { name: tmp, mountPath: /tmp }
        {{- if and $takes .Values.transport.tlsSecret }}
        - { name: tls, mountPath: /etc/wellorder/tls, readOnly: true }
        {{- end }}
        {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  {{- if eq .Values.storage "postgres" }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "wellorder.selector" . | nindent 10 }}
          app.kubernetes.io/component: {{ $.role }}
  {{- end }}
  {{- include "wellorder.scheduling" . | nindent 2 }}
  volumes:
    - name: tmp
      emptyDir: { sizeLimit: 64Mi }
    {{- if eq .Values.storage "postgres" }}
    - name: data
      emptyDir: { sizeLimit: 64Mi }
    {{- end }}
    {{- if and $takes .Values.transport.tlsSecret }}
    - name: tls
      secret:
        secretName: {{ .Values.transport.tlsSecret }}
        # Group of the pod, and nobody else.
        defaultMode: 0440
    {{- end }}
    {{- with .Values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}
{{- end }}
