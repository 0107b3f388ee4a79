"""As much of a W&B server as a run with metrics talks to, on loopback, in a thread of the test."""

import base64
import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

import pytest

USER = "someone"
PROJECT = {
    "id": base64.b64encode(b"Project").decode(),
    "name": "tut",
    "entity": {"id": "1", "name": USER},
    "entityName": USER,
    "createdAt": "2026-01-01T00:00:00",
    "isBenchmark": False,
    "user": None,
}

LAST_PAGE = {"endCursor": "1", "hasNextPage": False}


class Run:
    """What has arrived of one run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.upsert: dict[str, Any] = {}
        self.history: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None
        self.files: dict[str, bytes] = {}

    def bucket(self) -> dict[str, Any]:
        last = [json.dumps(self.history[max(self.history)])] if self.history else []
        return {
            "id": self.name,
            "name": self.name,
            "displayName": self.name,
            "config": "{}",
            "project": PROJECT,
            "description": None,
            "sweepName": None,
            "summaryMetrics": json.dumps(self.summary),
            "logLineCount": 0,
            "historyLineCount": len(self.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(last),
            "eventsTail": "[]",
            "tags": [],
            "notes": None,
            "wandbConfig": '{"t": 1}',
        }


class Server:
    """Serves until `stop`; `runs` and `views` (saved reports and workspaces, by id) hold what has arrived."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.views: dict[str, dict[str, Any]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _body(self) -> bytes:
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    content = b""
                    while size := int(self.rfile.readline(), 16):
                        content += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

            def _reply(self, answer: Any) -> None:
                content = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self._reply({})

            def do_PUT(self) -> None:
                _, _, run, name = self.path.split("/", 3)
                server.runs[run].files[unquote(name)] = self._body()
                self._reply({})

            def do_POST(self) -> None:
                body = self._body()
                if self.path.startswith("/sdk/otel/"):  # how the client itself is doing
                    self._reply({})
                    return
                message = json.loads(body)
                if self.path.startswith("/graphql"):
                    self._reply(server.graphql(message.get("query", ""), message.get("variables") or {}))
                    return
                stream = re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path)
                assert stream is not None, self.path
                server.receive(stream[1], message)
                self._reply({"limits": {}, "stopped": False})

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def receive(self, name: str, message: dict[str, Any]) -> None:
        run, files = self.runs[name], message.get("files") or {}
        if history := files.get("wandb-history.jsonl"):
            for index, line in enumerate(history["content"], history["offset"]):
                run.history[index] = json.loads(line)
        if summary := files.get("wandb-summary.json"):
            run.summary = json.loads(summary["content"][-1])
        if message.get("complete"):
            run.exit_code = message.get("exitcode")

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = found[1] if found else "Viewer"
        answers = {
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._create_files,
            "RunResumeStatus": self._resume_status,
            "RunStoppedStatus": lambda _: {"project": {"run": {"stopped": False}}},
            "OrgFeatureFlags": lambda _: {"organization": {"featureFlags": []}},
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "ServerInfo": lambda _: {"serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}}},
            "GetDefaultEntity": lambda _: {"viewer": {"id": "1", "entity": USER}},
            "GetProjects": lambda _: {"models": {"edges": [{"cursor": "1", "node": PROJECT}], "pageInfo": LAST_PAGE}},
            "ProjectInternalId": lambda _: {"project": {"id": PROJECT["id"], "internalId": PROJECT["id"]}},
            "ProjectViews": self._views,
            "upsertView": self._upsert_view,
            "UpsertView2": self._upsert_view,
            "View": self._view,
            "Viewer": lambda _: {
                "viewer": {
                    "id": "1",
                    "entity": USER,
                    "username": USER,
                    "email": "",
                    "flags": "{}",
                    "admin": False,
                    "teams": {"edges": []},
                }
            },
        }
        if operation not in answers:
            return {"errors": [{"message": f"unknown here: {operation}"}]}
        return {"data": answers[operation](variables)}

    def _create_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/storage/{variables['run']}/{quote(name)}"}
            for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("name") or variables["id"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, Run(name))
        run.upsert |= {key: value for key, value in variables.items() if value is not None}
        return {"upsertBucket": {"bucket": run.bucket(), "inserted": inserted}}

    def _view(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = [{"node": view} for view in self.workspaces if view["name"] == variables["viewName"]]
        return {"project": {"allViews": {"edges": edges}}}

    @property
    def workspaces(self) -> list[dict[str, Any]]:
        """The saved views of the project's workspace."""
        return [view for view in self.views.values() if view["type"] == "project-view"]

    @property
    def reports(self) -> dict[str, dict[str, Any]]:
        """The saved reports, by id."""
        return {name: view for name, view in self.views.items() if view["type"] != "project-view"}

    def _views(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = [{"node": view, "cursor": view["id"]} for view in self.reports.values()]
        return {"project": {"allViews": {"edges": edges, "pageInfo": LAST_PAGE}}}

    def _upsert_view(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("id") or f"view-{len(self.views)}"
        project = {"id": PROJECT["id"], "name": variables["projectName"], "entityName": variables["entityName"]}
        view = self.views[name] = {**variables, "id": name, "project": project, "updatedAt": "2026-01-01T00:00:00"}
        return {"upsertView": {"view": view, "inserted": variables.get("id") is None}}

    def _resume_status(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        return {"model": {**PROJECT, "bucket": None if run is None else run.bucket()}}


def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Have the client find a server by its environment, with a login; the body of a fixture."""
    import wandb

    wandb.teardown()  # it reads its environment once a process
    loopback = Server()
    monkeypatch.setenv("WANDB_BASE_URL", loopback.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE")
    yield loopback
    wandb.teardown()
    loopback.stop()
