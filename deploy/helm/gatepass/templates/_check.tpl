{{- /*
What values.schema.json cannot say in words that help. Each template that another chart takes begins with this.
*/ -}}

{{- define "gatepass.check" -}}
{{- if not .Subcharts.gatepass }}
{{- fail "gatepass: the templates of this chart find their values below `gatepass`, so its dependency takes no alias" }}
{{- end }}
{{- /* Helm does not look at the kubeVersion of a library. */ -}}
{{- $wanted := .Subcharts.gatepass.Chart.KubeVersion }}
{{- if not (semverCompare $wanted .Capabilities.KubeVersion.Version) }}
{{- printf "gatepass: init containers that go on beside the application are for Kubernetes %s, and this is %s, where the application would never start; `helm template` is told the version of a cluster with --kube-version" $wanted .Capabilities.KubeVersion.Version | fail }}
{{- end }}
{{- if not .Values.gatepass.config }}
{{- fail "gatepass.config: there is none; it is the text of gatepass.toml" }}
{{- end }}
{{- if eq (.Values.gatepass.image.tag | default "") "latest" }}
{{- fail "gatepass.image.tag: latest is another image tomorrow; name a version, or leave it empty for that of the chart" }}
{{- end }}
{{- with include "gatepass.secretKey" .Values.gatepass.config }}
{{- printf "gatepass.config: a string for %s may be a secret, and whoever may read ConfigMaps could read it; name a file in /run/secrets/gatepass instead, in parameters and headers as { file = \"…\" }, and otherwise as %s_file" . . | fail }}
{{- end }}
{{- if regexMatch (printf `%s["'][^"'\n]*://[^\s"'/@]*:[^\s"'/@]+@` (include "gatepass.beforeIt" .)) .Values.gatepass.config }}
{{- fail "gatepass.config: an address has a password in it, and whoever may read ConfigMaps could read it; leave it out there, and name its file in /run/secrets/gatepass as password_file" }}
{{- end }}
{{- end }}

{{- /* The name of a key for a secret that has a string as its value, wherever in a line it stands. */ -}}
{{- define "gatepass.secretKey" -}}
{{- $name := `[a-z0-9_-]*(client_?secret|password|refresh_?token|key)` }}
{{- $pattern := printf `(?i)%s(%s|"(%s)"|'(%s)')\s*=\s*["']` (include "gatepass.beforeIt" .) $name $name $name }}
{{- /* What is no secret: one to sort by, and a parameter that is called `key` in an inline table, by a dot, or in a table of its own. */ -}}
{{- $harmless := `((?:sort|partition|public)_|parameters\s*(?:=\s*\{(?:(?:[^{}\n]|\{[^{}\n]*\})*[,\s])?|\.\s*|\][^\n]*\n(?:[ \t]*(?:[^\[\s][^\n]*)?\n)*[ \t]*))key(\s*=)` }}
{{- regexReplaceAll $harmless . "${1}name${2}" | regexFind $pattern | regexFind `[A-Za-z0-9_-]+["']?\s*=\s*["']$` | regexFind `^[A-Za-z0-9_-]+` }}
{{- end }}

{{- /* What stands in a line before what is looked for: neither a comment nor half of a string. */ -}}
{{- define "gatepass.beforeIt" -}}
(^|\n)([^#\n"']|"(\\.|[^"\\\n])*"|'[^'\n]*')*
{{- end }}
