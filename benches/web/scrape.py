"""Times scrapes one after the other over one connection, as Prometheus does: scrape.py PORT SCRAPES PID

Writes a line for each in milliseconds, for plain and gzip in turns, and one with the memory of the process.
"""

import http.client
import sys
import time


def run():
    port, scrapes, pid = (int(argument) for argument in sys.argv[1:])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    ready(connection)
    for number in range(scrapes):
        encoding = ("identity", "gzip")[number % 2]
        began = time.perf_counter()
        try:
            length = scrape(connection, encoding)
        except (OSError, http.client.HTTPException):
            # Evicted between two scrapes: Prometheus opens another connection at once, too, and that time counts.
            connection.close()
            length = scrape(connection, encoding)
        print(encoding, (time.perf_counter() - began) * 1000)
        assert length > 10_000, f"{length} bytes are no scrape of an account"
        # Not in step with anything.
        time.sleep(0.005 + number % 7 / 1000)
    with open(f"/proc/{pid}/status") as status:
        memory = dict(line.split(":", 1) for line in status)
    print("resident", int(memory["VmRSS"].split()[0]) / 1024)
    print("peak", int(memory["VmHWM"].split()[0]) / 1024)


def scrape(connection, encoding):
    connection.request("GET", "/metrics", headers={"Accept-Encoding": encoding})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, answer.status
    return len(body)


def ready(connection):
    for _ in range(600):
        try:
            connection.request("GET", "/-/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return
        except OSError:
            connection.close()
        time.sleep(0.05)
    raise SystemExit("the exporter does not become ready")


run()
