{{- define "sluice.name" -}}
{{ .Release.Name }}-sluice
{{- end }}

{{- define "sluice.labels" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sluice.pod" -}}
serviceAccountName: {{ include "sluice.name" . }}
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ .Values.gracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "sluice.container" -}}
image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
{{- if .Values.env }}
{{ toYaml .Values.env | indent 2 }}
{{- end }}
{{- end }}

{{- define "sluice.settings" -}}
{{- range $key, $value := .Values.settings }}
- {{ printf "--set=%s=%v" $key $value | quote }}
{{- end }}
{{- end }}

{{- define "sluice.serving" -}}
- --http=0.0.0.0:8443
- --http-host={{ include "sluice.name" . }}
- --http-host={{ include "sluice.name" . }}.{{ .Release.Namespace }}.svc
{{- range .Values.hosts }}
- {{ printf "--http-host=%s" . | quote }}
{{- end }}
- --tls-dir=/tls
- --auth-dir=/auth
- --audit-log=/data/audit.jsonl
{{- end }}

{{- define "sluice.checkpointDir" -}}
{{- if .Values.checkpoints.url }}{{ .Values.checkpoints.url }}{{ else if .Values.checkpoints.claim }}/checkpoints{{ else }}/data/checkpoints{{ end }}
{{- end }}

{{- define "sluice.claim" -}}
{{- if and (eq .Values.mode "cluster") (not .Values.checkpoints.url) }}{{ required "checkpoints.url or checkpoints.claim: a bucket, or a volume that drivers and workers can write" .Values.checkpoints.claim }}{{ else }}{{ .Values.checkpoints.claim }}{{ end }}
{{- end }}

{{- define "sluice.mounts" -}}
- name: data
  mountPath: /data
- name: tmp
  mountPath: /tmp
- name: tls
  mountPath: /tls
  readOnly: true
{{- if .Values.checkpoints.claim }}
- name: checkpoints
  mountPath: /checkpoints
{{- end }}
{{- end }}

{{- define "sluice.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if include "sluice.claim" . }}
- name: checkpoints
  persistentVolumeClaim:
    claimName: {{ include "sluice.claim" . }}
{{- end }}
{{- end }}

{{- define "sluice.storage" -}}
- metadata:
    name: data
  spec:
    accessModes: [ReadWriteOnce]
{{- if .className }}
    storageClassName: {{ .className }}
{{- end }}
    resources:
      requests:
        storage: {{ .size }}
{{- end }}

{{- /* The drivers, as each is told of all: in one order, by the names of their pods. */ -}}
{{- define "sluice.peers" -}}
{{- $name := include "sluice.name" . -}}
{{- $namespace := .Release.Namespace -}}
{{- range $i := until (int .Values.driver.replicas) -}}
{{- if $i }},{{ end }}{{ $name }}-driver-{{ $i }}={{ $name }}-driver-{{ $i }}.{{ $name }}.{{ $namespace }}.svc:7070
{{- end -}}
{{- end }}

{{- define "sluice.join" -}}
{{- $name := include "sluice.name" . -}}
{{- $namespace := .Release.Namespace -}}
{{- range $i := until (int .Values.driver.replicas) -}}
{{- if $i }},{{ end }}{{ $name }}-driver-{{ $i }}.{{ $name }}.{{ $namespace }}.svc:7070
{{- end -}}
{{- end }}

{{- /* Pods of a kind on machines of their own, where there are enough. */ -}}
{{- define "sluice.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
{{ include "sluice.labels" (index . 0) | indent 8 }}
        app.kubernetes.io/component: {{ index . 1 }}
{{- end }}
