{{- define "fintech.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trimPrefix "fintech-" | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "fintech.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fintech.labels" -}}
{{ include "fintech.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "fintech.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "fintech.scheme" -}}
{{ if .Values.tlsSecretName }}HTTPS{{ else }}HTTP{{ end }}
{{- end -}}

{{/* The restricted level of the pod security standards. */}}
{{- define "fintech.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "fintech.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* In each container itself: a ConfigMap would not be there yet when the migration runs, and would change under running pods. */}}
{{- define "fintech.environment" -}}
env:
  - name: Security__Access
    value: required
  - name: Server__ApiAddress
    value: "0.0.0.0:5153"
  - name: Server__OperationsAddress
    value: "0.0.0.0:8080"
  - name: Server__DrainTimeoutSeconds
    value: {{ .Values.drainTimeoutSeconds | quote }}
  {{- if .Values.tlsSecretName }}
  - name: Server__TlsCertificate
    value: /etc/fintech/tls/tls.crt
  - name: Server__TlsKey
    value: /etc/fintech/tls/tls.key
  {{- end }}
  {{- range $name, $value := .Values.settings }}
  - name: {{ $name }}
    {{- /* Otherwise a million would be 1e+06. */}}
    value: {{ if kindIs "float64" $value }}{{ int64 $value | quote }}{{ else }}{{ $value | toString | quote }}{{ end }}
  {{- end }}
envFrom:
  - secretRef:
      name: {{ .Values.secretName }}
{{- end -}}

{{- define "fintech.mounts" -}}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .Values.tlsSecretName }}
  - name: tls
    mountPath: /etc/fintech/tls
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "fintech.volumes" -}}
volumes:
  {{- /* Profiles are gathered in files, and the root file system is read-only. */}}
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if .Values.tlsSecretName }}
  - name: tls
    secret:
      secretName: {{ .Values.tlsSecretName }}
      defaultMode: 0440
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Where pods may run, and from where their image comes. */}}
{{- define "fintech.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
