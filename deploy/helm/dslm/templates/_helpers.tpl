{{- define "dslm.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "dslm.selector" -}}
app.kubernetes.io/name: {{ .top.Chart.Name }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "dslm.labels" -}}
{{ include "dslm.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version }}
{{- end -}}

{{- define "dslm.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "dslm.claim" -}}
{{ .Values.store.claim | default (printf "%s-store" (include "dslm.name" .)) }}
{{- end -}}

{{/* What every pod is: nobody in particular, without rights of its own. */}}
{{- define "dslm.pod" -}}
serviceAccountName: {{ include "dslm.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "dslm.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "dslm.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "dslm.resources" -}}
requests:
  {{- toYaml .resources.requests | nindent 2 }}
limits:
  {{- toYaml .resources.limits | nindent 2 }}
  {{- if .gpus }}
  nvidia.com/gpu: {{ .gpus }}
  {{- end }}
{{- end -}}

{{/* Folders: the store and what may be written away from it, the bases, the domains, the keys. */}}
{{- define "dslm.mounts" -}}
- name: store
  mountPath: /store
- name: cache
  mountPath: /cache
- name: temporary
  mountPath: /tmp
{{- if .Values.base.claim }}
- name: models
  mountPath: /models
  readOnly: true
{{- end }}
{{- if .Values.domains.claim }}
- name: domains
  mountPath: /domains
{{- end }}
{{- end -}}

{{- define "dslm.volumes" -}}
- name: store
  persistentVolumeClaim:
    claimName: {{ include "dslm.claim" . }}
- name: cache
  emptyDir: {}
- name: temporary
  emptyDir: {}
{{- if .Values.base.claim }}
- name: models
  persistentVolumeClaim:
    claimName: {{ .Values.base.claim }}
    readOnly: true
{{- end }}
{{- if .Values.domains.claim }}
- name: domains
  persistentVolumeClaim:
    claimName: {{ .Values.domains.claim }}
{{- end }}
{{- end -}}

{{/* What the service and the jobs are told alike, as variables. */}}
{{- define "dslm.environment" -}}
- name: DSLM_STORE
  value: /store
{{- if .Values.base.path }}
- name: DSLM_BASE
  value: {{ .Values.base.path | quote }}
{{- end }}
{{- if .Values.domains.claim }}
- name: DSLM_DOMAINS
  value: /domains
{{- end }}
{{- range $name, $value := .Values.service.settings }}
- name: DSLM_{{ upper $name }}
  value: {{ include "dslm.text" $value | quote }}
{{- end }}
{{- end -}}

{{/* Helm reads every number as a float, and writes large ones as 1e+06. */}}
{{- define "dslm.text" -}}
{{- if ne (kindOf .) "float64" }}{{ . }}
{{- else if eq (floor .) . }}{{ int64 . }}
{{- else }}{{ . }}
{{- end -}}
{{- end -}}

{{/* The engines' addresses: each replica's own, so that the service can choose among them. */}}
{{- define "dslm.urls" -}}
{{- if eq .Values.engines.mode "existing" -}}
{{- join " " .Values.engines.urls -}}
{{- else if eq .Values.engines.mode "replicas" -}}
{{- $name := include "dslm.name" . -}}
{{- $urls := list -}}
{{- range $number := until (int .Values.engines.replicas) -}}
{{- $urls = append $urls (printf "http://%s-engine-%d.%s-engine:%d" $name $number $name (int $.Values.engines.port)) -}}
{{- end -}}
{{- join " " $urls -}}
{{- end -}}
{{- end -}}

{{/* Seconds: for a pod's name to be forgotten by those who call it, then as the service says. */}}
{{- define "dslm.forgotten" -}}5{{- end -}}
{{- define "dslm.grace" -}}
{{- add (int (include "dslm.forgotten" .)) (int .Values.service.drainSeconds) 60 -}}
{{- end -}}

{{/* The dot is in the tuple: a probe asks by a local name, whatever names are allowed. */}}
{{- define "dslm.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  httpHeaders:
    - name: Host
      value: localhost
{{- end -}}
