{{- /*
What another chart puts into its pod; see deploy/helm/example for where. Each takes the root context,
in which the values of this chart stand below `gatepass`.
*/ -}}

{{- define "gatepass.labels" -}}
gatepass: sidecar
gatepass/release: {{ .Release.Name | quote }}
{{- end }}

{{- define "gatepass.annotations" -}}
{{- include "gatepass.check" . -}}
# A changed configuration is rolled out like any other by this. The pods that are there take it up as well, by
# themselves and within a minute or two, beside the rollout: what it breaks, it may break in all of them at once.
gatepass/config: {{ .Values.gatepass.config | sha256sum }}
{{- if .Values.gatepass.scrape }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ include "gatepass.adminPort" . | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{- define "gatepass.initContainer" -}}
{{- include "gatepass.check" . -}}
# A native sidecar (Kubernetes 1.29 or later): it starts before the application, and before
# init containers of its own, and is stopped after it. So no pre-stop hook has to hold it back.
- name: gatepass
  image: "{{ .Values.gatepass.image.repository }}:{{ .Values.gatepass.image.tag | default .Subcharts.gatepass.Chart.AppVersion }}"
  imagePullPolicy: {{ .Values.gatepass.image.pullPolicy }}
  args: [run, --config, /etc/gatepass/gatepass.toml]
  restartPolicy: Always
  # Why it has ended is in `kubectl describe pod`: a mistake in its configuration (78), mostly.
  terminationMessagePolicy: FallbackToLogsOnError
  env:
    # Applications call on loopback, whatever the file says: whoever reaches this port acts with
    # the credentials.
    - { name: GATEPASS__PROXY__LISTEN, value: {{ .Values.gatepass.listen | quote }} }
    # Probes come from the kubelet. No token can be had there, and no command is taken.
    - { name: GATEPASS__ADMIN__LISTEN, value: {{ .Values.gatepass.adminListen | quote }} }
  ports:
    - { name: gatepass-admin, containerPort: {{ include "gatepass.adminPort" . }} }
  # The application starts when this has succeeded: every token was tried for. To have it wait
  # until every token is there, ask /readyz here; it then waits for a provider that is down.
  startupProbe:
    httpGet: { path: /startupz, port: gatepass-admin }
    periodSeconds: 1
    failureThreshold: 60
  {{- if .Values.gatepass.readinessProbe }}
  # One credential without a token makes the whole pod unready. The value readinessProbe leaves this out.
  readinessProbe:
    httpGet: { path: /readyz, port: gatepass-admin }
    periodSeconds: 5
  {{- end }}
  # Never fails because of a provider: a restart would not bring it back.
  livenessProbe:
    httpGet: { path: /livez, port: gatepass-admin }
    periodSeconds: 10
  resources:
    {{- toYaml .Values.gatepass.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    {{- if not .Values.gatepass.openshift }}
    runAsUser: 65532
    {{- end }}
    # Mounted secrets are root's, and for its group alone to read (0440); nobody else in the pod
    # needs to change for that. Where the pod has an fsGroup they are for that one, and so are we.
    runAsGroup: 0
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    - { name: gatepass-config, mountPath: /etc/gatepass, readOnly: true }
    # The directory, not a file by subPath: only then does a rotated secret arrive.
    - { name: gatepass-secret, mountPath: /run/secrets/gatepass, readOnly: true }
{{- end }}

{{- define "gatepass.adminPort" -}}
{{ .Values.gatepass.adminListen | splitList ":" | last }}
{{- end }}

{{- define "gatepass.volumes" -}}
{{- include "gatepass.check" . -}}
- name: gatepass-config
  configMap: { name: {{ .Release.Name }}-gatepass }
- name: gatepass-secret
  secret: { secretName: {{ .Values.gatepass.secretName }}, defaultMode: 0440 }
{{- end }}

{{- define "gatepass.objects" -}}
{{- include "gatepass.check" . -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-gatepass
data:
  {{- /* How far it is indented is said: a first line that begins with spaces would say something else. */}}
  gatepass.toml: |2
    {{- .Values.gatepass.config | nindent 4 }}
{{- if .Values.gatepass.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .Release.Name }}-gatepass
spec:
  podSelector:
    matchLabels:
      {{- include "gatepass.labels" . | nindent 6 }}
  policyTypes: [Egress]
  egress:
    # Where names are asked: the cluster's DNS, or a cache on the node (NodeLocal DNSCache).
    {{- if .Values.gatepass.openshift }}
    - to:
        - namespaceSelector:
            matchLabels: { kubernetes.io/metadata.name: openshift-dns }
      ports:
        - { protocol: UDP, port: 5353 }
        - { protocol: TCP, port: 5353 }
    {{- else }}
    - to:
        - namespaceSelector:
            matchLabels: { kubernetes.io/metadata.name: kube-system }
          podSelector:
            matchLabels: { k8s-app: kube-dns }
        - ipBlock: { cidr: 169.254.20.10/32 }
      ports:
        - { protocol: UDP, port: 53 }
        - { protocol: TCP, port: 53 }
    {{- end }}
    {{- with .Values.gatepass.networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end }}
