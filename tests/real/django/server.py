# The authorization server django-oauth-toolkit on a free loopback port.
#
# Prints one line of JSON with its port when it is up. Beside the toolkit's own /o/token/ it has
#   GET  /verify          204 if the Authorization field holds a token that the toolkit calls good now
#   GET  /stats           how often each grant was answered or refused, and what /verify answered
#   POST /break-session   forgets all refresh tokens; the access tokens go on
# Ends when standard input does, so that it cannot outlive the test that started it.
import json
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import django
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse

arguments = json.loads(sys.argv[1])
as_json = arguments.get("body") == "json"
directory = tempfile.TemporaryDirectory()

oauth = {
    "ACCESS_TOKEN_EXPIRE_SECONDS": arguments["token_seconds"],
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
}
if as_json:
    oauth["OAUTH2_BACKEND_CLASS"] = "oauth2_provider.oauth2_backends.JSONOAuthLibCore"

settings.configure(
    SECRET_KEY="of a server that lives for one test",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    # The first says how long an answer is, without which no connection is kept.
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", f"{__name__}.count"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(directory.name) / "db.sqlite3",
            # A thread serves one connection, for as long as that is kept.
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                # Readers do not wait for a writer, and a writer says so before it reads.
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
                "transaction_mode": "IMMEDIATE",
            },
        }
    },
    # What is tested is not how long a guess takes; the default costs a core for half a second.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER=oauth,
    # Errors reach the test as answers; nothing is written in between.
    LOGGING_CONFIG=None,
)
django.setup()

# Models and views can be imported from here on.
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from oauth2_provider.models import Application, RefreshToken  # noqa: E402
from oauth2_provider.oauth2_backends import get_oauthlib_core  # noqa: E402
from oauth2_provider.views import TokenView  # noqa: E402

lock = threading.Lock()
stats = Counter(
    issued=0,
    password_grants=0,
    refresh_grants=0,
    client_credentials_grants=0,
    refused=0,
    good=0,
    bad=0,
)
errors = Counter()
# grant_type -> its counter
GRANTS = {
    "password": "password_grants",
    "refresh_token": "refresh_grants",
    "client_credentials": "client_credentials_grants",
}


def increment(*names):
    with lock:
        stats.update(names)


def count(get_response):
    """Middleware that counts what the token endpoint answers."""

    def middleware(request):
        if request.path != "/o/token/":
            return get_response(request)
        # Read before the view does: afterwards the body is gone.
        parameters = json.loads(request.body) if as_json else request.POST
        grant = parameters.get("grant_type")
        response = get_response(request)
        if response.status_code == 200:
            increment("issued", GRANTS[grant])
        else:
            increment("refused")
            with lock:
                errors.update([f"{grant}: {json.loads(response.content)['error']}"])
        return response

    return middleware


def verify(request):
    good, _ = get_oauthlib_core().verify_request(request, scopes=[])
    increment("good" if good else "bad")
    return HttpResponse(status=204 if good else 401)


def show_stats(request):
    with lock:
        return JsonResponse({**stats, "errors": dict(errors)})


@csrf_exempt
def break_session(request):
    deleted, _ = RefreshToken.objects.all().delete()
    return JsonResponse({"deleted": deleted})


urlpatterns = [
    path("o/token/", TokenView.as_view()),
    path("verify", verify),
    path("stats", show_stats),
    path("break-session", break_session),
]


class Handler(WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


def main():
    call_command("migrate", verbosity=0)
    user = User.objects.create_user(arguments["user"], password=arguments["password"])
    Application.objects.create(
        user=user,
        client_id=arguments["client_id"],
        # Stored as a hash, as is the default: it is compared, never shown.
        client_secret=arguments["client_secret"],
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=arguments.get("grant", Application.GRANT_PASSWORD),
    )
    server = ThreadedWSGIServer(("127.0.0.1", 0), Handler, ipv6=False)
    server.daemon_threads = True
    server.set_app(get_wsgi_application())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()


main()
