# requests or httpx: every step in turn, and in JSON what each yielded.
import json
import ssl
import sys
from pathlib import Path

settings = json.loads(sys.argv[1])
base, proxy = settings["base"], settings["proxy"]
file = Path(settings["file"]).read_bytes()
PIECE = 7_001


def pieces():
    for start in range(0, len(file), PIECE):
        yield file[start : start + PIECE]


def outcome(status, fields, body):
    fields = sorted([name.lower(), value] for name, value in fields)
    return {
        "status": status,
        "fields": [field for field in fields if field[0] != "date"],
        "body": "the file" if body == file else body.decode("latin-1"),
    }


if settings["library"] == "requests":
    import requests

    session = requests.Session()
    session.proxies = {"http": proxy} if proxy else {}

    def call(method, path, *, body=None, fields=None, auth=None):
        options = {"data": body, "headers": fields, "auth": auth, "timeout": 20}
        response = session.request(method, base + path, **options)
        return outcome(response.status_code, response.raw.headers.items(), response.content)

else:
    import httpx

    http2 = settings["http2"]
    client = httpx.Client(
        # Without TLS it has to be told that there is nothing else.
        http1=not http2 or base.startswith("https:"),
        http2=http2,
        verify=ssl.create_default_context(cafile=settings["ca"]),
        proxy=proxy,
        follow_redirects=True,
        timeout=20,
    )

    def call(method, path, *, body=None, fields=None, auth=None):
        options = {"content": body, "headers": fields, "auth": auth}
        response = client.request(method, base + path, **options)
        return outcome(response.status_code, response.headers.multi_items(), response.content)


told = {
    "odd": call("GET", "/a%2Fb//c;v=1?q=%20"),
    "posted": call("POST", "/echo", body=file),
    "streamed": call("POST", "/echo", body=pieces()),
    "head": call("HEAD", "/page"),
    "none": call("DELETE", "/none"),
    "unchanged": call("GET", "/tagged", fields={"If-None-Match": '"1"'}),
    "squeezed": call("GET", "/gzip"),
    "fields": call("GET", "/fields"),
    "led on": call("GET", "/redirect"),
    "led on with a body": call("POST", "/moved", body=b"once more"),
    "signed in": call("GET", "/signed-in", auth=("nobody", "secret")),
}
for number in range(1, 21):
    told["reused"] = call("GET", f"/reuse/{number}")
print(json.dumps(told))
