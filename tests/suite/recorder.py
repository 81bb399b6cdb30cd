"""A proxy between the exporter and moto: records operations, denies selected ones, and completes moto's credential report."""

import base64
import http.server
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

from harness import ACCOUNT

# The first row of every credential report of AWS, which moto omits.
ROOT_ROW = (
    f"<root_account>,arn:aws:iam::{ACCOUNT}:root,2020-01-01T00:00:00+00:00,not_supported,no_information,not_supported,not_supported,true,"
    "false,N/A,N/A,N/A,N/A,false,N/A,N/A,N/A,N/A,false,N/A,false,N/A"
)


def with_root(answer):
    """The answer of GetCredentialReport, with the root user's row."""

    def add(match):
        header, *rows = base64.b64decode(match[1]).decode().split("\n")
        if not rows[0].startswith("<root_account>"):
            account = re.search(r"arn:aws:iam::(\d{12}):", rows[0])
            rows.insert(0, ROOT_ROW.replace(ACCOUNT, account[1]) if account else ROOT_ROW)
        return b"<Content>" + base64.b64encode("\n".join([header, *rows]).encode()) + b"</Content>"

    changed, count = re.subn(rb"<Content>(.*?)</Content>", add, answer, flags=re.S)
    assert count == 1, answer
    return changed


ACCESS_DENIED = b"""<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>User is not authorized to perform: iam:ACTION</Message></Error><RequestId>1</RequestId></ErrorResponse>"""


ACCESS_DENIED_JSON = json.dumps({"__type": "AccessDeniedException", "Message": "You don't have permissions to access this resource."}).encode()


class Recorder:
    """Forwards requests to moto and records their operations: `iam:ListUsers`. `denies(operation, parameters)` selects those to deny.

    `calls` has every one of them in order, with its parameters. `rewrites(operation, body)` returns what moto's answer becomes.
    """

    def __init__(self, target, denies=lambda operation, parameters: False, rewrites=lambda operation, body: body):
        self.operations, self.calls = set(), []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service = re.search(r"/(\w+)/aws4_request", self.headers["Authorization"])[1]
                target_header = self.headers.get("X-Amz-Target")
                if target_header:  # the JSON protocol, of Organizations
                    action, parameters = target_header.rpartition(".")[2], json.loads(body)
                else:
                    parameters = {name: values[0] for name, values in urllib.parse.parse_qs(body.decode()).items()}
                    action = parameters["Action"]
                operation = f"{service}:{action}"
                recorder.operations.add(operation)
                recorder.calls.append((operation, parameters))
                if denies(operation, parameters):
                    if target_header:
                        return self.answer(400, "application/x-amz-json-1.1", ACCESS_DENIED_JSON)
                    return self.answer(403, "text/xml", ACCESS_DENIED.replace(b"ACTION", action.encode()))
                passed = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
                message = urllib.request.Request(target + self.path, data=body, headers=passed, method="POST")
                try:
                    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(message, timeout=60) as answer:
                        status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
                except urllib.error.HTTPError as answer:
                    status, kind, content = answer.code, answer.headers["Content-Type"], answer.read()
                if status == 200 and action == "GetCredentialReport":
                    content = with_root(content)
                if status == 200:
                    content = rewrites(operation, content)
                self.answer(status, kind, content)

            def answer(self, status, kind, content):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
