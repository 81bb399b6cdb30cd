"""1,000 idle and 200 slow clients of an exporter, until it is killed: load.py PORT

An idle client keeps its connection open and asks for /livez every 20 seconds, so that the server does not close it. Of the
slow ones, half send a header byte by byte, half ask for /metrics and take the answer byte by byte. A client whose connection
is closed opens another one after a second. Clients have 24 addresses, as a client may only have half of all
connections.
"""

import heapq
import selectors
import socket
import sys
import time

IDLE, HEADERS, READERS = 1000, 100, 100
ADDRESSES = 24
PROBE = b"GET /livez HTTP/1.1\r\nHost: load\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: load\r\n\r\n"


class Client:
    """One connection at a time. `act` does one step and returns after how many seconds the next one follows."""

    def __init__(self, number, port, selector):
        self.source = f"127.0.1.{1 + number % ADDRESSES}"
        self.port, self.selector, self.socket = port, selector, None
        self.connected = 0

    def act(self):
        try:
            if self.socket is None:
                self.open()
            return self.step()
        except OSError:
            self.close()
            return 1

    def open(self):
        self.socket = socket.socket()
        self.prepare()
        self.socket.bind((self.source, 0))
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", self.port))
        self.socket.setblocking(False)
        self.connected += 1

    def prepare(self):
        pass

    def close(self):
        if self.socket:
            if self.socket in self.selector.get_map():
                self.selector.unregister(self.socket)
            self.socket.close()
        self.socket = None

    def readable(self):
        try:
            if self.socket.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()


class Idle(Client):
    def step(self):
        if self.socket not in self.selector.get_map():
            self.selector.register(self.socket, selectors.EVENT_READ, self)
        self.socket.send(PROBE)
        return 20


class SlowHeaders(Client):
    def open(self):
        super().open()
        self.socket.send(SCRAPE[:-2] + b"X-Slow: ")

    def step(self):
        self.socket.send(b"x")
        return 1


class SlowReader(Client):
    def prepare(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def open(self):
        super().open()
        self.socket.send(SCRAPE)

    def step(self):
        try:
            if not self.socket.recv(1):
                raise ConnectionResetError
        except BlockingIOError:
            pass
        return 0.5


def run():
    selector = selectors.DefaultSelector()
    kinds = [Idle] * IDLE + [SlowHeaders] * HEADERS + [SlowReader] * READERS
    clients = [kind(number, int(sys.argv[1]), selector) for number, kind in enumerate(kinds)]
    start = time.monotonic()
    # Spread over the time after which each is due again.
    due = [(start + 4 * number / len(clients), number) for number in range(len(clients))]
    heapq.heapify(due)
    announced = False
    while True:
        for key, _ in selector.select(max(0, due[0][0] - time.monotonic())):
            key.data.readable()
        now = time.monotonic()
        while due[0][0] <= now:
            _, number = heapq.heappop(due)
            heapq.heappush(due, (now + clients[number].act(), number))
        if not announced and all(client.connected for client in clients):
            announced = True
            open_now = sum(client.socket is not None for client in clients)
            print(f"{len(clients)} clients, {open_now} of them connected", flush=True)


run()
